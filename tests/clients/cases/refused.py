"""Refusals as people see them: one request, our sentence once, and an exit status that says so.

Each reason is told to Codex CLI, to Claude Code, and to the SDKs, which all listen differently.
"""

import json
import re
import threading
from dataclasses import dataclass

import anthropic
import openai

from case import case, equal
from .claude_code import claude
from .codex import VERSIONS, codex
from .dialects import DIALECTS
from .dialogue import ANTHROPIC_MODEL, EMPTY_WALLET_SENTENCE, OPENAI_MODEL, UNKNOWN_MODEL
from .sdks import JavaScript

TIMEOUT_SECONDS = 30


@dataclass
class Reason:
    """Why a customer is refused, and what everybody but a streaming Codex gets for it."""

    name: str
    status: int
    code: str
    sentence: object  # a pattern, the whole of it
    customer: object  # (service) → who is refused
    models: tuple = (OPENAI_MODEL, ANTHROPIC_MODEL)  # for OpenAI's clients, for Anthropic's


PREPARING = threading.Lock()
PREPARED = {}


def prepared(reason, service):
    """One customer for each reason, whichever client comes first."""
    with PREPARING:
        if reason.name not in PREPARED:
            PREPARED[reason.name] = reason.customer(service)
        return PREPARED[reason.name]


REASONS = [
    Reason("an unknown model", 404, "model_not_found",
           re.compile(r'the model "missing-model" is not sold here\. Available: [a-z0-9.-]+(, [a-z0-9.-]+)*'),
           lambda service: service.demo, (UNKNOWN_MODEL, UNKNOWN_MODEL)),
    Reason("an empty wallet", 402, "insufficient_credit", EMPTY_WALLET_SENTENCE,
           lambda service: service.new_customer("refused: empty", None)),
]


def check_told(world, reason, text, requests):
    """Our sentence once, in one request, which went no further."""
    equal(f"times our sentence is told in {text!r}", len(reason.sentence.findall(text)), 1)
    equal("requests", world.requests(), requests)
    equal("requests upstream", world.received(), [])


def codex_is_told(world, reason, version):
    done = codex(world, version, "--json", "Say hello " + world.told(), model=reason.models[0])
    equal("exit", done.returncode, 1)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    # What Codex says of models it does not know is its own, and no error.
    failed = events[-1]["error"]["message"]
    check_told(world, reason, failed, ["POST /v1/responses"])
    assert reason.sentence.fullmatch(failed), f"there is more than our sentence in {failed!r}"


def claude_is_told(world, reason):
    done = claude(world, "Say hello " + world.told(), ANTHROPIC_MODEL=reason.models[1])
    equal("exit", done.returncode, 1)
    check_told(world, reason, done.stdout, ["POST /v1/messages?beta=true"])


def sdks_are_told(world, reason):
    """Every dialect, streamed and not, in Python with its own number of retries; and in JavaScript."""
    javascript, troubles = JavaScript(world), []
    try:
        for dialect in DIALECTS.values():
            model = reason.models[dialect.name == "messages"]
            body = dialect.body(model, [("user", "Say hello " + world.told())])
            for stream in (False, True):
                for send in (python_is_told, javascript_is_told):
                    before = len(world.requests())
                    text = send(world, javascript, dialect.name, body, stream, reason)
                    what = f"{send.__name__}, {dialect.name}, {'streamed' if stream else 'whole'}"
                    if len(reason.sentence.findall(text)) != 1:
                        troubles.append(f"{what}: {text!r}")
                    equal(f"{what}: requests", len(world.requests()) - before, 1)
    finally:
        javascript.close()
    equal("not told", troubles, [])
    equal("requests upstream", world.received(), [])


def python_is_told(world, _, dialect, body, stream, reason):
    own = {"api_key": world.customer.token, "timeout": TIMEOUT_SECONDS}
    act = {
        "responses": lambda: openai.OpenAI(base_url=f"{world.base_url}/v1", **own).responses.create,
        "chat": lambda: openai.OpenAI(base_url=f"{world.base_url}/v1", **own).chat.completions.create,
        "completions": lambda: openai.OpenAI(base_url=f"{world.base_url}/v1", **own).completions.create,
        "messages": lambda: anthropic.Anthropic(base_url=world.base_url, **own).messages.create,
    }[dialect]()
    try:
        act(**body, stream=stream)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        equal("status", error.status_code, reason.status)
        if dialect != "messages":
            equal("code", error.code, reason.code)
        return str(error)
    raise AssertionError("nothing was raised")


def javascript_is_told(world, javascript, dialect, body, stream, reason):
    outcome = javascript.try_to_send(dialect, body, stream)
    equal("status", outcome.get("status"), reason.status)
    # Anthropic's package shows the whole error as JSON.
    return outcome["message"].replace('\\"', '"')


def register(name, act, reason, *arguments):
    def run(world):
        world.customer = prepared(reason, world.service)
        act(world, reason, *arguments)

    case(f"refused: {reason.name}: {name}", payer="nobody", together=True)(run)


for each_reason in REASONS:
    for each_version in VERSIONS:
        register(f"codex {each_version}", codex_is_told, each_reason, each_version)
    register("claude code", claude_is_told, each_reason)
    register("the SDKs", sdks_are_told, each_reason)
