"""Our API document against the service: whatever is asked, sound or not, what is answered is what it promises.

schemathesis makes the requests from the document, always the same ones, one after the other: the library that makes
them is not safe between threads. The service is one of their own: an operator's random decisions would spoil every
other case.
"""

from case import case, run_program
from service import Service

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Requests per operation: a document of 170 operations is a lot of them.
EXAMPLES = {"nobody": 1, "customer": 3, "operator": 2}
SHOWN_CHARACTERS = 8_000


@case("our API document holds: for nobody, a customer and an operator", payer="nobody", together=True)
def document(world):
    service = Service(world.service.binaries, world.clients)
    try:
        hold(world, service, "nobody", None, [])
        hold(world, service, "customer", service.demo.token, ["--exclude-path-regex", "^/admin"])
        # The same routes stand under /admin-api/v1, too.
        hold(world, service, "operator", service.admin_key, ["--include-path-regex", "^/admin/api"])
        service.command("verify")
    finally:
        service.stop()


def hold(world, service, caller, token, which):
    command = [
        world.clients / "python-schema" / "bin" / "schemathesis", "run", f"{service.base_url}/openapi.json",
        "--checks", CHECKS, "--phases", "fuzzing", "--max-examples", EXAMPLES[caller],
        "--generation-deterministic", "--no-shrink", "--suppress-health-check", "all",
        "--workers", "1", "--no-color", "--warnings", "off", *which,
    ]
    if token:
        command += ["--header", f"Authorization: Bearer {token}"]
    done = run_program(command, world.scratch, {"PATH": "/usr/bin:/bin", "HOME": str(world.scratch)})
    assert done.returncode == 0, f"as {caller}:\n{done.stdout[-SHOWN_CHARACTERS:]}{done.stderr[-SHOWN_CHARACTERS:]}"
