"""One row of the benchmark: a contender under one kind of load."""

import json
import subprocess
from dataclasses import dataclass

from contenders import MODEL
from processes import cpu_seconds, resident_bytes

LOAD_SLACK_SECONDS = 120


@dataclass(frozen=True)
class Cell:
    stream: bool
    prompt_kb: int
    connections: int
    seconds: float
    wallets: int = 100
    abort_every: int = 0

    @property
    def name(self):
        return (f"{'streamed' if self.stream else 'whole'}, {self.prompt_kb} KB, "
                f"{self.connections} connection{'s' if self.connections > 1 else ''}"
                + (", one wallet" if self.wallets == 1 else ""))

    def body(self):
        text = ("The quick brown fox jumps over the lazy dog. " * (self.prompt_kb * 1024 // 45 + 1))[: self.prompt_kb * 1024]
        body = {"model": MODEL, "messages": [{"role": "user", "content": text}], "max_tokens": 256}
        if self.stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return body


def measure(world, contender, cell):
    """What the load generator saw, with what the contender took meanwhile."""
    plan = {
        "url": contender.url, "tokens": contender.tokens[: cell.wallets], "headers": contender.headers,
        "body": cell.body(), "stream": cell.stream, "connections": cell.connections,
        "warmupSecs": min(2.0, cell.seconds / 4), "secs": cell.seconds,
    }
    if cell.abort_every:
        plan["abortEvery"] = cell.abort_every
    own, servers = contender.pids(), contender.servers() if hasattr(contender, "servers") else []
    before = cpu_seconds(own), cpu_seconds(servers)
    done = subprocess.run(
        [world.binaries / "codexapi-bench", "load"], input=json.dumps(plan), capture_output=True, text=True,
        timeout=cell.seconds + LOAD_SLACK_SECONDS,
    )
    if done.returncode != 0:
        raise AssertionError(f"the load on {contender.name} failed: {done.stderr}")
    row = json.loads(done.stdout)
    # Warm-up requests are in the CPU time, and nearly in proportion.
    counted = max(row["requests"], 1) * (1 + plan["warmupSecs"] / cell.seconds)
    row["cpuMicros"] = round((cpu_seconds(own) - before[0]) / counted * 1e6)
    row["serversCpuMicros"] = round((cpu_seconds(servers) - before[1]) / counted * 1e6)
    row["residentMb"] = round(resident_bytes(contender.pids()) / 2**20, 1)
    row["void"] = row["errors"] > 0 or row["requests"] == 0
    row["requestsPerSecond"] = round(row["requests"] / row["seconds"], 1)
    if hasattr(contender, "catch_up_seconds"):
        row["behindSeconds"] = contender.catch_up_seconds()
    return row


def commits(world, contender):
    """How long one row takes to be durable in the contender's own Postgres."""
    done = subprocess.run(
        [world.binaries / "codexapi-bench", "commits", "--database-url", contender.database_url],
        capture_output=True, text=True, timeout=LOAD_SLACK_SECONDS,
    )
    if done.returncode != 0:
        raise AssertionError(f"commits could not be measured: {done.stderr}")
    return json.loads(done.stdout)
