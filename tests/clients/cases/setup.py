"""The set-up that is handed to customers: its own shell blocks, run as they are, and then the client they set up.

Only what installs from npm is left out: the blocks that write the settings are handed over by themselves, too.
"""

import json
import os
import stat
import subprocess
import urllib.request

try:
    import tomllib
except ImportError:
    import tomli as tomllib

from case import PROCESS_TIMEOUT_SECONDS, case, contains, equal, only
from .claude_code import PROGRAM as CLAUDE
from .codex import VERSIONS as CODEX_VERSIONS
from .dialogue import WRONG_KEY

SHELLS = ("sh", "bash")


class Customer:
    """A home of its own, in which a customer pastes blocks into a shell."""

    def __init__(self, world, kind, programs=()):
        self.world = world
        self.home = world.scratch / "home"
        self.home.mkdir()
        tools = world.scratch / "bin"
        tools.mkdir()
        for name, program in programs:
            (tools / name).symlink_to(program)
        self.environment = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(self.home)}
        with urllib.request.urlopen(f"{world.base_url}/api/v1/cli/{kind}") as answer:
            text = answer.read().decode()
        host = json.loads(text)["baseUrl"].removesuffix("/v1")
        # Through the tap, which counts requests.
        self.payload = json.loads(text.replace(host, world.base_url))

    def paste(self, field, token=None, shell="sh"):
        """Runs a block of the payload with the token filled in."""
        block = self.payload[field].replace(self.payload["tokenPlaceholder"], token or self.world.customer.token)
        return self.run(block, shell)

    def run(self, block, shell="sh"):
        return subprocess.run(
            [shell, "-c", block], cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=PROCESS_TIMEOUT_SECONDS,
        )

    def pasted(self, *arguments, **options):
        """The same, which must succeed and not show the token."""
        done = self.paste(*arguments, **options)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert self.world.customer.token not in done.stdout + done.stderr, "the token is shown"
        return done

    def generations(self):
        """What the client has sent; the payload's own request is ours."""
        return [request for request in self.world.requests() if request.startswith("POST")]

    def file(self, *parts):
        path = self.home.joinpath(*parts)
        equal("who may read it", stat.S_IMODE(path.stat().st_mode), 0o600)
        return path


def backups(path):
    return sorted(path.parent.glob(f"{path.name}.backup.*"))


def codex_customer(world, version):
    program = only(only(world.clients, CODEX_VERSIONS[version]), "vendor/*/bin/codex")
    return Customer(world, "public-codex", [("codex", program)])


def check_smoke(world, done):
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
    bill = world.bill()
    assert bill["output_tokens"] > 0, bill
    assert done.stdout.strip(), "no answer"


def for_each_codex(name):
    def register(function):
        for version in CODEX_VERSIONS:
            case(f"set-up: codex {version}: {name}", needs_wallets=True)(
                lambda world, version=version: function(world, version)
            )
        return function

    return register


@for_each_codex("the block writes the settings, and the smoke test answers")
def codex_set_up(world, version):
    customer = codex_customer(world, version)
    customer.pasted("linuxConfigureCommand")
    config = customer.file(".codex", "config.toml")
    settings = tomllib.loads(config.read_text())
    provider = settings["model_providers"][settings["model_provider"]]
    equal("token", provider["experimental_bearer_token"], world.customer.token)
    check_smoke(world, customer.paste("execSmokeTestCommand"))
    equal("requests", customer.generations(), ["POST /v1/responses"])


@for_each_codex("one run overrides whatever else is configured")
def codex_override(world, version):
    customer = codex_customer(world, version)
    folder = customer.home / ".codex"
    folder.mkdir()
    (folder / "config.toml").write_text('model = "another"\nmodel_provider = "openai"\n')
    check_smoke(world, customer.paste("loggedInOverrideExecSmokeTestCommand"))
    equal("requests", customer.generations(), ["POST /v1/responses"])


@case("set-up: codex: a second run changes nothing, and another configuration is kept", needs_wallets=True)
def codex_again(world):
    customer = Customer(world, "public-codex")
    for shell in SHELLS:
        customer.pasted("linuxConfigureCommand", shell=shell)
    config = customer.file(".codex", "config.toml")
    equal("copies", backups(config), [])
    # Codex writes below what it was given.
    grown = config.read_text() + '\n[projects."/work"]\ntrust_level = "trusted"\n'
    config.write_text(grown)
    contains("what is told", customer.pasted("linuxConfigureCommand").stdout, "set up already")
    equal("configuration", config.read_text(), grown)
    config.write_text('model = "mine"\n')
    customer.pasted("macosConfigureCommand")
    equal("copy", [copy.read_text() for copy in backups(config)], ['model = "mine"\n'])
    contains("configuration", config.read_text(), world.customer.token)


@case("set-up: codex: without a token, or without a folder to write to, nothing is written", needs_wallets=True)
def codex_refused(world):
    customer = Customer(world, "public-codex")
    done = customer.run(customer.payload["linuxConfigureCommand"])
    equal("exit", done.returncode, 1)
    contains("what is told", done.stderr, "Put your token")
    equal("written", list(customer.home.iterdir()), [])
    done = customer.paste("linuxConfigureCommand", token="a$(touch broken)b")
    equal("exit", done.returncode, 1)
    equal("written", list(customer.home.iterdir()), [])
    (customer.home / ".codex").write_text("a file where the folder goes")
    assert customer.paste("linuxConfigureCommand").returncode != 0


@case("set-up: the whole block installs, writes the settings, and starts only where all of that succeeded",
      needs_wallets=True)
def whole_block(world):
    customer = Customer(world, "public-codex")
    tools = world.scratch / "bin"
    write_program(tools / "npm", 'echo "npm $*" >> "$HOME/ran"; [ "$1" = root ] && echo "$HOME/lib"; exit 0')
    write_program(tools / "codex", 'echo "codex $*" >> "$HOME/ran"')
    for field in ("linuxSetupAndStartCommand", "macosSetupAndStartCommand"):
        customer.pasted(field)
        ran = (customer.home / "ran").read_text().splitlines()
        equal("ran", ran, ["npm root -g", "npm install -g @openai/codex@latest", "codex --search"])
        (customer.home / "ran").unlink()
    write_program(tools / "npm", '[ "$1" = root ] && echo "$HOME/lib" && exit 0; echo "no network" >&2; exit 7')
    done = customer.paste("linuxSetupAndStartCommand")
    assert done.returncode != 0, "a failed install is taken for a success"
    assert not (customer.home / "ran").exists(), "started all the same"


def write_program(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    os.chmod(path, 0o755)


@case("set-up: claude code: the block writes the settings beside others, and the smoke test answers",
      needs_wallets=True)
def claude_set_up(world):
    customer = Customer(world, "public-claude-code", [("claude", only(world.clients, CLAUDE))])
    folder = customer.home / ".claude"
    folder.mkdir()
    others = {"env": {"EDITOR": "vi", "ANTHROPIC_AUTH_TOKEN": WRONG_KEY}, "includeCoAuthoredBy": False}
    (folder / "settings.json").write_text(json.dumps(others))
    customer.pasted("linuxConfigureCommand")
    settings = customer.file(".claude", "settings.json")
    written = json.loads(settings.read_text())
    equal("others' settings", (written["includeCoAuthoredBy"], written["env"]["EDITOR"]), (False, "vi"))
    equal("token", written["env"]["ANTHROPIC_AUTH_TOKEN"], world.customer.token)
    equal("copy", [json.loads(copy.read_text()) for copy in backups(settings)], [others])
    contains("what is told", customer.pasted("macosConfigureCommand").stdout, "set up already")
    equal("number of copies", len(backups(settings)), 1)
    check_smoke(world, customer.paste("execSmokeTestCommand"))
    equal("requests", customer.generations(), ["POST /v1/messages?beta=true"])


@case("set-up: claude code: settings that are no JSON are left alone", needs_wallets=True)
def claude_refused(world):
    customer = Customer(world, "public-claude-code")
    folder = customer.home / ".claude"
    folder.mkdir()
    (folder / "settings.json").write_text("{ not json")
    done = customer.paste("linuxConfigureCommand")
    equal("exit", done.returncode, 1)
    contains("what is told", done.stderr, "is not JSON")
    equal("settings", (folder / "settings.json").read_text(), "{ not json")


@case("set-up: claude code: one session from the environment alone", needs_wallets=True)
def claude_from_environment(world):
    customer = Customer(world, "public-claude-code", [("claude", only(world.clients, CLAUDE))])
    block = customer.payload["shellCommand"].replace(customer.payload["tokenPlaceholder"], world.customer.token)
    check_smoke(world, customer.run(block + ' -p "Say hello" </dev/null'))
    equal("written", (customer.home / ".claude" / "settings.json").exists(), False)
