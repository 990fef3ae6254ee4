"""Runs one scenario of `js/` with the packages from npm."""

import json
import pathlib
import shutil

from case import run_program

SCENARIOS = pathlib.Path(__file__).resolve().parent.parent / "js"


def scenario(world, file, name, asked, key=None):
    """What the scenario printed: `{"result": …}` or `{"error": class, "status": …, "message": …}`."""
    # Imports are looked up beside the importing file, so the scenarios go to where the packages are.
    here = world.clients / "npm" / "scenarios"
    shutil.copytree(SCENARIOS, here, dirs_exist_ok=True)
    node = shutil.which("node")
    environment = {
        "PATH": "/usr/bin:/bin", "BASE_URL": world.base_url, "TOKEN": key or world.customer.token,
        "ASKED": json.dumps(asked),
    }
    done = run_program([node, here / file, name], world.scratch, environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def result(world, file, name, asked):
    outcome = scenario(world, file, name, asked)
    assert "result" in outcome, f"the SDK threw {outcome}"
    return outcome["result"]
