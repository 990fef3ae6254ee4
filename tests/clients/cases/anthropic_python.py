"""The `anthropic` package for Python: today's, and the generation before, which sends `x-api-key`."""

import json

import anthropic

from case import case, contains, equal, run_program, told
from .dialogue import (
    ANSWER, ANTHROPIC_MODEL, ANTHROPIC_PROMPT, CITY, UNKNOWN_MODEL, WEATHER, WEATHER_PARAMETERS, WEATHER_PROMPT,
    WRONG_KEY, WRONG_KEY_SENTENCE, check_anthropic_usage, check_empty_wallet, check_told_bill,
)

TIMEOUT_SECONDS = 30
INPUT_TOKENS = 5_432
MAX_TOKENS = 256


def client(world, key=None):
    return anthropic.Anthropic(base_url=world.base_url, api_key=key or world.customer.token, timeout=TIMEOUT_SECONDS)


def request(prompt=ANTHROPIC_PROMPT, model=ANTHROPIC_MODEL, **more):
    return {"model": model, "max_tokens": MAX_TOKENS, "messages": [{"role": "user", "content": prompt}], **more}


def check_message(world, message):
    equal("text", "".join(block.text for block in message.content if block.type == "text"), ANSWER)
    equal("model", message.model, ANTHROPIC_MODEL)
    equal("stop reason", message.stop_reason, "end_turn")
    bill, usage = world.bill(), message.usage
    check_told_bill(bill, INPUT_TOKENS)
    cache = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    check_anthropic_usage(bill, usage.input_tokens, *cache, usage.output_tokens)


@case("anthropic python: messages")
def messages(world):
    check_message(world, client(world).messages.create(**request()))
    equal("requests", world.requests(), ["POST /v1/messages"])


@case("anthropic python: messages, create(stream=True)")
def streamed(world):
    events = list(client(world).messages.create(**request(), stream=True))
    text = "".join(e.delta.text for e in events if e.type == "content_block_delta" and e.delta.type == "text_delta")
    equal("deltas", text, ANSWER)
    equal("first and last event", (events[0].type, events[-1].type), ("message_start", "message_stop"))
    check_told_bill(world.bill(), INPUT_TOKENS)


@case("anthropic python: messages.stream()")
def helper(world):
    with client(world).messages.stream(**request()) as stream:
        equal("deltas", "".join(stream.text_stream), ANSWER)
        check_message(world, stream.get_final_message())


@case("anthropic python: a tool called and answered")
def tools(world):
    tool = {"name": "get_weather", "description": "Weather", "input_schema": WEATHER_PARAMETERS}
    first = client(world).messages.create(**request(WEATHER_PROMPT, tools=[tool]))
    equal("stop reason", first.stop_reason, "tool_use")
    call = next(block for block in first.content if block.type == "tool_use")
    equal("tool", (call.name, call.input), ("get_weather", {"city": CITY}))
    result = {"type": "tool_result", "tool_use_id": call.id, "content": WEATHER}
    sent = request(WEATHER_PROMPT, tools=[tool])
    sent["messages"] += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    with client(world).messages.stream(**sent) as stream:
        contains("answer", stream.get_final_text(), "The tool has answered")
    equal("bills", len(world.bills()), 2)


@case("anthropic python: a stream left after its first words is charged all the same")
def left_stream(world):
    prompt = "Count " + told(delta_count=40, chunk_delay_ms=25)
    stream = client(world).messages.create(**request(prompt), stream=True)
    next(event for event in stream if event.type == "content_block_delta")
    stream.close()
    world.wait_for_bills(1)


@case("anthropic python: a provider that breaks off is reported and costs nothing")
def provider_breaks_off(world):
    prompt = "Break " + told(mid_stream_error={"after": 2})
    try:
        with client(world).messages.stream(**request(prompt)) as stream:
            stream.get_final_message()
    except anthropic.APIStatusError:
        equal("bills", [bill["status"] for bill in world.bills()], ["errored"])
        return
    raise AssertionError("nothing was raised")


@case("anthropic python: tokens are counted here and cost nothing")
def count_tokens(world):
    asked = [{"role": "user", "content": "word " * 4_000}]
    counted = client(world).messages.count_tokens(model=ANTHROPIC_MODEL, messages=asked).input_tokens
    assert 3_000 <= counted <= 8_000, f"4 000 words are {counted} tokens"
    equal("bills", world.bills(), [])
    if world.has_wallets:
        equal("requests upstream", world.upstream_requests(), 0)


@case("anthropic python: models")
def models(world):
    listed = [model.id for model in client(world).models.list()]
    assert ANTHROPIC_MODEL in listed, f"{ANTHROPIC_MODEL} is not in {listed}"
    equal("one model", client(world).models.retrieve(ANTHROPIC_MODEL).id, ANTHROPIC_MODEL)


def refused(world, kind, status, act):
    """Runs `act`, which must raise exactly `kind`, after one request."""
    try:
        act()
    except anthropic.APIStatusError as error:
        equal("exception", type(error).__name__, kind.__name__)
        equal("status", error.status_code, status)
        equal("requests", len(world.requests()), 1)
        return error
    raise AssertionError("nothing was raised")


def ask(world, key=None, **more):
    return client(world, key).messages.create(**request(**more))


@case("anthropic python: a bad request is refused in the provider's words")
def bad_request(world):
    error = refused(world, anthropic.BadRequestError, 400, lambda: ask(world, extra_body={"temperature": 9}))
    contains("message", str(error), "temperature")
    equal("requests upstream", world.upstream_requests(), 1)


@case("anthropic python: an unknown model")
def unknown_model(world):
    error = refused(world, anthropic.NotFoundError, 404, lambda: ask(world, model=UNKNOWN_MODEL))
    contains("message", str(error), UNKNOWN_MODEL)
    equal("type", error.body["error"]["type"], "not_found_error")


@case("anthropic python: a wrong key", needs_wallets=True)
def wrong_key(world):
    error = refused(world, anthropic.AuthenticationError, 401, lambda: ask(world, key=WRONG_KEY))
    contains("message", str(error), WRONG_KEY_SENTENCE)
    equal("requests upstream", world.upstream_requests(), 0)


@case("anthropic python: an empty wallet", payer="empty")
def empty_wallet(world):
    error = refused(world, anthropic.PaymentRequiredError, 402, lambda: ask(world))
    equal("type", error.body["error"]["type"], "billing_error")
    check_empty_wallet(world, str(error))


def oldest(world, keys):
    """One message with the SDK that sends `x-api-key`; `keys` are its constructor's."""
    asked = {"base_url": world.base_url, "timeout": TIMEOUT_SECONDS, "keys": keys, "request": request()}
    python = world.clients / "python-oldest" / "bin" / "python"
    environment = {"PATH": "/usr/bin:/bin", "ASKED": json.dumps(asked)}
    done = run_program([python, "-c", OLDEST], world.scratch, environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


OLDEST = """
import json, os
import anthropic

asked = json.loads(os.environ["ASKED"])
client = anthropic.Anthropic(base_url=asked["base_url"], timeout=asked["timeout"], **asked["keys"])
try:
    with client.messages.stream(**asked["request"]) as stream:
        print(json.dumps({"text": stream.get_final_text(), "version": anthropic.__version__}))
except anthropic.APIStatusError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error)}))
"""


@case("anthropic python 0.125: x-api-key")
def api_key_header(world):
    equal("text", oldest(world, {"api_key": world.customer.token}), {"text": ANSWER, "version": "0.125.0"})
    check_told_bill(world.bill(), INPUT_TOKENS)


@case("anthropic python 0.125: both headers, one of them ours")
def both_headers(world):
    # Its caller has a key of Anthropic's in the environment, as many do.
    keys = {"api_key": "sk-ant-somebody-elses", "auth_token": world.customer.token}
    equal("text", oldest(world, keys)["text"], ANSWER)
    equal("text", oldest(world, dict(api_key=keys["auth_token"], auth_token=keys["api_key"]))["text"], ANSWER)
    equal("bills", len(world.bills()), 2)


@case("anthropic python 0.125: a wrong x-api-key", needs_wallets=True)
def wrong_api_key_header(world):
    answer = oldest(world, {"api_key": WRONG_KEY})
    equal("exception", answer.get("error"), "AuthenticationError")
    contains("message", answer["message"], WRONG_KEY_SENTENCE)
