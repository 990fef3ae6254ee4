"""Measures gateways beside each other and writes bench/REPORT.md, report.json and charts."""

import argparse
import json
import pathlib
import shutil
import signal
import subprocess
import sys

import charts
import machine
import report
from breakdown import breakdown
from contenders import ALL, REPOSITORY, Codexapi
from measure import Cell, commits, measure
from service import Process, temporary_folder
from turns import TURNS, take_turns

# Generations of the long log: each is three events.
GENERATIONS, QUICK_GENERATIONS = 350_000, 30_000
LOG_TIMEOUT_SECONDS = 3_600
STOP_TIMEOUT_SECONDS = 60

MAIN = Cell(stream=False, prompt_kb=1, connections=64, seconds=60)


def cells(quick):
    """What is measured, the quick form in seconds."""
    if quick:
        return [Cell(False, 1, 1, 3), Cell(False, 1, 64, 6), Cell(True, 1, 8, 3)]
    every = [Cell(stream, kb, connections, 10) for stream in (False, True) for kb in (1, 80) for connections in (1, 8, 64)]
    return [MAIN if (cell.stream, cell.prompt_kb, cell.connections) == (False, 1, 64) else cell for cell in every]


class World:
    """The provider behind everybody, and where things are."""

    def __init__(self, binaries, peers):
        self.binaries, self.peers, self.folder = binaries, peers, temporary_folder()
        self.upstream = Process([binaries / "codexapi-bench", "upstream"], self.log("upstream"))
        self.upstream_url = self.upstream.ready_line()["baseUrl"]

    def log(self, name):
        return self.folder / f"{name}.log"

    def stop(self):
        self.upstream.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument("--peers", type=pathlib.Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="where the release binaries are")
    parser.add_argument("--quick", action="store_true", help="three kinds of load, one round, a few minutes")
    parser.add_argument("--rounds", type=int, help="how often each contender has its turn (3; quick: 1)")
    parser.add_argument("--turns", type=int, help=f"short turns of all beside each other ({TURNS}; quick, or some alone: none)")
    parser.add_argument("--only", nargs="*", metavar="NAME", help="these contenders alone, as: direct codexapi portkey")
    parser.add_argument("--generations", type=int, metavar="N",
                        help=f"in the long log ({GENERATIONS}; quick: {QUICK_GENERATIONS}); 0 leaves it out")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "bench", help="where the report goes")
    return parser.parse_args()


def command(asked):
    """What makes such a report again."""
    given = [("--rounds", asked.rounds), ("--turns", asked.turns), ("--only", asked.only and " ".join(asked.only)),
             ("--generations", asked.generations)]
    options = " ".join(f"{name} {value}" for name, value in given if value is not None)
    return f"make bench{'-quick' if asked.quick else ''}" + (f" ARGS='{options}'" if options else "")


def main():
    end_tidily()
    asked = arguments()
    rounds = asked.rounds if asked.rounds is not None else 1 if asked.quick else 3
    turns = asked.turns if asked.turns is not None else 0 if asked.quick or asked.only else TURNS
    chosen = [kind for kind in ALL if not asked.only or kind.name in asked.only or kind.name == "direct"]
    result = {"command": command(asked), "build": asked.binaries.name, "machine": machine.describe(asked.peers), "rounds": [], "commits": []}
    world = World(asked.binaries, asked.peers)
    try:
        for number in range(rounds):
            # Whoever comes first has the machine as it was left by nobody: so everybody comes first in turn.
            order = chosen[number % len(chosen):] + chosen[: number % len(chosen)]
            result["rounds"].append({kind.name: turn(world, kind, cells(asked.quick), result, number) for kind in order})
        if turns:
            say("in turns")
            result["turns"] = take_turns(world, turns, told)
        if rounds and not asked.only and not asked.quick:
            say("where the time goes")
            result["breakdown"] = breakdown(world)
    finally:
        world.stop()
    generations = asked.generations if asked.generations is not None else QUICK_GENERATIONS if asked.quick else GENERATIONS
    if generations:
        result["log"] = long_log(asked.binaries, generations, 1 if asked.quick else 10)
    result["machine"]["loadAfter"] = machine.load()
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "report.json").write_text(json.dumps(result, indent=1) + "\n")
    report.write(asked.out)
    charts.write(result, asked.out)
    print(f"written to {asked.out}")


def turn(world, kind, planned, result, number):
    """All the rows of one contender in one round, by the cells' names."""
    say(f"round {number + 1}: {kind.name}")
    contender = kind(world)
    rows = {}
    try:
        if isinstance(contender, Codexapi) and not contender.relaxed:
            result["commits"].append(commits(world, contender))
        for cell in planned:
            if cell.stream and not contender.streams:
                continue
            rows[cell.name] = row = measure(world, contender, cell)
            told(cell.name, row)
            if isinstance(contender, Codexapi) and cell.connections == 64 and not cell.stream and cell.prompt_kb == 1:
                one = Cell(cell.stream, cell.prompt_kb, cell.connections, min(cell.seconds, 20), wallets=1)
                rows[one.name] = row = measure(world, contender, one)
                told(one.name, row)
        if isinstance(contender, Codexapi):
            contender.verify()
    finally:
        contender.stop()
    return rows


def long_log(binaries, generations, seconds):
    """What a log of so many generations costs; `codexapi-bench log` measures it."""
    command = [binaries / "codexapi-bench", "log", "--binaries", binaries, "--generations", generations, "--seconds", seconds]
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True) as running:
        try:
            told, _ = running.communicate(timeout=LOG_TIMEOUT_SECONDS)
        except BaseException:
            # Not killed: it stops its own Postgres and removes what it has written.
            running.terminate()
            try:
                running.wait(STOP_TIMEOUT_SECONDS)
            finally:
                running.kill()
            raise
    if running.returncode:
        raise subprocess.CalledProcessError(running.returncode, running.args)
    return json.loads(told)


def end_tidily():
    """SIGTERM ends a program as Ctrl-C does: whoever has started something stops it."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def told(name, row):
    latency = row["latencyMicros"] or {"p50": 0, "p99": 0}
    void = f"  VOID: {row['firstError']}" if row["void"] else ""
    say(f"  {name:56} {row['requestsPerSecond']:>9.1f}/s  p50 {latency['p50'] / 1000:>8.2f} ms  "
        f"p99 {latency['p99'] / 1000:>8.2f} ms{void}")


def say(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
