"""Claude Code: `claude -p`, alone and five at once."""

from concurrent.futures import ThreadPoolExecutor

from case import between, case, contains, equal, only, run_program, told
from .dialogue import ANTHROPIC_MODEL, WRONG_KEY, WRONG_KEY_SENTENCE, check_empty_wallet

PROGRAM = "npm/node_modules/@anthropic-ai/claude-code-linux-*/claude"
PROOF = "written-by-claude"
TOOL = '[[tool:Bash {"command":"echo %s >> proof","description":"Writes the proof"}]]' % PROOF
PARALLEL = 5
SLOW_MS = 1_000


def claude(world, prompt, name="only", tools="Bash", **environment):
    """`claude -p` in a home and a folder of its own."""
    home, folder = world.scratch / name / "home", world.scratch / name / "work"
    for each in (home, folder):
        each.mkdir(parents=True)
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "ANTHROPIC_BASE_URL": world.base_url,
        "ANTHROPIC_AUTH_TOKEN": world.customer.token,
        "ANTHROPIC_MODEL": ANTHROPIC_MODEL,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        **environment,
    }
    environment = {key: value for key, value in environment.items() if value is not None}
    program = only(world.clients, PROGRAM)
    return run_program([program, "-p", prompt, "--allowedTools", tools], folder, environment)


def check_proof(world, done, name="only"):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    contains("answer", done.stdout, "The tool has answered")
    equal("proof", (world.scratch / name / "work" / "proof").read_text(), f"{PROOF}\n")


@case("claude code: a turn with a tool call")
def tool_turn(world):
    check_proof(world, claude(world, f"Write the proof {TOOL}"))
    equal("requests", world.requests(), ["POST /v1/messages?beta=true"] * 2)
    equal("number of bills", len(world.bills()), 2)


@case("claude code: its key as ANTHROPIC_API_KEY, which goes into x-api-key")
def api_key(world):
    # Only a key the user has approved is used; `-p` approves by itself.
    environment = {"ANTHROPIC_AUTH_TOKEN": None, "ANTHROPIC_API_KEY": world.customer.token}
    done = claude(world, "Say hello", **environment)
    equal("exit", done.returncode, 0)
    equal("number of bills", len(world.bills()), 1)


@case("claude code: a provider that breaks off costs nothing, and its second try is charged once")
def tried_again(world):
    world.simulator.script({"path": "/v1/messages", "directive": {"mid_stream_error": {"after": 2}}})
    done = claude(world, "Say hello")
    equal("exit", done.returncode, 0)
    equal("bills", [bill["status"] for bill in world.bills()], ["errored", "completed"])


@case("claude code: an empty wallet is told once, in our words", payer="empty")
def empty_wallet(world):
    done = claude(world, "Say hello")
    equal("exit", done.returncode, 1)
    equal("requests", world.requests(), ["POST /v1/messages?beta=true"])
    check_empty_wallet(world, done.stdout)


@case("claude code: a wrong key is told at once", needs_wallets=True)
def wrong_key(world):
    done = claude(world, "Say hello", ANTHROPIC_AUTH_TOKEN=WRONG_KEY)
    equal("exit", done.returncode, 1)
    contains("output", done.stdout, WRONG_KEY_SENTENCE)
    # A 401 alone makes it try for minutes.
    equal("requests", world.requests(), ["POST /v1/messages?beta=true"])


@case("claude code: five at once on three dollars, none refused", payer="three dollars")
def five_at_once(world):
    names = [str(number) for number in range(PARALLEL)]
    with ThreadPoolExecutor(PARALLEL) as pool:
        # Slow enough that they would all run at once if they were let.
        prompt = f"Write the proof {told(first_byte_delay_ms=SLOW_MS)} {TOOL}"
        runs = list(pool.map(lambda name: claude(world, prompt, name), names))
    for name, done in zip(names, runs):
        check_proof(world, done, name)
    equal("requests", world.requests(), ["POST /v1/messages?beta=true"] * (2 * PARALLEL))
    bills = world.bills()
    equal("number of bills", len(bills), 2 * PARALLEL)
    # Three dollars and the leak limit admit two at a time, each of which might write 64 000 tokens.
    between("most at a time", most_at_a_time(bills), 1, PARALLEL - 1)


def most_at_a_time(bills):
    spans = [(bill["started_at_ms"], bill["finished_at_ms"]) for bill in bills]
    return max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
