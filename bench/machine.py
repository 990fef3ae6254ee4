"""What was measured on, and which versions."""

import json
import os
import pathlib
import platform
import subprocess


def describe(peers):
    return {
        "cpu": cpu_model(), "cores": os.cpu_count(), "memoryGb": memory_gb(), "kernel": platform.release(),
        "loadBefore": load(), "node": printed("node", "--version"),
        "python": printed(str(peers / "python" / "bin" / "python"), "--version"),
        "commit": commit(),
        "portkey": json.loads((peers / "npm/node_modules/@portkey-ai/gateway/package.json").read_text())["version"],
        "litellm": printed(str(peers / "python" / "bin" / "python"), "-c",
                           "import importlib.metadata as m; print(m.version('litellm'))"),
    }


def load():
    """Mean number of runnable processes over 1, 5 and 15 minutes."""
    return [round(part, 2) for part in os.getloadavg()]


def cpu_model():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def memory_gb():
    total = next(line for line in pathlib.Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    return round(int(total.split()[1]) / 2**20, 1)


def commit():
    return printed("git", "-C", str(pathlib.Path(__file__).parent), "rev-parse", "--short", "HEAD")


def printed(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
