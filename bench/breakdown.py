"""Where the time of a generation goes: CPU by process, and Postgres's time by statement."""

import re
import threading
import time
from collections import Counter

from contenders import Codexapi
from measure import Cell, measure
from processes import cpu_seconds

CELL = Cell(stream=False, prompt_kb=1, connections=64, seconds=20)
# Statements are logged for a while only: writing them down takes time of its own.
LOGGED_AFTER_SECONDS, LOGGED_SECONDS = 8, 4
STATEMENTS = 12

DURATION = re.compile(r"duration: ([\d.]+) ms  (?:execute|bind|parse|statement)[^:]*: (.*)")
# Tables of read models bear their version.
VERSIONED = re.compile(r"_\d+\b")


def breakdown(world):
    contender = Codexapi(world)
    try:
        parts = by_process(world, contender)
        logging = threading.Thread(target=log_statements, args=[contender])
        logging.start()
        slowed = measure(world, contender, CELL)
        logging.join()
        log = (contender.folder / "data" / "postgres" / "postgres.log").read_text(errors="replace")
        generations = slowed["requestsPerSecond"] * LOGGED_SECONDS
        return {**parts, "statements": by_statement(log, generations)}
    finally:
        contender.stop()


def by_process(world, contender):
    """Microseconds of CPU per request, the warm-up's in proportion."""
    # The pool opens its connections under load.
    measure(world, contender, Cell(CELL.stream, CELL.prompt_kb, CELL.connections, seconds=2))
    groups = processes(world, contender)
    before = {name: cpu_seconds(pids) for name, pids in groups.items()}
    row = measure(world, contender, CELL)
    counted = row["requests"] * (1 + 2 / CELL.seconds)
    took = {name: round((cpu_seconds(pids) - before[name]) / counted * 1e6) for name, pids in groups.items()}
    return {"requestsPerSecond": row["requestsPerSecond"], "cpuMicros": took}


def processes(world, contender):
    activity = contender.sql("SELECT pid, application_name = 'codexapi event log' FROM pg_stat_activity "
                             "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
    backends = {int(pid): writer == "t" for pid, writer in (line.split("|") for line in activity.splitlines())}
    servers = contender.servers()
    nats = [pid for pid in servers if "nats-server" in command(pid)]
    return {
        "codexapi": contender.pids(),
        "Postgres, the log's writer": [pid for pid, writer in backends.items() if writer],
        "Postgres, read models and queries": [pid for pid, writer in backends.items() if not writer],
        "Postgres, WAL and checkpoints": [pid for pid in servers if pid not in backends and "postgres" in command(pid)],
        "NATS": nats,
        "the provider": [world.upstream.child.pid],
    }


def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as words:
            return words.read()
    except OSError:
        return ""


def log_statements(contender):
    time.sleep(LOGGED_AFTER_SECONDS)
    contender.sql("ALTER SYSTEM SET log_min_duration_statement = 0", "SELECT pg_reload_conf()")
    time.sleep(LOGGED_SECONDS)
    contender.sql("ALTER SYSTEM RESET log_min_duration_statement", "SELECT pg_reload_conf()")


def by_statement(log, generations):
    """Microseconds per generation and times per thousand, of those that take most; waiting for a CPU is in them."""
    took, times = Counter(), Counter()
    for millis, statement in DURATION.findall(log):
        name = " ".join(VERSIONED.sub("", statement).split())[:60]
        took[name] += float(millis)
        times[name] += 1
    return [
        {"statement": name, "micros": round(millis * 1000 / generations, 1), "perThousand": round(times[name] * 1000 / generations, 1)}
        for name, millis in took.most_common(STATEMENTS)
    ]
