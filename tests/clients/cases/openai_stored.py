"""What customers fetch again, with the `openai` packages for Python and JavaScript."""

import time

import openai

from case import case, contains, equal, told
from . import javascript
from .dialogue import ANSWER, CITY, OPENAI_MODEL, OPENAI_PROMPT, WEATHER, WEATHER_PARAMETERS, WEATHER_PROMPT
from .openai_python import client

DEADLINE_SECONDS = 30
RUNNING = ("queued", "in_progress")


def polled(sdk, response):
    """The background response once it runs no more."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while response.status in RUNNING:
        assert time.monotonic() < deadline, f"still {response.status}"
        time.sleep(0.05)
        response = sdk.responses.retrieve(response.id)
    return response


def gone(act):
    try:
        act()
    except openai.NotFoundError:
        return
    raise AssertionError("it is still there")


@case("openai python: a stored response, its input and its end", needs_wallets=True)
def response(world):
    sdk = client(world)
    made = sdk.responses.create(model=OPENAI_MODEL, input=[{"role": "user", "content": OPENAI_PROMPT}] * 3)
    equal("the same again", sdk.responses.retrieve(made.id).to_dict(), made.to_dict())
    for order in ("asc", "desc"):
        items = list(sdk.responses.input_items.list(made.id, limit=2, order=order))
        equal("items", [item.content[0].text for item in items], [OPENAI_PROMPT] * 3)
        equal("ids", len({item.id for item in items}), 3)
    sdk.responses.delete(made.id)
    gone(lambda: sdk.responses.retrieve(made.id))
    gone(lambda: sdk.responses.delete(made.id))


@case("openai python: a conversation by previous_response_id", needs_wallets=True)
def conversation(world):
    sdk = client(world)
    tools = [{"type": "function", "name": "get_weather", "parameters": WEATHER_PARAMETERS, "strict": False}]
    with sdk.responses.stream(model=OPENAI_MODEL, input=WEATHER_PROMPT, tools=tools) as stream:
        first = stream.get_final_response()
    call = next(item for item in first.output if item.type == "function_call")
    contains("arguments", call.arguments, CITY)
    answer = [{"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}]
    second = sdk.responses.create(model=OPENAI_MODEL, input=answer, tools=tools, previous_response_id=first.id)
    contains("answer", second.output_text, "The tool has answered")
    equal("previous", second.previous_response_id, first.id)
    counted = sdk.responses.input_tokens.count(model=OPENAI_MODEL, input="on", previous_response_id=second.id)
    assert counted.input_tokens > 10, counted
    try:
        sdk.responses.create(model=OPENAI_MODEL, input="on", previous_response_id="resp_unknown")
    except openai.BadRequestError as error:
        equal("code", (error.code, error.param), ("previous_response_not_found", "previous_response_id"))
        return
    raise AssertionError("nothing was raised")


@case("openai python: a response in the background, polled and cancelled", needs_wallets=True)
def background(world):
    sdk = client(world)
    made = polled(sdk, sdk.responses.create(model=OPENAI_MODEL, input=OPENAI_PROMPT, background=True))
    equal("end", (made.status, made.output_text, made.model), ("completed", ANSWER, OPENAI_MODEL))
    # Costs nothing, whether it had reached the provider when it was cancelled or not.
    slow = "Wait " + told(header_delay_ms=2_000, error={"status": 500})
    running = sdk.responses.create(model=OPENAI_MODEL, input=slow, background=True)
    equal("cancelled", sdk.responses.cancel(running.id).status, "cancelled")
    equal("still", sdk.responses.retrieve(running.id).status, "cancelled")


@case("openai python: stored completions", needs_wallets=True)
def completions(world):
    sdk = client(world)
    messages = [{"role": "user", "content": OPENAI_PROMPT}]
    tag = {"case": "python"}
    made = [
        sdk.chat.completions.create(model=OPENAI_MODEL, messages=messages, store=True, metadata=tag) for _ in range(3)
    ]
    ids = [completion.id for completion in made]
    listed = list(sdk.chat.completions.list(limit=2, metadata=tag, model=OPENAI_MODEL))
    equal("listed", [completion.id for completion in listed], ids)
    newest = sdk.chat.completions.list(order="desc", limit=1)
    equal("newest", newest.data[0].id, ids[-1])
    equal("text", sdk.chat.completions.retrieve(ids[0]).choices[0].message.content, ANSWER)
    changed = sdk.chat.completions.update(ids[0], metadata={"case": "changed"})
    equal("metadata", changed.metadata, {"case": "changed"})
    equal("messages", [m.content for m in sdk.chat.completions.messages.list(ids[0], limit=1)], [OPENAI_PROMPT])
    for one in ids:
        equal("deleted", sdk.chat.completions.delete(one).deleted, True)
    gone(lambda: sdk.chat.completions.retrieve(ids[0]))


@case("openai javascript: stored responses and completions", needs_wallets=True)
def in_javascript(world):
    found = javascript.result(world, "openai.mjs", "stored", {"model": OPENAI_MODEL, "prompt": OPENAI_PROMPT})
    equal("texts", found["texts"], [ANSWER] * 3)
    equal("items", found["items"], 2)
    equal("background", found["background"], "completed")
    equal("cancelled", found["cancelled"], "cancelled")
    equal("previous", found["previous"], True)
    equal("completions", (found["listed"], found["metadata"], found["messages"]), (2, {"case": "changed"}, [OPENAI_PROMPT]))
    equal("gone", found["gone"], [404, 404])
