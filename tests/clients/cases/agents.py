"""Codex CLI and Claude Code on a task of several steps, natively and over providers of other dialects.

The simulator is told each step ahead: a shell command, an edit, and words. The files must be there, nothing may have
been tried twice, and each step must have shown the provider what came of the one before.
"""

import json

from case import case, contains, equal
from catalog import SIMULATED
from .claude_code import claude
from .codex import VERSIONS, last_words, turn
from .matrix import THOUGHT, pairs

MODELS = ("gpt-5.5-responses", "gpt-5.5-chat", "claude-opus-4-8", "deepseek-v4-pro", "deepseek-v4-pro-messages")
PATHS = {"responses": "/v1/responses", "chat": "/v1/chat/completions", "messages": "/v1/messages"}
LAST_WORDS = "Both files are written."
THINKS = {"reasoning_tokens": 9}
PATCH = "*** Begin Patch\n*** Add File: second\n+two\n*** End Patch\n"


def call(name, arguments):
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"calls": [{"name": name, "arguments": text}], **THINKS}


def check_steps(world, model, names, outputs):
    """One request and one bill a step; the last one holds all calls with their results, and what was thought."""
    upstream = SIMULATED[model][0]
    received = world.received()
    equal("asked at", [each["path"] for each in received], [PATHS[upstream]] * (len(names) + 1))
    equal("bills", [bill["status"] for bill in world.bills()], ["completed"] * (len(names) + 1))
    body = received[-1]["body"]
    called, results = pairs(upstream, body)
    equal("calls", [name for _, name in called], names)
    equal("ids of the results", [each for each, _ in results], [each for each, _ in called])
    for output, (_, text) in zip(outputs, results):
        contains("result", text, output)
    if proof := proof_of(model, upstream):
        contains("request", json.dumps(body), proof)


def proof_of(model, upstream):
    """What shows that the model's thinking came back to it; a chat provider of OpenAI's models shows none."""
    if upstream == "chat":
        return THOUGHT if model.startswith("deepseek") else None
    return {"responses": "sim-encrypted-", "messages": "sim-signature-"}[upstream]


def codex_task(world, version, model):
    # Codex offers apply_patch as a tool for models it knows; others get it as a command.
    has_tool = model.startswith("gpt")
    as_command = {"cmd": f"apply_patch <<'EOF'\n{PATCH}EOF", "yield_time_ms": 2_000}
    edit = call("apply_patch", PATCH) if has_tool else call("exec_command", as_command)
    world.steps(
        call("exec_command", {"cmd": "echo one > first; cat first", "yield_time_ms": 2_000}), edit, {"text": LAST_WORDS}
    )
    events = turn(world, version, "Write both files " + world.told(), model=model)
    equal("last words", last_words(events), LAST_WORDS)
    work = world.scratch / "work"
    equal("files", [(work / name).read_text() for name in ("first", "second")], ["one\n", "two\n"])
    equal("requests", world.requests(), ["POST /v1/responses"] * 3)
    names = ["exec_command", "apply_patch" if has_tool else "exec_command"]
    check_steps(world, model, names, ["one", "A second"])


def claude_task(world, model):
    work = world.scratch / "only" / "work"
    first = str(work / "first")
    world.steps(
        call("Bash", {"command": "echo one > first; cat first", "description": "Writes a file"}),
        call("Read", {"file_path": first}),
        call("Edit", {"file_path": first, "old_string": "one", "new_string": "two"}),
        {"text": LAST_WORDS},
    )
    prompt = "Write the file " + world.told()
    done = claude(world, prompt, tools="Bash,Read,Edit", ANTHROPIC_MODEL=model)
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    equal("last words", done.stdout.strip(), LAST_WORDS)
    equal("file", (work / "first").read_text(), "two\n")
    equal("requests", world.requests(), ["POST /v1/messages?beta=true"] * 4)
    check_steps(world, model, ["Bash", "Read", "Edit"], ["one", "one", "updated"])


def register(name, act, *arguments):
    case(f"agents: {name}", payer="any", together=True)(lambda world: act(world, *arguments))


for each_model in MODELS:
    for each_version in VERSIONS:
        register(f"codex {each_version}: a task of three steps with {each_model}", codex_task, each_version, each_model)
    register(f"claude code: a task of four steps with {each_model}", claude_task, each_model)
