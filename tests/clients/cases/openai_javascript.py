"""The `openai` package for JavaScript."""

from case import case, contains, equal
from . import javascript
from .dialogue import (
    ANSWER, ANTHROPIC_MODEL, CITY, OPENAI_MODEL, OPENAI_PROMPT, UNKNOWN_MODEL, WEATHER, WEATHER_PARAMETERS,
    WEATHER_PROMPT, WRONG_KEY, WRONG_KEY_SENTENCE, check_empty_wallet, check_openai_usage, check_told_bill,
)

FILE = "openai.mjs"
INPUT_TOKENS = 2_345
HELLO = {"model": OPENAI_MODEL, "prompt": OPENAI_PROMPT}
TOOLS = {"model": OPENAI_MODEL, "prompt": WEATHER_PROMPT, "parameters": WEATHER_PARAMETERS, "answer": WEATHER}


def check_answer(world, answer):
    equal("text", answer["text"], ANSWER)
    equal("model", answer.get("model", OPENAI_MODEL), OPENAI_MODEL)
    check_told_bill(world.bill(), INPUT_TOKENS)


def check_response(world, answer):
    check_answer(world, answer)
    usage = answer["usage"]
    cached = usage["input_tokens_details"]["cached_tokens"]
    reasoning = usage["output_tokens_details"]["reasoning_tokens"]
    check_openai_usage(
        world.bill(), usage["input_tokens"], cached, usage["output_tokens"], reasoning, usage["total_tokens"]
    )


def check_completion(world, answer):
    check_answer(world, answer)
    usage = answer["usage"]
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    check_openai_usage(
        world.bill(), usage["prompt_tokens"], cached, usage["completion_tokens"], reasoning, usage["total_tokens"]
    )


@case("openai javascript: responses")
def responses(world):
    check_response(world, javascript.result(world, FILE, "responses", HELLO))


@case("openai javascript: responses, create({stream: true})")
def responses_streamed(world):
    answer = javascript.result(world, FILE, "responsesStreamed", HELLO)
    equal("last event", answer["last"], "response.completed")
    check_response(world, answer)


@case("openai javascript: responses, .stream()")
def responses_helper(world):
    check_response(world, javascript.result(world, FILE, "responsesHelper", HELLO))


@case("openai javascript: chat")
def chat(world):
    check_completion(world, javascript.result(world, FILE, "chat", HELLO))


@case("openai javascript: chat, create({stream: true}), no usage unless asked for")
def chat_streamed(world):
    answer = javascript.result(world, FILE, "chatStreamed", HELLO)
    equal("chunks with usage", answer["withUsage"], 0)
    check_answer(world, answer)


@case("openai javascript: chat, create({stream: true}), usage asked for")
def chat_streamed_with_usage(world):
    answer = javascript.result(world, FILE, "chatStreamedWithUsage", HELLO)
    equal("chunks with usage", answer["withUsage"], 1)
    check_completion(world, answer)


@case("openai javascript: chat, .stream()")
def chat_helper(world):
    check_answer(world, javascript.result(world, FILE, "chatHelper", HELLO))


def check_tools(world, name):
    answer = javascript.result(world, FILE, name, TOOLS)
    equal("called with", answer["called"], {"city": CITY})
    contains("answer", answer["text"], "The tool has answered")
    equal("bills", len(world.bills()), 2)


@case("openai javascript: responses, a tool called and answered")
def responses_tools(world):
    check_tools(world, "responsesTools")


@case("openai javascript: chat, a tool called and answered")
def chat_tools(world):
    check_tools(world, "chatTools")


def refused(world, kind, status, name="chat", key=None, model=OPENAI_MODEL):
    error = javascript.scenario(world, FILE, name, {**HELLO, "model": model}, key)
    equal("exception and status", (error.get("error"), error.get("status")), (kind, status))
    equal("requests", len(world.requests()), 1)
    return error


@case("openai javascript: a bad request is refused in the provider's words")
def bad_request(world):
    contains("message", refused(world, "BadRequestError", 400, "badRequest")["message"], "temperature")


@case("openai javascript: an unknown model")
def unknown_model(world):
    error = refused(world, "NotFoundError", 404, model=UNKNOWN_MODEL)
    contains("message", error["message"], UNKNOWN_MODEL)
    equal("code", error["code"], "model_not_found")


@case("openai javascript: a wrong key", needs_wallets=True)
def wrong_key(world):
    error = refused(world, "AuthenticationError", 401, key=WRONG_KEY)
    contains("message", error["message"], WRONG_KEY_SENTENCE)


@case("openai javascript: an empty wallet", payer="empty")
def empty_wallet(world):
    error = refused(world, "APIError", 402)
    check_empty_wallet(world, error["message"])


@case("openai javascript: models")
def models(world):
    answer = javascript.result(world, FILE, "models", HELLO)
    for model in (OPENAI_MODEL, ANTHROPIC_MODEL):
        assert model in answer["listed"], f"{model} is not in {answer['listed']}"
    equal("one model", answer["one"], OPENAI_MODEL)
