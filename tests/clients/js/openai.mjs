// The `openai` package for JavaScript.

import OpenAI from "openai";
import { asked, baseUrl, collect, run, timeout, token } from "./outcome.mjs";

const client = new OpenAI({ baseURL: `${baseUrl}/v1`, apiKey: token, timeout });
const { model, prompt, parameters, answer } = asked;
const messages = [{ role: "user", content: prompt }];

const chatText = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

await run(
  {
    async responses() {
      const response = await client.responses.create({ model, input: prompt });
      return { text: response.output_text, model: response.model, usage: response.usage };
    },

    async responsesStreamed() {
      const events = await collect(await client.responses.create({ model, input: prompt, stream: true }));
      const deltas = events.filter((event) => event.type === "response.output_text.delta");
      const last = events.at(-1);
      return { text: deltas.map((event) => event.delta).join(""), last: last.type, usage: last.response.usage };
    },

    async responsesHelper() {
      const response = await client.responses.stream({ model, input: prompt }).finalResponse();
      return { text: response.output_text, model: response.model, usage: response.usage };
    },

    async responsesTools() {
      const tools = [{ type: "function", name: "get_weather", parameters, strict: false }];
      const input = [{ role: "user", content: prompt }];
      const first = await client.responses.create({ model, input, tools });
      const call = first.output.find((item) => item.type === "function_call");
      input.push(call, { type: "function_call_output", call_id: call.call_id, output: answer });
      const second = await client.responses.stream({ model, input, tools }).finalResponse();
      return { called: JSON.parse(call.arguments), text: second.output_text };
    },

    async chat() {
      const completion = await client.chat.completions.create({ model, messages });
      return { text: completion.choices[0].message.content, model: completion.model, usage: completion.usage };
    },

    async chatStreamed() {
      const chunks = await collect(await client.chat.completions.create({ model, messages, stream: true }));
      const withUsage = chunks.filter((chunk) => chunk.usage || chunk.choices.length === 0);
      return { text: chatText(chunks), withUsage: withUsage.length };
    },

    async chatStreamedWithUsage() {
      const stream_options = { include_usage: true };
      const body = { model, messages, stream: true, stream_options };
      const chunks = await collect(await client.chat.completions.create(body));
      const withUsage = chunks.filter((chunk) => chunk.usage);
      return { text: chatText(chunks), withUsage: withUsage.length, usage: withUsage[0]?.usage };
    },

    async chatHelper() {
      const completion = await client.chat.completions.stream({ model, messages }).finalChatCompletion();
      return { text: completion.choices[0].message.content };
    },

    async chatTools() {
      const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
      const first = await client.chat.completions.create({ model, messages, tools });
      const call = first.choices[0].message.tool_calls[0];
      const reply = { role: "tool", tool_call_id: call.id, content: answer };
      const sent = [...messages, first.choices[0].message, reply];
      const second = await client.chat.completions.stream({ model, messages: sent, tools }).finalChatCompletion();
      return { called: JSON.parse(call.function.arguments), text: second.choices[0].message.content };
    },

    async stored() {
      const input = [{ role: "user", content: "one" }, { role: "user", content: prompt }];
      const first = await client.responses.create({ model, input });
      const items = await collect(await client.responses.inputItems.list(first.id, { limit: 1 }));
      const second = await client.responses.create({ model, input: prompt, previous_response_id: first.id });
      let polled = await client.responses.create({ model, input: prompt, background: true });
      while (["queued", "in_progress"].includes(polled.status)) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        polled = await client.responses.retrieve(polled.id);
      }
      // Costs nothing, whether it had reached the provider when it was cancelled or not.
      const slow = 'Wait [[sim:{"header_delay_ms":2000,"error":{"status":500}}]]';
      const running = await client.responses.create({ model, input: slow, background: true });
      const cancelled = await client.responses.cancel(running.id);
      await client.responses.delete(first.id);

      const body = { model, messages, store: true, metadata: { case: "javascript" } };
      const made = [await client.chat.completions.create(body), await client.chat.completions.create(body)];
      const listed = await collect(await client.chat.completions.list({ limit: 1, metadata: body.metadata }));
      const changed = await client.chat.completions.update(made[0].id, { metadata: { case: "changed" } });
      const asked = await collect(await client.chat.completions.messages.list(made[0].id));
      for (const one of made) await client.chat.completions.delete(one.id);
      const status = (found) => found.then(() => 200, (error) => error.status);
      const gone = [client.responses.retrieve(first.id), client.chat.completions.retrieve(made[0].id)].map(status);
      return {
        texts: [(await client.responses.retrieve(second.id)).output_text, second.output_text, polled.output_text],
        items: items.length,
        previous: second.previous_response_id === first.id,
        background: polled.status,
        cancelled: cancelled.status,
        listed: listed.length,
        metadata: changed.metadata,
        messages: asked.map((one) => one.content),
        gone: await Promise.all(gone),
      };
    },

    async badRequest() {
      return client.chat.completions.create({ model, messages, temperature: 9 });
    },

    async models() {
      const listed = await collect(await client.models.list());
      return { listed: listed.map((one) => one.id), one: (await client.models.retrieve(model)).id };
    },
  },
  OpenAI,
);
