"""What a case is, and what it has to work with."""

import functools
import json
import subprocess
import time
from dataclasses import dataclass, field

CASES = []
PROCESS_TIMEOUT_SECONDS = 90
BILL_TIMEOUT_SECONDS = 30


@dataclass
class Case:
    name: str
    run: object
    payer: str  # "demo", or a customer of its own: "empty", "three dollars"; "any" of the pool's, "nobody"
    needs_wallets: bool
    together: bool


def case(name, payer="demo", needs_wallets=False, together=False):
    """Registers a case: a function of the `World`. It fails by raising; the money is checked after it in any case.

    Cases that run `together` with others mark every request by `world.told()`, so that its bill is known as theirs.
    """

    def register(function):
        CASES.append(Case(name, function, payer, needs_wallets or payer != "demo", together))
        return function

    return register


@dataclass
class World:
    """What a case sees: who pays, where to send requests, what the simulator has billed since the case began.

    `tag` marks the requests of a case that runs together with others.
    """

    base_url: str
    customer: object
    clients: object  # folder of the installed clients
    scratch: object  # folder of this case alone
    simulator: object
    tap: object
    has_wallets: bool
    service: object
    tag: str = ""
    first_bill: int = 0
    first_upstream_request: int = 0
    # What providers other than the simulator have billed, in its form.
    other_bills: list = field(default_factory=list)

    def begin(self):
        self.first_bill = self.simulator.last_bill_number()
        self.first_upstream_request = self.simulator.requests()

    def told(self, **directive):
        """A directive for the last user text that marks the request as this case's."""
        return told(tag=self.tag, **directive)

    def steps(self, *directives):
        """Tells the simulator what to answer to this case's next requests, one after the other."""
        entries = [{"match": self.tag, "directive": {"tag": self.tag, **directive}} for directive in directives]
        self.simulator.script(entries)

    def received(self):
        """What the simulator has received of this case: `[{"path", "body"}]`."""
        return self.simulator.received(self.tag)

    def bills(self):
        return self.simulator.bills_after(self.first_bill, self.tag) + self.other_bills

    def bill(self):
        """The only bill since the case began."""
        bills = self.bills()
        equal("number of bills", len(bills), 1)
        return bills[0]

    def wait_for_bills(self, count):
        """For a bill that comes after its client has gone."""
        deadline = time.monotonic() + BILL_TIMEOUT_SECONDS
        while len(self.bills()) < count and time.monotonic() < deadline:
            time.sleep(0.05)
        equal("number of bills", len(self.bills()), count)

    def requests(self):
        """What the client has sent since the case began, as `POST /v1/responses`."""
        return self.tap.requests()

    def upstream_requests(self):
        if self.tag:
            return len(self.received())
        return self.simulator.requests() - self.first_upstream_request


def equal(what, actual, expected):
    assert actual == expected, f"{what}: {actual!r}, expected {expected!r}"


def contains(what, text, part):
    assert part in text, f"{what}: {text!r} does not contain {part!r}"


def between(what, number, least, most):
    assert least <= number <= most, f"{what}: {number}, expected {least} to {most}"


@functools.lru_cache(maxsize=None)
def only(folder, pattern):
    found = sorted(folder.glob(pattern))
    assert len(found) == 1, f"{folder}/{pattern}: {found}"
    return found[0]


def run_program(command, folder, environment):
    """Runs a client to its end, with its standard input closed and nothing inherited."""
    return subprocess.run(
        [str(word) for word in command], cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, errors="replace", timeout=PROCESS_TIMEOUT_SECONDS,
    )


def told(**directive):
    """A marker that tells the simulator what to do; goes anywhere into the last user text."""
    return f"[[sim:{json.dumps(directive)}]]"
