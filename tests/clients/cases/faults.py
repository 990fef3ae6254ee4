"""What goes wrong at a provider of another dialect, as the client's own SDK tells it: never an answer that looks whole.

What breaks off costs nothing, a request the provider refuses is tried once, and a stream left is charged all the same.
"""

import anthropic
import openai

from case import case, contains, equal
from catalog import OVER
from .dialects import DIALECTS
from .sdks import JavaScript, Python

RAISED = (openai.APIError, anthropic.APIError, anthropic.AnthropicError, RuntimeError, AssertionError)
PROVIDERS_WORDS = "There is no such thing as this"


def raises(sdk, client, body, stream):
    """The text of what the SDK raises."""
    try:
        answer = sdk.send(client, body, stream)
    except RAISED as error:
        return str(error)
    # The helper of the package for JavaScript throws nothing for it.
    if answer.get("status") == "failed":
        return answer["error"]["message"]
    raise AssertionError(f"it is taken for an answer: {answer}")


def body_of(world, client, upstream, **directive):
    return DIALECTS[client].body(OVER[upstream], [("user", "Say hello " + world.told(**directive))])


def each_crossing(act):
    """Calls `act(sdk, client, upstream)` for every dialect over every other, in both languages."""

    def run(world):
        for sdk_of in (Python, JavaScript):
            sdk = sdk_of(world)
            try:
                for client in DIALECTS:
                    for upstream in OVER:
                        if client != upstream:
                            act(world, sdk, client, upstream)
            finally:
                sdk.close()

    return run


def register(name):
    return lambda act: case(f"faults: {name}", payer="any", needs_wallets=True, together=True)(each_crossing(act))


def new_statuses(world, before):
    return [bill["status"] for bill in world.bills()[before:]]


@register("a provider that fails in mid-stream is no answer, and costs nothing")
def failed(world, sdk, client, upstream):
    before = len(world.bills())
    raises(sdk, client, body_of(world, client, upstream, delta_count=9, mid_stream_error={"after": 3}), True)
    equal("bills", new_statuses(world, before), ["errored"])


@register("a stream the provider cuts, or ends too early, is no answer, and costs nothing")
def cut(world, sdk, client, upstream):
    for where in ("cut_at_byte", "clean_end_at_byte"):
        before = len(world.bills())
        raises(sdk, client, body_of(world, client, upstream, delta_count=40, **{where: 2_500}), True)
        equal("bills", new_statuses(world, before), ["cut"])


@register("a request the provider refuses is told in its words")
def refused(world, sdk, client, upstream):
    error = {"status": 400, "message": PROVIDERS_WORDS}
    for stream in (False, True):
        before = len(world.requests()), world.upstream_requests()
        contains("error", raises(sdk, client, body_of(world, client, upstream, error=error), stream), PROVIDERS_WORDS)
        equal("requests", (len(world.requests()), world.upstream_requests()), (before[0] + 1, before[1] + 1))


@case("faults: a stream left after its first words is charged all the same", payer="any", needs_wallets=True,
      together=True)
def left(world):
    sdk = Python(world)
    count = 0
    for client in DIALECTS:
        for upstream in OVER:
            body = body_of(world, client, upstream, delta_count=25, chunk_delay_ms=15)
            act = {
                "responses": sdk.openai.responses, "chat": sdk.openai.chat.completions,
                "completions": sdk.openai.completions, "messages": sdk.anthropic.messages,
            }[client]
            stream = act.create(**body, stream=True)
            for _, _ in zip(stream, range(6)):
                pass
            stream.close()
            count += 1
            # Only so many streams are read to their end for one wallet.
            world.wait_for_bills(count)
    sdk.close()
