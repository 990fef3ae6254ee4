"""The money check after each case: what the service charged is what the simulator billed, priced by `bills.py`."""

import json
import time
import urllib.error
import urllib.request
from urllib.parse import quote

from bills import Charge, client_of

READ_TIMEOUT_SECONDS = 10
# How long the read models may take to show what was charged.
SHOWN_WITHIN_SECONDS = 20
TRY_AGAIN_SECONDS = 0.2
PAGE = 100
# A generation that its provider broke off is in the customer's log, and costs nothing; any other is charged, also when
# its client left.
BROKEN_OFF = ("errored", "cut")


class Mismatch(AssertionError):
    """What is shown is not (yet) what was billed."""


class Simulator:
    """Reads the simulator's own count."""

    def __init__(self, url):
        self.url = url

    def bills_after(self, number, tag=""):
        tagged = f"&tag={tag}" if tag else ""
        return read(f"{self.url}/_bills?after={number}&limit=1000{tagged}")["bills"]

    def received(self, part):
        return read(f"{self.url}/_received?match={quote(part)}")["requests"]

    def last_bill_number(self):
        return read(f"{self.url}/_bills?limit=1")["totals"]["bills"]

    def script(self, entries):
        """Tells it ahead of time what to do with the next request that matches, or with the next few."""
        body = json.dumps(entries).encode()
        urllib.request.urlopen(f"{self.url}/_script", data=body, timeout=READ_TIMEOUT_SECONDS).close()

    def requests(self):
        """How many requests it has seen, refused ones included."""
        return read(f"{self.url}/_requests")["total"]


class Ledger:
    """What one customer has been charged, case by case."""

    def __init__(self, base_url, customer, oracle):
        self.base_url, self.customer, self.oracle = base_url, customer, oracle
        self.known_ids = set()
        self.charged_micro = 0
        self.customer.balance_micro = self.wallet()["balanceMicro"]

    def wallet(self):
        return self.get("/api/v1/wallet/status")

    def get(self, path):
        return read(self.base_url + path, self.customer.token)

    def check(self, bills):
        """Holds the new entries of the customer's log against new bills. Errors: `Mismatch`, the last one seen."""
        charged = [bill for bill in bills if bill["status"] not in BROKEN_OFF]
        expected = sorted(self.oracle.charge(bill, self.customer.id) for bill in charged)
        free = sorted((bill["model"], client_of(bill)) for bill in bills if bill["status"] in BROKEN_OFF)
        deadline = time.monotonic() + SHOWN_WITHIN_SECONDS
        while True:
            try:
                return self.compare(expected, free)
            except Mismatch:
                if time.monotonic() > deadline:
                    self.accept_what_is_shown()
                    raise
                time.sleep(TRY_AGAIN_SECONDS)

    def accept_what_is_shown(self):
        """So that later cases are not blamed for this one."""
        usage = self.get(f"/api/v1/billing/token-usage?limit={PAGE}")
        self.known_ids.update(entry["id"] for entry in usage["transactions"])
        self.charged_micro = sum(day["chargedMicro"] for day in usage["daily"])
        self.customer.balance_micro = self.wallet()["balanceMicro"]

    def compare(self, expected, free):
        usage = self.get(f"/api/v1/billing/token-usage?limit={PAGE}")
        new = [entry for entry in usage["transactions"] if entry["id"] not in self.known_ids]
        same("charges", sorted(charge_of(entry) for entry in new if entry["chargedMicro"]), expected)
        shown_free = sorted((entry["model"], entry["client"]) for entry in new if not entry["chargedMicro"])
        same("free generations", shown_free, free)
        charged = sum(charge.charged_micro for charge in expected)
        balance = self.customer.balance_micro - charged
        self.compare_balances(new, balance)
        self.compare_days(usage["daily"], charged, len(new))
        self.known_ids.update(entry["id"] for entry in new)
        self.charged_micro += charged
        self.customer.balance_micro = balance

    def compare_balances(self, new, balance):
        wallet = self.wallet()
        same("wallet's balance", wallet["balanceMicro"], balance)
        same("wallet's held amount", wallet["heldMicro"], 0)
        same("wallet's available amount", wallet["availableMicro"], balance)
        after = self.customer.balance_micro
        for entry in reversed(new):
            after -= entry["chargedMicro"]
            same(f"balance after {entry['id']}", entry["balanceAfterMicro"], after)

    def compare_days(self, days, charged, count):
        same("sum of the days", sum(day["chargedMicro"] for day in days), self.charged_micro + charged)
        same("requests of the days", sum(day["requests"] for day in days), len(self.known_ids) + count)


def charge_of(entry):
    return Charge(
        model=entry["model"],
        client=entry["client"],
        input_tokens=entry["inputTokens"],
        cumulative_input_tokens=entry["cumulativeInputTokens"],
        cached_input_tokens=entry["cachedInputTokens"],
        output_tokens=entry["outputTokens"],
        charged_micro=entry["chargedMicro"],
    )


def same(what, shown, expected):
    if shown != expected:
        raise Mismatch(f"{what}: shown {shown}, expected {expected}")


def read(url, token=None, posted=None):
    """The JSON at an address; posts `posted` where it is given. Errors: `AssertionError` with status and text."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    body = None
    if posted is not None:
        headers["Content-Type"], body = "application/json", json.dumps(posted).encode()
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=READ_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{'POST' if body else 'GET'} {url}: {error.code} {error.read()[:500]!r}") from error
