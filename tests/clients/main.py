#!/usr/bin/env python3
"""Drives the real clients, one case at a time, and checks the money after each."""

import argparse
import os
import pathlib
import shutil
import signal
import sys
import time
import traceback

import cases  # noqa: F401  (registers every case)
from bills import Oracle, read_rates
from case import CASES, World
from ledger import Ledger, Simulator
from service import Service, SimulatorAlone
from tap import Tap

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
CREDIT_USD = {"empty": None, "three dollars": "3.00"}


def main():
    options = parse_arguments()
    # Ends through the clean-up below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    started = time.monotonic()
    service = (SimulatorAlone if options.simulator_alone else Service)(options.binaries)
    run = Run(service, options.clients)
    try:
        run.all([case for case in CASES if options.only in case.name])
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
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains this")
    parser.add_argument("--simulator-alone", action="store_true",
                        help="without the gateway: is a failure the client's or ours? Checks no money.")
    return parser.parse_args()


class Run:
    """Runs cases and counts how they ended."""

    def __init__(self, service, clients):
        self.service, self.clients = service, clients
        self.tap = Tap(service.base_url)
        self.simulator = Simulator(service.simulator_url)
        self.oracle = Oracle(read_rates(REPOSITORY / "config" / "prices.toml")) if service.has_wallets else None
        self.ledgers = {}
        self.passed = self.failed = self.skipped = 0

    def all(self, chosen):
        for number, case in enumerate(chosen):
            if case.needs_wallets and not self.service.has_wallets:
                self.skipped += 1
                continue
            self.attempt(case.name, lambda: self.one(case, number))

    def one(self, case, number):
        ledger = self.ledger(case.payer)
        scratch = self.service.folder / f"case-{number}"
        scratch.mkdir()
        world = World(
            base_url=self.tap.base_url, customer=ledger.customer if ledger else self.service.demo, clients=self.clients,
            scratch=scratch, simulator=self.simulator, tap=self.tap, has_wallets=self.service.has_wallets,
        )
        world.begin()
        try:
            case.run(world)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            # Also after a failure, so that its charges are not taken for the next case's.
            if ledger:
                ledger.check(world.bills())

    def ledger(self, payer):
        if not self.service.has_wallets:
            return None
        if payer not in self.ledgers:
            demo = payer == "demo"
            customer = self.service.demo if demo else self.service.new_customer(payer, CREDIT_USD[payer])
            self.ledgers[payer] = Ledger(self.service.base_url, customer, self.oracle)
        return self.ledgers[payer]

    def attempt(self, name, action):
        started = time.monotonic()
        try:
            action()
            trouble = None
        except Exception as error:  # whatever a client raises is this case's failure
            place = "".join(traceback.format_exception(type(error), error, error.__traceback__, chain=True))
            trouble = f"{type(error).__name__}: {error}\n{place}"
        self.report(name, trouble, time.monotonic() - started)

    def report(self, name, trouble, seconds=0.0):
        if trouble is None:
            self.passed += 1
        else:
            self.failed += 1
        print(f"{'FAIL' if trouble else 'ok  '} {seconds:5.1f} s  {name}", flush=True)
        if trouble:
            print("      " + trouble.replace("\n", "\n      "), flush=True)


if __name__ == "__main__":
    sys.exit(main())
