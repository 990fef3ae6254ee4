"""Every client's dialect over every provider's, streamed and not: what the client gets, what the provider got, and
that the usage told is the simulator's bill. The charges are checked after each case, as always.
"""

import json
import traceback

from case import case, contains, equal
from catalog import OVER
from .dialects import DIALECTS, PICTURE
from .dialogue import WEATHER_PARAMETERS
from .sdks import SDKS

ANSWER = "Hello from across"
USAGE = {"input_tokens": 2_345, "cached_tokens": 1_024, "output_tokens": 61, "reasoning_tokens": 11}
WRITTEN = {"cache_write_5m": 512, "cache_write_1h": 256}
TOOLS = [
    {"name": "get_weather", "description": "The weather", "parameters": WEATHER_PARAMETERS},
    {"name": "get_time", "description": "The time", "parameters": WEATHER_PARAMETERS},
]
CALLS = '[[tool:get_weather {"city":"Lisbon"}]] [[tool:get_time {"city":"Oslo"}]]'
RESULTS = {"get_weather": "21 degrees", "get_time": "half past nine"}
SCHEMA = {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False,
}
THOUGHT = "Thinking about what to say."


class Talk:
    """One scenario's requests: a client's dialect, a provider's, an SDK, streamed or not."""

    def __init__(self, world, sdk, client, upstream, stream):
        self.world, self.sdk, self.client, self.upstream, self.stream = world, sdk, client, upstream, stream
        self.dialect = DIALECTS[client]

    def ask(self, turns, **options):
        """The answer; its usage and its bill are checked, and that it was one request with one bill."""
        sent, billed = len(self.world.requests()), len(self.world.bills())
        body = self.dialect.body(OVER[self.upstream], turns, **options)
        answer = self.dialect.answer(self.sdk.send(self.client, body, self.stream))
        equal("requests", len(self.world.requests()) - sent, 1)
        bills = self.world.bills()[billed:]
        equal("bills", len(bills), 1)
        self.check_usage(answer, bills[0])
        equal("model", answer.model, OVER[self.upstream])
        return answer

    def check_usage(self, answer, bill):
        equal("usage's input", answer.input_tokens, bill["input_tokens"])
        equal("usage's cached input", answer.cached_tokens, bill["cached_tokens"])
        equal("usage's output", answer.output_tokens, bill["output_tokens"])
        # Neither do Messages providers say how much was thought, nor do Messages clients read it.
        if "messages" not in (self.client, self.upstream):
            equal("usage's reasoning", answer.reasoning_tokens, bill["reasoning_tokens"])

    def received(self):
        """The last request as the provider got it."""
        last = self.world.received()[-1]
        paths = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "messages": "/v1/messages"}
        equal("asked at", last["path"], paths[self.upstream])
        return last["body"]


def plain(talk):
    usage = {**USAGE, **(WRITTEN if talk.upstream == "messages" else {})}
    turns = [("system", "Be kind."), ("developer", "Be brief."), ("user", "Say " + talk.world.told(text=ANSWER, **usage))]
    answer = talk.ask(turns)
    equal("text", answer.text, ANSWER)
    equal("finish", answer.finish, "stop")
    if talk.client != "completions":
        text = json.dumps(talk.received())
        assert text.index("Be kind.") < text.index("Be brief."), f"out of order: {text}"


def history(talk):
    turns = [("user", "I am Ada."), ("said", "Good day, Ada."), ("user", "Who am I? " + talk.world.told(text="Ada"))]
    equal("text", talk.ask(turns).text, "Ada")
    text = json.dumps(talk.received())
    assert text.index("I am Ada.") < text.index("Good day, Ada.") < text.index("Who am I?"), f"out of order: {text}"


def tools(talk):
    """Two calls at once, thought about before; both results, and an answer in words."""
    turns = [("user", f"What now? {talk.world.told(reasoning_tokens=9)} {CALLS}")]
    first = talk.ask(turns, tools=TOOLS, effort="high")
    equal("finish", first.finish, "tools")
    asked = [(name, arguments) for _, name, arguments in first.calls]
    equal("calls", asked, [("get_weather", {"city": "Lisbon"}), ("get_time", {"city": "Oslo"})])
    equal("different ids", len({call for call, _, _ in first.calls}), 2)
    # What the SDK for JavaScript puts together of an extension is its last piece.
    if shows_thinking(talk) and not (talk.sdk.name == "javascript" and talk.client == "chat" and talk.stream):
        equal("thinking", first.thinking, THOUGHT)
    turns += [("answered", first), *(("result", call, RESULTS[name]) for call, name, _ in first.calls)]
    second = talk.ask(turns, tools=TOOLS, effort="high")
    equal("finish", second.finish, "stop")
    contains("text", second.text, "The tool has answered")
    body = talk.received()
    called, results = pairs(talk.upstream, body)
    equal("ids of the calls and their results", [call for call, _ in results], [call for call, _ in called])
    equal("results by name", {name: text for (_, name), (_, text) in zip(called, results)}, RESULTS)
    check_thinking_round_trip(talk, body)


def shows_thinking(talk):
    return talk.upstream != "chat" and (talk.client != "chat" or talk.upstream == "messages")


def pairs(upstream, body):
    """`[(id, name)]` of calls and `[(id, text)]` of results that a provider got, in order."""
    called, results = [], []
    if upstream == "responses":
        for item in body["input"]:
            if item.get("type") in ("function_call", "custom_tool_call"):
                called.append((item["call_id"], item["name"]))
            if item.get("type") in ("function_call_output", "custom_tool_call_output"):
                results.append((item["call_id"], text_of(item["output"])))
    for message in body.get("messages", []):
        called += [(call["id"], call["function"]["name"]) for call in message.get("tool_calls", [])]
        if message["role"] == "tool":
            results.append((message["tool_call_id"], text_of(message["content"])))
        for block in message["content"] if upstream == "messages" and isinstance(message["content"], list) else []:
            if block["type"] == "tool_use":
                called.append((block["id"], block["name"]))
            if block["type"] == "tool_result":
                results.append((block["tool_use_id"], text_of(block["content"])))
    return called, results


def text_of(content):
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def check_thinking_round_trip(talk, body):
    """What the provider sealed comes back to it through clients that carry it; Chat Completions has no place for it."""
    proofs = {"responses": "sim-encrypted-", "messages": "sim-signature-"}
    if talk.upstream in proofs:
        equal("the provider's proof came back", proofs[talk.upstream] in json.dumps(body), talk.client != "chat")


def picture(talk):
    equal("text", talk.ask([("picture", "What is it? " + talk.world.told(text="a dot"))]).text, "a dot")
    contains("request", json.dumps(talk.received()), PICTURE)


def structured(talk):
    told = talk.world.told(text='{"city":"Lisbon"}')
    answer = talk.ask([("user", "Where? " + told)], schema=SCHEMA)
    equal("object", json.loads(answer.text), {"city": "Lisbon"})
    body = talk.received()
    found = {
        "responses": lambda: body["text"]["format"]["schema"],
        "chat": lambda: body["response_format"]["json_schema"]["schema"],
        "messages": lambda: body["output_config"]["format"]["schema"],
    }[talk.upstream]()
    equal("schema", found, SCHEMA)


def stop_text(talk):
    if not talk.dialect.has_stop_texts:
        return
    answer = talk.ask([("user", "Count " + talk.world.told(text="one two END three"))], stop="END")
    if talk.upstream == "responses":
        # That dialect knows no stop texts: the gateway cuts.
        equal("text", answer.text, "one two ")
        equal("finish", answer.finish, "stop text" if talk.client == "messages" else "stop")
    else:
        body = talk.received()
        equal("stop texts", body.get("stop") or body.get("stop_sequences"), ["END"])


def thinking(talk):
    answer = talk.ask([("user", "Think " + talk.world.told(text=ANSWER, **USAGE))], effort="high")
    equal("text", answer.text, ANSWER)
    body = talk.received()
    asked = {
        "responses": lambda: body["reasoning"]["effort"] in ("low", "high"),
        "chat": lambda: body["reasoning_effort"] in ("low", "high"),
        "messages": lambda: body["thinking"]["type"] in ("adaptive", "enabled"),
    }[talk.upstream]()
    assert asked, f"the provider was not asked to think: {body}"


def limit(talk):
    answer = talk.ask([("user", "Say " + talk.world.told(delta_count=40))], limit=20)
    equal("finish", answer.finish, "length")
    equal("output", answer.output_tokens, 20)


SCENARIOS = (plain, history, tools, picture, structured, stop_text, thinking, limit)
OF_COMPLETIONS = (plain, stop_text, limit)


def all_scenarios(world, sdk_of, client, upstream):
    """Every scenario is tried, whatever became of those before."""
    sdk, troubles = sdk_of(world), []
    try:
        for scenario in OF_COMPLETIONS if client == "completions" else SCENARIOS:
            for stream in (False, True):
                try:
                    scenario(Talk(world, sdk, client, upstream, stream))
                except Exception as error:  # whatever an SDK raises
                    place = traceback.extract_tb(error.__traceback__)[1]
                    way = "streamed" if stream else "whole"
                    troubles.append(f"{scenario.__name__}, {way}, line {place.lineno}: {type(error).__name__}: {error}")
    finally:
        sdk.close()
    assert not troubles, "\n".join(troubles)


def register(sdk, client, upstream):
    name = f"{sdk.name}: a client of {client} over a provider of {upstream}"
    case(name, payer="any", together=True)(lambda world: all_scenarios(world, sdk, client, upstream))


for each_sdk in SDKS:
    for each_client in DIALECTS:
        for each_upstream in OVER:
            register(each_sdk, each_client, each_upstream)
