// Any request with the SDK of its dialect: one JSON line {dialect, body, stream} in, one {result} or {error} out.

import { createInterface } from "node:readline";
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const { BASE_URL: baseURL, TOKEN: apiKey } = process.env;
const options = { apiKey, timeout: 30_000, maxRetries: 0 };
const openai = new OpenAI({ ...options, baseURL: `${baseURL}/v1` });
const anthropic = new Anthropic({ ...options, baseURL });
const stream_options = { include_usage: true };

async function completionsStreamed(body) {
  const chunks = [];
  for await (const chunk of await openai.completions.create({ ...body, stream: true, stream_options })) chunks.push(chunk);
  const said = chunks.flatMap((chunk) => chunk.choices);
  const text = said.map((choice) => choice.text).join("");
  return { ...chunks.find((chunk) => chunk.usage), choices: [{ ...said.at(-1), text }] };
}

const whole = {
  responses: (body) => openai.responses.create(body),
  chat: (body) => openai.chat.completions.create(body),
  completions: (body) => openai.completions.create(body),
  messages: (body) => anthropic.messages.create(body),
};
const streamed = {
  responses: (body) => openai.responses.stream(body).finalResponse(),
  chat: (body) => openai.chat.completions.stream({ ...body, stream_options }).finalChatCompletion(),
  completions: completionsStreamed,
  messages: (body) => anthropic.messages.stream(body).finalMessage(),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { dialect, body, stream } = JSON.parse(line);
  let outcome;
  try {
    outcome = { result: await (stream ? streamed : whole)[dialect](body) };
  } catch (error) {
    outcome = { error: error.constructor.name, status: error.status, message: error.message };
  }
  console.log(JSON.stringify(outcome));
}
