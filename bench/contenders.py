"""Who is measured: the provider itself, we with every commit durable, we with commits relaxed, and the peers.

Each stands in front of the same provider, is started for its turn and ended after it, and says where to send, as whom,
and which processes are its own.
"""

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "tests" / "clients"))

from processes import tree  # noqa: E402
from service import Process, temporary_folder  # noqa: E402

MODEL = "gpt-5.5"
CUSTOMERS, CUSTOMERS_AT_ONCE = 100, 8
CREDIT_USD = "100000"
READY_TIMEOUT_SECONDS = 120
COMMAND_TIMEOUT_SECONDS = 120
CATCH_UP_TIMEOUT_SECONDS = 120
# Every event of the turn, hashed and rated anew.
VERIFY_TIMEOUT_SECONDS = 1_800


# The log's writer insists on durable commits and has no setting against it. Only its own transaction could.
RELAX = [
    "CREATE FUNCTION relax() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN PERFORM set_config('synchronous_commit', 'off', true); RETURN NULL; END $$",
    "CREATE TRIGGER relax AFTER INSERT ON events FOR EACH STATEMENT EXECUTE FUNCTION relax()",
]


class Direct:
    """No gateway at all: what the provider, the load and the machine take by themselves."""

    name = "direct"
    streams = True

    def __init__(self, world):
        self.url = f"{world.upstream_url}/v1/chat/completions"
        self.tokens, self.headers = ["sk-nobody"], []

    def pids(self):
        return []

    def stop(self):
        pass


class Codexapi:
    """`codexapi dev`, whose Postgres has fsync and synchronous_commit on, with relay and projections running."""

    name = "codexapi"
    streams = True
    relaxed = False

    def __init__(self, world):
        self.world, self.folder = world, temporary_folder()
        self.process = None
        try:
            self.start()
        except BaseException:
            self.stop()
            raise

    def start(self):
        providers = self.folder / "providers.toml"
        providers.write_text(
            f'[[providers]]\nname = "bench"\nprotocol = ["chat"]\nbase_url = "{self.world.upstream_url}"\n'
            f'[[providers.models]]\nmodel = "{MODEL}"\n'
        )
        command = [
            self.world.binaries / "codexapi", "dev", "--listen", "127.0.0.1:0", "--data", self.folder / "data", "--json",
            "--log", "warn", "--providers-file", providers,
        ]
        self.process = Process(command, self.folder / "log")
        ready = self.process.ready_line()
        self.base_url, self.database_url = ready["baseUrl"], ready["databaseUrl"]
        self.environment = {
            "DATABASE_URL": self.database_url, "CODEXAPI_TOKEN_DIGEST_KEY": ready["tokenDigestKey"],
            "CODEXAPI_SEALING_KEY": ready["sealingKey"],
        }
        if self.relaxed:
            self.sql(*RELAX)
        self.url, self.headers = f"{self.base_url}/v1/chat/completions", []
        # One after the other they would wait for the read models for most of a minute.
        with ThreadPoolExecutor(CUSTOMERS_AT_ONCE) as pool:
            self.tokens = list(pool.map(self.new_customer, (f"bench {number}" for number in range(CUSTOMERS))))

    def new_customer(self, name):
        created = json.loads(self.command("admin", "--json", "customer", "create", "--name", name))
        self.command("admin", "customer", "credit", created["account"], CREDIT_USD, "--key", name)
        return created["systemToken"]

    def command(self, *arguments, timeout=COMMAND_TIMEOUT_SECONDS):
        done = subprocess.run(
            [self.world.binaries / "codexapi", *arguments], env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
        )
        if done.returncode != 0:
            raise AssertionError(f"codexapi {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def sql(self, *statements):
        words = [word for statement in statements for word in ("-c", statement)]
        done = subprocess.run(["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", self.database_url, *words], check=True,
                              capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS)
        return done.stdout.strip()

    def verify(self):
        """The last word: every balance and every read model is what the log says."""
        self.command("verify", timeout=VERIFY_TIMEOUT_SECONDS)

    def catch_up_seconds(self):
        """How far the slowest read model is behind: how long until it has what is in the log now. Errors: never."""
        head, started = int(self.sql("SELECT coalesce(max(position), 0) FROM events")), time.monotonic()
        slowest = (
            "SELECT min(c.position) FROM projection_versions v JOIN projection_checkpoints c "
            "ON c.projection = v.projection AND c.version = v.active_version"
        )
        while int(self.sql(slowest)) < head:
            assert time.monotonic() < started + CATCH_UP_TIMEOUT_SECONDS, "the read models lag behind for good"
            time.sleep(0.02)
        return round(time.monotonic() - started, 3)

    def pids(self):
        """The service, without its Postgres, its NATS and the fake Stripe."""
        return [self.process.child.pid]

    def servers(self):
        return [pid for pid in tree(self.process.child.pid) if pid != self.process.child.pid]

    def stop(self):
        if self.process:
            self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class CodexapiRelaxed(Codexapi):
    """The same with synchronous_commit off for appends: what durability costs is the difference. Not how anybody should run it."""

    name = "codexapi, commits relaxed"
    relaxed = True


class Portkey:
    """As it comes from npm: checks no key and meters nothing. It answers 500 to streams on this Node, so it has none."""

    name = "portkey"
    streams = False

    def __init__(self, world):
        port = free_port()
        server = world.peers / "npm" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        self.child = child(["node", server, f"--port={port}", "--headless"], world.log("portkey"))
        self.url, self.tokens = f"http://127.0.0.1:{port}/v1/chat/completions", ["sk-nobody"]
        self.headers = [["x-portkey-provider", "openai"], ["x-portkey-custom-host", f"{world.upstream_url}/v1"]]
        wait_for(self, f"http://127.0.0.1:{port}/")

    def pids(self):
        return tree(self.child.pid)

    def stop(self):
        end(self.child)


class LiteLlm:
    """The proxy with one worker and its master key; no database, so it keeps no spend."""

    name = "litellm"
    streams = True

    def __init__(self, world):
        port, self.folder = free_port(), temporary_folder()
        config = self.folder / "config.yaml"
        config.write_text(
            f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/{MODEL}\n"
            f"      api_base: {world.upstream_url}/v1\n      api_key: sk-nobody\n"
            "general_settings:\n  master_key: sk-bench-master\nlitellm_settings:\n  telemetry: false\n"
        )
        command = [world.peers / "python" / "bin" / "litellm", "--config", config, "--port", port, "--host", "127.0.0.1"]
        self.child = child(command, world.log("litellm"), LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOG="ERROR")
        self.url, self.headers = f"http://127.0.0.1:{port}/v1/chat/completions", []
        self.tokens = ["sk-bench-master"]
        wait_for(self, f"http://127.0.0.1:{port}/health/liveliness")

    def pids(self):
        return tree(self.child.pid)

    def stop(self):
        end(self.child)
        shutil.rmtree(self.folder, ignore_errors=True)


ALL = [Direct, Codexapi, CodexapiRelaxed, Portkey, LiteLlm]


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def child(command, log, **environment):
    with open(log, "ab") as output:
        return subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            env={**os.environ, **environment}, start_new_session=True,
        )


def wait_for(contender, url):
    """Until it answers at all. Errors: it ends, or is silent for too long; it is stopped then."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if contender.child.poll() is not None or time.monotonic() > deadline:
                contender.stop()
                raise AssertionError(f"{contender.name} does not answer at {url}") from None
            time.sleep(0.2)


def end(process):
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
