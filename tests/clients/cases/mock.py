"""The SDKs through the gateway to aimock, a provider nobody here wrote; its answers are in `js/aimock.mjs`.

It keeps no bills, so what it reports is taken for what it billed. What it was asked is in its journal.
"""

import json

from case import case, contains, equal
from catalog import OVER_AIMOCK
from ledger import read
from .dialects import DIALECTS
from .dialogue import CITY, WEATHER, WEATHER_PARAMETERS
from .sdks import SDKS

INPUT_TOKENS, OUTPUT_TOKENS = 321, 45
TOOLS = [{"name": "get_weather", "description": "The weather", "parameters": WEATHER_PARAMETERS}]


def bill(client, model):
    """In the simulator's form."""
    agent = {"user-agent": "Anthropic/" if client == "messages" else "OpenAI/"}
    return {
        "model": model, "status": "completed", "input_tokens": INPUT_TOKENS, "uncached_input_tokens": INPUT_TOKENS,
        "cached_tokens": 0, "cache_write_5m": 0, "cache_write_1h": 0, "output_tokens": OUTPUT_TOKENS,
        "web_search_calls": 0, "request_headers": agent, "client_ref": {}, "tag": None,
    }


def ask(world, sdk, client, model, turns, stream, **options):
    dialect = DIALECTS[client]
    sent = len(world.requests())
    answer = dialect.answer(sdk.send(client, dialect.body(model, turns, **options), stream))
    world.other_bills.append(bill(client, model))
    equal("requests", len(world.requests()) - sent, 1)
    equal("usage", (answer.input_tokens, answer.output_tokens), (INPUT_TOKENS, OUTPUT_TOKENS))
    equal("model", answer.model, model)
    return answer


def words(world, sdk, client, model, stream):
    answer = ask(world, sdk, client, model, [("user", f"hello {world.tag}")], stream)
    equal("answer", (answer.text, answer.finish), ("Hello from aimock", "stop"))


def tools(world, sdk, client, model, stream):
    turns = [("user", f"weather {world.tag}")]
    first = ask(world, sdk, client, model, turns, stream, tools=TOOLS)
    equal("finish", first.finish, "tools")
    equal("call", [each[1:] for each in first.calls], [("get_weather", {"city": CITY})])
    turns += [("answered", first), ("result", first.calls[0][0], WEATHER)]
    second = ask(world, sdk, client, model, turns, stream, tools=TOOLS)
    equal("answer", (second.text, second.finish), ("It is warm in Lisbon", "stop"))


def through_aimock(world, sdk_of, client):
    sdk = sdk_of(world)
    try:
        for model in OVER_AIMOCK.values():
            for stream in (False, True):
                words(world, sdk, client, model, stream)
                if client != "completions":
                    tools(world, sdk, client, model, stream)
    finally:
        sdk.close()
    journal = read(f"{world.service.mock_url}/__aimock/journal")
    mine = [text for text in map(json.dumps, journal) if world.tag in text]
    equal("asked", len(mine), len(world.other_bills))
    if client != "completions":
        contains("last request", mine[-1], WEATHER)


def register(sdk, client):
    name = f"aimock: {sdk.name}, a client of {client} over every dialect"
    case(name, payer="any", needs_wallets=True, together=True)(lambda world: through_aimock(world, sdk, client))


for each_sdk in SDKS:
    for each_client in DIALECTS:
        register(each_sdk, each_client)
