#!/usr/bin/env python3
"""Drives the real clients, one case at a time, and checks the money after each."""

import argparse
import os
import pathlib
import queue
import re
import shutil
import signal
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

import cases  # noqa: F401  (registers every case)
from bills import Oracle, read_rates
from case import CASES, World
from ledger import Ledger, Simulator
from service import Service, SimulatorAlone
from tap import Tap

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CREDIT_USD = {"empty": None, "three dollars": "3.00"}
# Who pays for cases that run together: each has one at a time.
POOL = 3
POOL_CREDIT_USD = "200.00"


def main():
    options = parse_arguments()
    # Ends through the clean-up below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    started = time.monotonic()
    service = (SimulatorAlone if options.simulator_alone else Service)(options.binaries, options.clients)
    run = Run(service, options.clients)
    try:
        run.all([case for case in CASES if re.search(options.only, case.name)])
        if service.has_wallets:
            run.attempt("codexapi verify finds nothing", lambda: service.command("verify"))
        if run.failed:
            print(service.process.log_tail())
    finally:
        trouble = service.stop()
    if trouble:
        run.report("the service stops when told to", trouble)
    print(f"{run.passed} passed, {run.failed} failed, {run.skipped} skipped in {time.monotonic() - started:.0f} s")
    return 1 if run.failed or not run.passed else 0


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tests/clients/run", description=__doc__)
    target = REPOSITORY / (os.environ.get("CARGO_TARGET_DIR") or "target")
    parser.add_argument("--clients", type=pathlib.Path, required=True, help="folder of the installed clients")
    parser.add_argument("--binaries", type=pathlib.Path, default=target / "debug", help="folder of our programs")
    parser.add_argument("--only", default="", metavar="PATTERN", help="cases in whose name this is found")
    parser.add_argument("--simulator-alone", action="store_true",
                        help="without the gateway: is a failure the client's or ours? Checks no money.")
    return parser.parse_args()


class Run:
    """Runs cases and counts how they ended."""

    def __init__(self, service, clients):
        self.service, self.clients = service, clients
        self.simulator = Simulator(service.simulator_url)
        self.oracle = Oracle(read_rates(service.prices)) if service.has_wallets else None
        self.ledgers = {}
        self.pool = queue.SimpleQueue()
        self.lock = threading.Lock()
        self.passed = self.failed = self.skipped = 0

    def all(self, chosen):
        """One after the other, and then those that may run together."""
        able = [case for case in chosen if self.service.has_wallets or not case.needs_wallets]
        self.skipped += len(chosen) - len(able)
        numbered = list(enumerate(able))
        for number, case in numbered:
            if not case.together:
                self.attempt(case.name, lambda: self.one(case, number, self.ledger(case.payer)))
        together = [(number, case) for number, case in numbered if case.together]
        if not together:
            return
        for number in range(POOL):
            self.pool.put(self.ledger(f"payer {number}"))
        with ThreadPoolExecutor(POOL) as threads:
            list(threads.map(lambda each: self.one_of_many(*each), together))

    def one_of_many(self, number, case):
        ledger = self.pool.get() if case.payer == "any" else None
        try:
            self.attempt(case.name, lambda: self.one(case, number, ledger, tag=f"case-{number}."))
        finally:
            if ledger:
                self.pool.put(ledger)

    def one(self, case, number, ledger, tag=""):
        scratch = self.service.folder / f"case-{number}"
        scratch.mkdir()
        tap = Tap(self.service.base_url)
        world = World(
            base_url=tap.base_url, customer=ledger.customer if ledger else self.service.demo, clients=self.clients,
            scratch=scratch, simulator=self.simulator, tap=tap, has_wallets=self.service.has_wallets,
            service=self.service, tag=tag,
        )
        world.begin()
        try:
            case.run(world)
        finally:
            tap.close()
            shutil.rmtree(scratch, ignore_errors=True)
            # Also after a failure, so that its charges are not taken for the next case's.
            if ledger:
                ledger.check(world.bills())

    def ledger(self, payer):
        if not self.service.has_wallets:
            return None
        if payer not in self.ledgers:
            demo = payer == "demo"
            credit_usd = CREDIT_USD.get(payer, POOL_CREDIT_USD)
            customer = self.service.demo if demo else self.service.new_customer(payer, credit_usd)
            self.ledgers[payer] = Ledger(self.service.base_url, customer, self.oracle)
        return self.ledgers[payer]

    def attempt(self, name, action):
        started = time.monotonic()
        try:
            action()
            trouble = None
        except Exception as error:  # whatever a client raises is this case's failure
            trouble = "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=True))
        self.report(name, trouble, time.monotonic() - started)

    def report(self, name, trouble, seconds=0.0):
        line = f"{'FAIL' if trouble else 'ok  '} {seconds:5.1f} s  {name}"
        if trouble:
            line += "\n      " + trouble.replace("\n", "\n      ")
        with self.lock:
            self.passed += trouble is None
            self.failed += trouble is not None
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
