"""Codex CLI, the oldest version we promise and the latest: `codex exec` completing a turn with a tool call."""

import json

from case import case, contains, equal, only, run_program, told
from .dialogue import EMPTY_WALLET_SENTENCE, OPENAI_MODEL, WRONG_KEY, WRONG_KEY_SENTENCE, check_empty_wallet

VERSIONS = {
    "0.141.0": "npm/node_modules/codex-oldest/node_modules/@openai/codex-*",
    "0.169.0": "npm/node_modules/@openai/codex-*",
}
CONFIGURATION = """
model = "{model}"
model_provider = "codexapi"
check_for_update_on_startup = false

[model_providers.codexapi]
name = "codexapi"
base_url = "{base_url}/v1"
experimental_bearer_token = "{token}"
wire_api = "responses"
supports_websockets = false
request_max_retries = {retries}
stream_max_retries = {retries}

[analytics]
enabled = false

[features]
apps = false
plugins = false
"""
PROOF = "written-by-codex"
TOOL = '[[tool:exec_command {"cmd":"echo %s >> proof","yield_time_ms":1000}]]' % PROOF


def codex(world, version, *arguments, key=None, model=OPENAI_MODEL, retries=2):
    """`codex exec …` in a home and a folder of its own, which keep over the calls of one case."""
    home, folder = world.scratch / "home", world.scratch / "work"
    for each in (home, folder):
        each.mkdir(exist_ok=True)
    token = key or world.customer.token
    configuration = CONFIGURATION.format(model=model, base_url=world.base_url, token=token, retries=retries)
    (home / "config.toml").write_text(configuration)
    program = only(only(world.clients, VERSIONS[version]), "vendor/*/bin/codex")
    # No sandbox of its own: containers seldom allow one, and the command is ours.
    common = ["exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "--cd", folder]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "CODEX_HOME": str(home)}
    return run_program([program, *common, *arguments], folder, environment)


def turn_with_retries(world, version, *arguments, **options):
    """The events of a turn that must succeed in the end."""
    done = codex(world, version, "--json", *arguments, **options)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines()]


def turn(world, version, *arguments, **options):
    """The events of a turn that must succeed at once."""
    events = turn_with_retries(world, version, *arguments, **options)
    equal("last event", events[-1]["type"], "turn.completed")
    equal("errors", [event for event in events if event["type"] == "error"], [])
    return events


def last_words(events):
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    return [item["text"] for item in items if item["type"] == "agent_message"][-1]


def for_each_version(name, **options):
    """Registers the case once for every version; the function gets it as its second argument."""

    def register(function):
        for version in VERSIONS:
            case(f"codex {version}: {name}", **options)(lambda world, version=version: function(world, version))
        return function

    return register


@for_each_version("a turn with a tool call")
def tool_turn(world, version):
    directive = told(cached_tokens=3_000, output_tokens=50, reasoning_tokens=20)
    events = turn(world, version, f"Write the proof {directive} {TOOL}")
    equal("proof", (world.scratch / "work" / "proof").read_text(), f"{PROOF}\n")
    contains("last words", last_words(events), "The tool has answered")
    equal("requests", world.requests(), ["POST /v1/responses"] * 2)
    bills, usage = world.bills(), events[-1]["usage"]
    equal("number of bills", len(bills), 2)
    for counted, billed in (
        ("input_tokens", "input_tokens"), ("cached_input_tokens", "cached_tokens"), ("output_tokens", "output_tokens"),
        ("reasoning_output_tokens", "reasoning_tokens"),
    ):
        equal(f"usage's {counted}", usage[counted], sum(bill[billed] for bill in bills))


@for_each_version("a conversation taken up again is charged for what is new")
def resumed(world, version):
    first = turn(world, version, "Say hello " + told(cached_tokens=2_000))
    second = turn(world, version, "resume", first[0]["thread_id"], "And again " + told(cached_tokens=11_000))
    equal("thread", second[0]["thread_id"], first[0]["thread_id"])
    one, two = world.bills()
    equal("conversation", two["client_ref"]["thread_id"], one["client_ref"]["thread_id"])
    assert two["input_tokens"] > one["input_tokens"], "the second request holds the first"


@for_each_version("a provider that breaks off costs nothing, and Codex's second try is charged once")
def tried_again(world, version):
    world.simulator.script({"path": "/v1/responses", "directive": {"mid_stream_error": {"after": 2}}})
    events = turn_with_retries(world, version, "Say hello")
    equal("last event", events[-1]["type"], "turn.completed")
    equal("bills", [bill["status"] for bill in world.bills()], ["errored", "completed"])


@for_each_version("an empty wallet is told once, in our words", payer="empty")
def empty_wallet(world, version):
    done = codex(world, version, "--json", "Say hello")
    equal("exit", done.returncode, 1)
    equal("requests", world.requests(), ["POST /v1/responses"])
    events = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [event["message"] for event in events if event["type"] == "error"]
    equal("errors", errors, [events[-1]["error"]["message"]])
    check_empty_wallet(world, errors[0])
    assert EMPTY_WALLET_SENTENCE.fullmatch(errors[0]), f"there is more than our sentence in {errors[0]!r}"


@for_each_version("a wrong key", needs_wallets=True)
def wrong_key(world, version):
    done = codex(world, version, "Say hello", key=WRONG_KEY)
    equal("exit", done.returncode, 1)
    contains("what is told", done.stderr, WRONG_KEY_SENTENCE)
    equal("requests upstream", world.upstream_requests(), 0)
