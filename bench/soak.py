"""Keeps the service under 80 KB prompts, streams and clients that leave, and watches its memory."""

import argparse
import json
import pathlib
import threading
import time

import machine
import report
from contenders import REPOSITORY, Codexapi
from main import World, end_tidily, say
from measure import Cell, measure
from processes import resident_bytes

SAMPLE_EVERY_SECONDS = 5
ROW_SECONDS = 30
CONNECTIONS = 32
ABORT_EVERY = 5


def soak(world, minutes):
    """Memory over time, and what was served meanwhile. Errors: a wrong answer, or `verify` finds something."""
    service, samples, served, stop = Codexapi(world), [], {"requests": 0, "aborted": 0}, threading.Event()
    started = time.monotonic()

    def watch():
        while not stop.wait(SAMPLE_EVERY_SECONDS):
            samples.append((round(time.monotonic() - started, 1), resident_bytes(service.pids())))

    watching = threading.Thread(target=watch, daemon=True)
    try:
        watching.start()
        while time.monotonic() < started + minutes * 60:
            for stream in (False, True):
                row = measure(world, service, Cell(stream, 80, CONNECTIONS, ROW_SECONDS, abort_every=ABORT_EVERY))
                if row["void"]:
                    raise AssertionError(f"a wrong answer: {row['firstError']}")
                served["requests"] += row["requests"]
                served["aborted"] += row["aborted"]
            say(f"{(time.monotonic() - started) / 60:5.1f} minutes: {served['requests']} answered, {served['aborted']} "
                f"left by their clients, {samples[-1][1] / 2**20:.1f} MB")
        stop.set()
        watching.join()
        generations = int(service.sql("SELECT count(*) FROM generations"))
        say(f"the load is over; verifying {generations} generations, which takes some minutes")
        service.verify()
    finally:
        stop.set()
        service.stop()
    settled = [sample for sample in samples if sample[0] >= samples[-1][0] / 2]
    return {
        "commit": machine.commit(), "minutes": round(samples[-1][0] / 60, 1), **served, "generations": generations,
        "residentMb": {"first": mb(samples[0][1]), "atHalf": mb(settled[0][1]), "last": mb(samples[-1][1]),
                       "most": mb(max(amount for _, amount in samples))},
        "slopeMbPerHour": round(slope(settled) * 3600 / 2**20, 2),
        "samples": [[at, mb(amount)] for at, amount in samples],
    }


def slope(points):
    """Bytes per second, by least squares."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


def mb(amount):
    return round(amount / 2**20, 1)


def main():
    end_tidily()
    parser = argparse.ArgumentParser(prog="bench/run soak", description=__doc__)
    parser.add_argument("--binaries", type=pathlib.Path, required=True, help="where the release binaries are")
    parser.add_argument("--minutes", type=float, default=20, help="how long; the slope is over the second half")
    parser.add_argument("--out", type=pathlib.Path, default=REPOSITORY / "bench", help="where soak.json goes, and REPORT.md with it")
    asked = parser.parse_args()
    world = World(asked.binaries, peers=None)
    try:
        found = soak(world, asked.minutes)
    finally:
        world.stop()
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "soak.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps({name: value for name, value in found.items() if name != "samples"}, indent=1))
    if (asked.out / "report.json").exists():
        report.write(asked.out)


if __name__ == "__main__":
    main()
