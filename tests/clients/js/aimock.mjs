// aimock as a provider: a mock that nobody here wrote. Prints its address as one JSON line.

import { LLMock } from "@copilotkit/aimock";

const usage = { prompt_tokens: 321, completion_tokens: 45, total_tokens: 366, input_tokens: 321, output_tokens: 45 };
const mock = new LLMock({ port: 0, host: "127.0.0.1" });
mock.on({ userMessage: "weather", hasToolResult: false }, {
  toolCalls: [{ name: "get_weather", arguments: JSON.stringify({ city: "Lisbon" }) }],
  usage,
});
mock.on({ userMessage: "weather", hasToolResult: true }, { content: "It is warm in Lisbon", usage });
mock.on({ userMessage: "hello" }, { content: "Hello from aimock", usage });
await mock.start();
console.log(JSON.stringify({ ready: true, baseUrl: mock.url }));
process.on("SIGTERM", () => process.exit(0));
