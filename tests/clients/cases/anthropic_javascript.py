"""The `@anthropic-ai/sdk` package for JavaScript."""

from case import case, contains, equal
from . import javascript
from .dialogue import (
    ANSWER, ANTHROPIC_MODEL, ANTHROPIC_PROMPT, CITY, UNKNOWN_MODEL, WEATHER, WEATHER_PARAMETERS, WEATHER_PROMPT,
    WRONG_KEY, WRONG_KEY_SENTENCE, check_anthropic_usage, check_empty_wallet, check_told_bill,
)

FILE = "anthropic.mjs"
INPUT_TOKENS = 5_432
HELLO = {"model": ANTHROPIC_MODEL, "prompt": ANTHROPIC_PROMPT}
TOOLS = {"model": ANTHROPIC_MODEL, "prompt": WEATHER_PROMPT, "parameters": WEATHER_PARAMETERS, "answer": WEATHER}


def check_message(world, answer):
    equal("text", answer["text"], ANSWER)
    equal("model", answer["model"], ANTHROPIC_MODEL)
    usage = answer["usage"]
    check_told_bill(world.bill(), INPUT_TOKENS)
    cache = usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"]
    check_anthropic_usage(world.bill(), usage["input_tokens"], *cache, usage["output_tokens"])


@case("anthropic javascript: messages")
def messages(world):
    check_message(world, javascript.result(world, FILE, "messages", HELLO))


@case("anthropic javascript: messages, create({stream: true})")
def streamed(world):
    answer = javascript.result(world, FILE, "streamed", HELLO)
    equal("answer", answer, {"text": ANSWER, "first": "message_start", "last": "message_stop"})
    check_told_bill(world.bill(), INPUT_TOKENS)


@case("anthropic javascript: messages.stream()")
def helper(world):
    check_message(world, javascript.result(world, FILE, "helper", HELLO))


@case("anthropic javascript: a tool called and answered")
def tools(world):
    answer = javascript.result(world, FILE, "tools", TOOLS)
    equal("called with", answer["called"], {"city": CITY})
    contains("answer", answer["text"], "The tool has answered")
    equal("bills", len(world.bills()), 2)


@case("anthropic javascript: tokens are counted here and cost nothing")
def count_tokens(world):
    counted = javascript.result(world, FILE, "countTokens", {"model": ANTHROPIC_MODEL, "prompt": "word " * 4_000})
    assert 3_000 <= counted <= 8_000, f"4 000 words are {counted} tokens"
    equal("bills", world.bills(), [])


def refused(world, kind, status, name="messages", key=None, model=ANTHROPIC_MODEL):
    error = javascript.scenario(world, FILE, name, {**HELLO, "model": model}, key)
    equal("exception and status", (error.get("error"), error.get("status")), (kind, status))
    equal("requests", len(world.requests()), 1)
    return error


@case("anthropic javascript: a bad request is refused in the provider's words")
def bad_request(world):
    contains("message", refused(world, "BadRequestError", 400, "badRequest")["message"], "temperature")


@case("anthropic javascript: an unknown model")
def unknown_model(world):
    contains("message", refused(world, "NotFoundError", 404, model=UNKNOWN_MODEL)["message"], UNKNOWN_MODEL)


@case("anthropic javascript: a wrong key", needs_wallets=True)
def wrong_key(world):
    error = refused(world, "AuthenticationError", 401, key=WRONG_KEY)
    contains("message", error["message"], WRONG_KEY_SENTENCE)


@case("anthropic javascript: an empty wallet", payer="empty")
def empty_wallet(world):
    error = refused(world, "PaymentRequiredError", 402)
    check_empty_wallet(world, error["message"])


@case("anthropic javascript: models")
def models(world):
    answer = javascript.result(world, FILE, "models", HELLO)
    assert ANTHROPIC_MODEL in answer["listed"], f"{ANTHROPIC_MODEL} is not in {answer['listed']}"
    equal("one model", answer["one"], ANTHROPIC_MODEL)
