"""Runs one scenario of `js/` with the packages from npm."""

import json
import shutil

from case import run_program


def scenario(world, file, name, asked, key=None):
    """What the scenario printed: `{"result": …}` or `{"error": class, "status": …, "message": …}`."""
    node = shutil.which("node")
    environment = {
        "PATH": "/usr/bin:/bin", "BASE_URL": world.base_url, "TOKEN": key or world.customer.token,
        "ASKED": json.dumps(asked),
    }
    done = run_program([node, world.clients / "npm" / "scenarios" / file, name], world.scratch, environment)
    # Seen once: nothing printed, and no failure either.
    assert done.returncode == 0 and done.stdout, f"node ended with {done.returncode}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def result(world, file, name, asked):
    outcome = scenario(world, file, name, asked)
    assert "result" in outcome, f"the SDK threw {outcome}"
    return outcome["result"]
