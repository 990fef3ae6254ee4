// The `@anthropic-ai/sdk` package for JavaScript.

import Anthropic from "@anthropic-ai/sdk";
import { asked, baseUrl, collect, run, timeout, token } from "./outcome.mjs";

const client = new Anthropic({ baseURL: baseUrl, apiKey: token, timeout });
const { model, prompt, parameters, answer } = asked;
const request = { model, max_tokens: 256, messages: [{ role: "user", content: prompt }] };

const textOf = (message) => message.content.filter((block) => block.type === "text").map((block) => block.text).join("");
const described = (message) => ({ text: textOf(message), model: message.model, usage: message.usage });

await run(
  {
    async messages() {
      return described(await client.messages.create(request));
    },

    async streamed() {
      const events = await collect(await client.messages.create({ ...request, stream: true }));
      const deltas = events.filter((event) => event.type === "content_block_delta");
      const text = deltas.map((event) => event.delta.text ?? "").join("");
      return { text, first: events[0].type, last: events.at(-1).type };
    },

    async helper() {
      return described(await client.messages.stream(request).finalMessage());
    },

    async tools() {
      const tools = [{ name: "get_weather", description: "Weather", input_schema: parameters }];
      const first = await client.messages.stream({ ...request, tools }).finalMessage();
      const call = first.content.find((block) => block.type === "tool_use");
      const result = { type: "tool_result", tool_use_id: call.id, content: answer };
      const messages = [
        ...request.messages,
        { role: "assistant", content: first.content },
        { role: "user", content: [result] },
      ];
      const second = await client.messages.create({ ...request, messages, tools });
      return { called: call.input, text: textOf(second) };
    },

    async countTokens() {
      return (await client.messages.countTokens({ model, messages: request.messages })).input_tokens;
    },

    async badRequest() {
      return client.messages.create({ ...request, temperature: 9 });
    },

    async models() {
      const listed = await collect(await client.models.list());
      return { listed: listed.map((one) => one.id), one: (await client.models.retrieve(model)).id };
    },
  },
  Anthropic,
);
