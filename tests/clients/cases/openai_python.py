"""The `openai` package for Python."""

import json

import openai

from case import case, contains, equal, told
from .dialogue import (
    ANSWER, ANTHROPIC_MODEL, CITY, OPENAI_MODEL, OPENAI_PROMPT, UNKNOWN_MODEL, WEATHER, WEATHER_PARAMETERS,
    WEATHER_PROMPT, WRONG_KEY, WRONG_KEY_SENTENCE, check_empty_wallet, check_openai_usage, check_told_bill,
)

TIMEOUT_SECONDS = 30
INPUT_TOKENS = 2_345


def client(world, key=None):
    return openai.OpenAI(base_url=f"{world.base_url}/v1", api_key=key or world.customer.token, timeout=TIMEOUT_SECONDS)


def messages(prompt=OPENAI_PROMPT):
    return [{"role": "user", "content": prompt}]


def check_response(world, response):
    equal("text", response.output_text, ANSWER)
    equal("model", response.model, OPENAI_MODEL)
    equal("status", response.status, "completed")
    bill, usage = world.bill(), response.usage
    check_told_bill(bill, INPUT_TOKENS)
    details = usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens
    check_openai_usage(bill, usage.input_tokens, details[0], usage.output_tokens, details[1], usage.total_tokens)


def check_completion_usage(world, usage):
    bill = world.bill()
    check_told_bill(bill, INPUT_TOKENS)
    details = usage.prompt_tokens_details.cached_tokens, usage.completion_tokens_details.reasoning_tokens
    check_openai_usage(bill, usage.prompt_tokens, details[0], usage.completion_tokens, details[1], usage.total_tokens)


@case("openai python: responses")
def responses(world):
    check_response(world, client(world).responses.create(model=OPENAI_MODEL, input=OPENAI_PROMPT))
    equal("requests", world.requests(), ["POST /v1/responses"])


@case("openai python: responses, create(stream=True)")
def responses_streamed(world):
    events = list(client(world).responses.create(model=OPENAI_MODEL, input=OPENAI_PROMPT, stream=True))
    equal("deltas", "".join(event.delta for event in events if event.type == "response.output_text.delta"), ANSWER)
    equal("first event", events[0].type, "response.created")
    equal("last event", events[-1].type, "response.completed")
    numbers = [event.sequence_number for event in events]
    equal("sequence numbers", numbers, list(range(len(events))))
    check_response(world, events[-1].response)


@case("openai python: responses, .stream()")
def responses_helper(world):
    with client(world).responses.stream(model=OPENAI_MODEL, input=OPENAI_PROMPT) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        response = stream.get_final_response()
    equal("deltas", text, ANSWER)
    check_response(world, response)


@case("openai python: responses, a tool called and answered")
def responses_tools(world):
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER_PARAMETERS, "strict": False}
    asked = [{"role": "user", "content": WEATHER_PROMPT}]
    with client(world).responses.stream(model=OPENAI_MODEL, input=asked, tools=[tool]) as stream:
        first = stream.get_final_response()
    call = next(item for item in first.output if item.type == "function_call")
    equal("tool", (call.name, json.loads(call.arguments)), ("get_weather", {"city": CITY}))
    output = {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
    sent = asked + [call.model_dump(include={"type", "call_id", "name", "arguments"}), output]
    second = client(world).responses.create(model=OPENAI_MODEL, input=sent, tools=[tool])
    contains("answer", second.output_text, "The tool has answered")
    # No Codex: the whole conversation is charged each time.
    equal("bills", len(world.bills()), 2)


@case("openai python: chat")
def chat(world):
    completion = client(world).chat.completions.create(model=OPENAI_MODEL, messages=messages())
    equal("text", completion.choices[0].message.content, ANSWER)
    equal("model", completion.model, OPENAI_MODEL)
    equal("finish reason", completion.choices[0].finish_reason, "stop")
    check_completion_usage(world, completion.usage)
    equal("requests", world.requests(), ["POST /v1/chat/completions"])


def check_chunks(chunks):
    equal("text", "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), ANSWER)
    equal("finish reasons", [c.choices[0].finish_reason for c in chunks if c.choices][-1], "stop")


@case("openai python: chat, create(stream=True), no usage unless asked for")
def chat_streamed(world):
    chunks = list(client(world).chat.completions.create(model=OPENAI_MODEL, messages=messages(), stream=True))
    check_chunks(chunks)
    equal("usages", [chunk.usage for chunk in chunks if chunk.usage is not None], [])
    equal("chunks without choices", [chunk for chunk in chunks if not chunk.choices], [])
    check_told_bill(world.bill(), INPUT_TOKENS)


@case("openai python: chat, create(stream=True), usage asked for")
def chat_streamed_with_usage(world):
    options = {"include_usage": True}
    chunks = list(
        client(world).chat.completions.create(
            model=OPENAI_MODEL, messages=messages(), stream=True, stream_options=options
        )
    )
    check_chunks(chunks)
    usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
    equal("chunks with usage", len(usages), 1)
    equal("choices of the last chunk", chunks[-1].choices, [])
    check_completion_usage(world, usages[0])


@case("openai python: chat, .stream()")
def chat_helper(world):
    with client(world).chat.completions.stream(model=OPENAI_MODEL, messages=messages()) as stream:
        completion = stream.get_final_completion()
    equal("text", completion.choices[0].message.content, ANSWER)
    check_told_bill(world.bill(), INPUT_TOKENS)


@case("openai python: chat, a tool called and answered")
def chat_tools(world):
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": WEATHER_PARAMETERS}}
    asked = messages(WEATHER_PROMPT)
    first = client(world).chat.completions.create(model=OPENAI_MODEL, messages=asked, tools=[tool])
    equal("finish reason", first.choices[0].finish_reason, "tool_calls")
    call = first.choices[0].message.tool_calls[0]
    equal("tool", (call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": CITY}))
    answer = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
    sent = asked + [first.choices[0].message.model_dump(exclude_none=True), answer]
    with client(world).chat.completions.stream(model=OPENAI_MODEL, messages=sent, tools=[tool]) as stream:
        second = stream.get_final_completion()
    contains("answer", second.choices[0].message.content, "The tool has answered")
    equal("bills", len(world.bills()), 2)


@case("openai python: a stream left after its first words is charged all the same")
def left_stream(world):
    prompt = "Count " + told(delta_count=40, chunk_delay_ms=25)
    stream = client(world).responses.create(model=OPENAI_MODEL, input=prompt, stream=True)
    next(event for event in stream if event.type == "response.output_text.delta")
    stream.close()
    world.wait_for_bills(1)


def refused(world, kind, status, act):
    """Runs `act`, which must raise exactly `kind`, after one request."""
    try:
        act()
    except openai.APIStatusError as error:
        equal("exception", type(error).__name__, kind.__name__)
        equal("status", error.status_code, status)
        equal("requests", len(world.requests()), 1)
        return error
    raise AssertionError("nothing was raised")


def ask(world, key=None, model=OPENAI_MODEL, **more):
    return client(world, key).chat.completions.create(model=model, messages=messages(), **more)


@case("openai python: a bad request is refused in the provider's words")
def bad_request(world):
    error = refused(world, openai.BadRequestError, 400, lambda: ask(world, temperature=9))
    contains("message", str(error), "temperature")
    equal("requests upstream", world.upstream_requests(), 1)


@case("openai python: an unknown model")
def unknown_model(world):
    error = refused(world, openai.NotFoundError, 404, lambda: ask(world, model=UNKNOWN_MODEL))
    contains("message", str(error), UNKNOWN_MODEL)
    equal("code", error.code, "model_not_found")


@case("openai python: a wrong key", needs_wallets=True)
def wrong_key(world):
    error = refused(world, openai.AuthenticationError, 401, lambda: ask(world, key=WRONG_KEY))
    contains("message", str(error), WRONG_KEY_SENTENCE)
    equal("requests upstream", world.upstream_requests(), 0)


@case("openai python: an empty wallet", payer="empty")
def empty_wallet(world):
    error = refused(world, openai.APIStatusError, 402, lambda: ask(world))
    equal("type", error.type, "insufficient_quota")
    check_empty_wallet(world, str(error))


@case("openai python: a provider that breaks off is reported and costs nothing")
def provider_breaks_off(world):
    prompt = "Break " + told(mid_stream_error={"after": 2})
    for act in (
        lambda: list(client(world).chat.completions.create(model=OPENAI_MODEL, messages=messages(prompt), stream=True)),
        lambda: read_to_the_end(client(world).responses.stream(model=OPENAI_MODEL, input=prompt)),
    ):
        try:
            act()
        except (openai.APIError, RuntimeError):
            continue
        raise AssertionError("nothing was raised")
    equal("bills", [bill["status"] for bill in world.bills()], ["errored"] * 2)


def read_to_the_end(manager):
    with manager as stream:
        return stream.get_final_response()


@case("openai python: a provider's 500 costs nothing")
def provider_fails(world):
    prompt = "Fail " + told(error={"status": 500, "message": "The provider fell over"})
    try:
        # By itself it would wait as long as Retry-After says, twice.
        client(world).with_options(max_retries=0).responses.create(model=OPENAI_MODEL, input=prompt)
    except openai.InternalServerError:
        equal("requests upstream", world.upstream_requests(), 1)
        return
    raise AssertionError("nothing was raised")


@case("openai python: models")
def models(world):
    listed = [model.id for model in client(world).models.list()]
    for model in (OPENAI_MODEL, ANTHROPIC_MODEL):
        assert model in listed, f"{model} is not in {listed}"
    equal("one model", client(world).models.retrieve(OPENAI_MODEL).id, OPENAI_MODEL)
