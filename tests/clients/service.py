"""The service under test: `codexapi dev` in a folder of its own, or the simulator alone.

Either is started on a free port, told to stop with SIGTERM, and leaves nothing behind.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

import catalog
from ledger import read

START_TIMEOUT_SECONDS = 120
STOP_TIMEOUT_SECONDS = 45
COMMAND_TIMEOUT_SECONDS = 60
KNOWN_WITHIN_SECONDS = 20
LOG_TAIL_LINES = 60


@dataclass
class Customer:
    """Who pays. `balance_micro` is what the last check found."""

    name: str
    id: str
    token: str
    balance_micro: int = 0


class Service:
    """`codexapi dev`, with Postgres, NATS and the demo customer, behind it a simulator and aimock.

    Which model is served in which dialect is `catalog.py`'s to say.
    """

    has_wallets = True

    def __init__(self, binaries, clients):
        self.binaries, self.program = binaries, binaries / "codexapi"
        self.folder = temporary_folder()
        self.processes = []
        try:
            simulator = [binaries / "codexapi-simulator", "--listen", "127.0.0.1:0"]
            self.simulator_url = self.start("simulator", simulator).ready_line()["baseUrl"]
            mock = ["node", clients / "npm" / "scenarios" / "aimock.mjs"]
            copy_scenarios(clients)
            self.mock_url = self.start("aimock", mock).ready_line()["baseUrl"]
            self.prices, providers = catalog.write(self.folder, self.simulator_url, self.mock_url)
            command = [self.program, "dev", "--listen", "127.0.0.1:0", "--data", self.folder / "data", "--json"]
            self.process = self.start("log", [*command, "--providers-file", providers, "--prices-file", self.prices])
            ready = self.process.ready_line()
            self.base_url, self.admin_key, self.stripe_url = ready["baseUrl"], ready["adminKey"], ready["stripeUrl"]
            self.environment = {
                "DATABASE_URL": ready["databaseUrl"], "CODEXAPI_TOKEN_DIGEST_KEY": ready["tokenDigestKey"],
                "CODEXAPI_SEALING_KEY": ready["sealingKey"],
            }
            self.demo = Customer("demo", ready["customerId"], ready["customerToken"])
            # The faults of one case close no provider to the next, and nobody else asks the simulator.
            self.operate("/claude-provider-health", {"enabled": False, "failuresToOpen": 100})
        except BaseException:
            self.stop()
            raise

    def start(self, name, command):
        process = Process(command, self.folder / name)
        self.processes.append(process)
        return process

    def command(self, *arguments):
        """Runs `codexapi …` against this service's database; returns what it printed. Errors: it fails."""
        environment = {**os.environ, **self.environment}
        done = subprocess.run(
            [self.program, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
        if done.returncode != 0:
            raise AssertionError(f"codexapi {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def new_customer(self, name, credit_usd):
        """A customer with that much credit, e.g. "3.00"; `None` is an empty wallet."""
        created = json.loads(self.command("admin", "--json", "customer", "create", "--name", name))
        if credit_usd:
            self.command("admin", "customer", "credit", created["account"], credit_usd, "--key", f"clients: {name}")
        customer = Customer(name, created["account"], created["systemToken"])
        if not created["inForce"]:
            self.eventually(lambda: read(f"{self.base_url}/api/v1/me", customer.token))
        return customer

    def operate(self, path, body):
        """Posts an operator's decision. Errors: it is refused."""
        return read(f"{self.base_url}/admin/api{path}", self.admin_key, body)

    def limited_key(self, customer, **limits):
        """A further key of the customer's, in force with its limits; those that are functions are asked last."""
        issued = json.loads(self.command("admin", "--json", "customer", "key", "issue", customer.id))
        limits = {name: limit() if callable(limit) else limit for name, limit in limits.items()}
        self.put_in_force(f"/api-keys/{issued['key']}/limits", limits)
        return Customer(customer.name, customer.id, issued["token"])

    def grant_plan(self, customer, plan):
        """A day of a plan."""
        body = {"hours": 24, "planId": plan, "idempotencyKey": f"clients: {plan}"}
        self.operate(f"/users/{customer.id}/unlimited", body)

    def publish_plan(self, text):
        file = self.folder / "plan.toml"
        file.write_text(text)
        self.command("admin", "plans", "publish", file)

    def suspend(self, customer):
        self.put_in_force(f"/users/{customer.id}/active", {"active": False, "reason": "investigation"})
        return customer

    def put_in_force(self, path, body):
        """A decision about keys or accounts, said again until it counts: read models may lag on a busy machine."""

        def decide():
            assert self.operate(path, body)["inForce"], f"{path} does not count yet"

        self.eventually(decide)

    def shut_out(self, customer):
        """The customer, once they get no further than the door."""

        def at_the_door():
            try:
                read(f"{self.base_url}/v1/responses", customer.token, {"model": "missing-model", "input": "Hello"})
            except AssertionError as refused:
                assert ": 403 " in str(refused), refused

        self.eventually(at_the_door)
        return customer

    def eventually(self, check):
        """What `check` returns once it does not fail any more: read models follow the log."""
        deadline = time.monotonic() + KNOWN_WITHIN_SECONDS
        while True:
            try:
                return check()
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self):
        """Returns what went wrong in stopping, or `None`."""
        try:
            troubles = [process.stop() for process in reversed(self.processes)]
            return next((trouble for trouble in troubles if trouble), None)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class SimulatorAlone:
    """The simulator without a gateway: shows whether a failure is the client's or ours."""

    has_wallets = False

    def __init__(self, binaries, clients):
        self.binaries = binaries
        self.folder = temporary_folder()
        copy_scenarios(clients)
        command = [binaries / "codexapi-simulator", "--listen", "127.0.0.1:0"]
        self.process = Process(command, self.folder / "log")
        try:
            self.base_url = self.simulator_url = self.process.ready_line()["baseUrl"]
        except BaseException:
            self.stop()
            raise
        self.demo = Customer("demo", "demo", "sk-demo-customer")

    def stop(self):
        try:
            return self.process.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Process:
    """A child that prints one JSON line when it is ready."""

    def __init__(self, command, log):
        self.log = log
        with open(log, "wb") as errors:
            self.child = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                env={**os.environ, "NO_COLOR": "1"},
            )

    def ready_line(self):
        """Errors: it ends, or is silent for too long, or prints something else."""
        output, text = self.child.stdout.fileno(), b""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while b"\n" not in text:
            readable, _, _ = select.select([output], [], [], max(0, deadline - time.monotonic()))
            if not readable:
                raise AssertionError(f"not ready within {START_TIMEOUT_SECONDS} s\n{self.log_tail()}")
            piece = os.read(output, 65536)
            if not piece:
                raise AssertionError(f"ended with {self.child.wait()} before it was ready\n{self.log_tail()}")
            text += piece
        return json.loads(text.split(b"\n")[0])

    def stop(self):
        """SIGTERM; SIGKILL where that does not end it. Returns what went wrong, or `None`."""
        if self.child.poll() is not None:
            return f"had already ended with {self.child.returncode}"
        self.child.send_signal(signal.SIGTERM)
        try:
            status = self.child.wait(STOP_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return f"did not stop within {STOP_TIMEOUT_SECONDS} s of SIGTERM"
        return None if status in (0, -signal.SIGTERM) else f"ended with {status} on SIGTERM"

    def log_tail(self):
        """Without the reading that the checks themselves do."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if "/api/v1/" not in line]
        return "\n".join(["--- the end of its log", *lines[-LOG_TAIL_LINES:]])


def copy_scenarios(clients):
    """Node looks for packages beside the file, so the scenarios go to where the packages are."""
    scenarios = pathlib.Path(__file__).resolve().parent / "js"
    shutil.copytree(scenarios, clients / "npm" / "scenarios", dirs_exist_ok=True)


def temporary_folder():
    """Passable for the user that Postgres runs as when the tests run as root."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="codexapi-clients-"))
    folder.chmod(0o711)
    return folder
