"""A customer with a plan: Codex is covered, Claude Code is told that it is not, and the wallet pays where it may."""

from case import case, contains, equal
from ledger import read
from .claude_code import claude
from .codex import VERSIONS, codex
from .dialogue import ANTHROPIC_MODEL

OUTSIDE = "Your plan unlimited covers the official Codex CLI with gpt-5.5 only"


def wallet(world):
    return read(f"{world.service.base_url}/api/v1/wallet/status", world.customer.token)


def charges(world):
    """What each request was charged, oldest first."""
    usage = read(f"{world.service.base_url}/api/v1/billing/token-usage", world.customer.token)
    return [entry["chargedMicro"] for entry in reversed(usage["transactions"])]


def counted(world):
    """Input and output tokens that the plan has counted."""
    window = wallet(world)["plans"][0]["windows"][0]
    return window["inputTokens"], window["outputTokens"]


def billed(world):
    bills = world.bills()
    return sum(bill["input_tokens"] for bill in bills), sum(bill["output_tokens"] for bill in bills)


@case("plans: Codex is covered, Claude Code is refused, and paid credit pays for it", payer="nobody", together=True)
def covered(world):
    service = world.service
    world.customer = service.new_customer("plans", None)
    service.grant_plan(world.customer, "unlimited")
    for version in VERSIONS:
        done = codex(world, version, "--json", "Say hello " + world.told())
        equal(f"exit of Codex {version}", done.returncode, 0)
    equal("tokens the plan counted", counted(world), billed(world))
    equal("charges", set(charges(world)), {0})
    equal("balance", wallet(world)["balanceMicro"], 0)

    asked = len(world.received())
    refused = claude(world, "Say hello " + world.told(), name="refused")
    equal("exit of Claude Code", refused.returncode, 1)
    contains("what Claude Code says", refused.stdout, OUTSIDE)
    equal("requests upstream", len(world.received()), asked)

    service.command("admin", "customer", "credit", world.customer.id, "5", "--source", "top-up", "--key", "plans: paid")
    paid = claude(world, "Say hello " + world.told(), name="paid")
    equal("exit of Claude Code", paid.returncode, 0)
    bill = world.bills()[-1]
    equal("model", bill["model"], ANTHROPIC_MODEL)
    service.eventually(lambda: contains("charges", [charge > 0 for charge in charges(world)], True))
    equal("balance", wallet(world)["balanceMicro"], 5_000_000 - sum(charges(world)))
