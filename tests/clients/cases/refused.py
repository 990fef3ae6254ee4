"""Refusals as people see them: one request, our sentence once, and an exit status that says so.

Each reason is told to Codex CLI, to Claude Code, and to the SDKs, which all listen differently. Only where a minute's
wait helps, they would wait by themselves; so there they are told not to try again.
"""

import datetime
import itertools
import json
import re
import threading
import time
from dataclasses import dataclass

import anthropic
import openai

from case import case, equal, told
from ledger import read
from stripe_fake import ask, press
from .claude_code import claude
from .codex import VERSIONS, codex
from .dialects import DIALECTS
from .dialogue import ANTHROPIC_MODEL, EMPTY_WALLET_SENTENCE, OPENAI_MODEL, UNKNOWN_MODEL
from .sdks import JavaScript

TIMEOUT_SECONDS = 30
# A minute's limit is spent anew where less than this is left of the minute.
ENOUGH_SECONDS = 20
TOKENS_A_MINUTE = 100_000
CREDIT_USD = "20.00"
DISABLED_MODEL = "gpt-5.5-disabled"
# What `codexapi dev` calls its fake Stripe with.
STRIPE_KEY = "sk_test_codexapi_dev"
EVERYTHING_ONCE = """
[[plans]]
id = "everything-once"
name = "Everything once"
price = "1.00"
visibility = "private"
days = 1
fair_use = { input = "5.00", output = "30.00", windows = [{ hours = 5, limit = "0.000001" }] }

[plans.scope]
families = ["codex_cli", "claude_code", "codexclaude", "openai_sdk", "anthropic_sdk", "other"]
models = ["gpt-5.5", "claude-opus-4-8"]
"""
MODELS = r"[a-z0-9.-]+(, [a-z0-9.-]+)*"


@dataclass
class Reason:
    """Why a customer is refused, and what all but a streaming Codex get for it."""

    name: str
    status: int
    code: str
    sentence: str  # a pattern, the whole of it
    customer: object  # (service) → who is refused
    models: tuple = (OPENAI_MODEL, ANTHROPIC_MODEL)  # for OpenAI's clients, for Anthropic's
    waiting_helps: bool = False

    def found(self, text):
        return len(re.findall(self.sentence, text))


PREPARING = threading.Lock()
PREPARED = {}
NAMES = (f"refused {number}" for number in itertools.count())


def prepared(reason, service):
    """One customer for each reason, whichever client comes first; what a minute ends is prepared each time."""
    if reason.waiting_helps:
        return reason.customer(service)
    with PREPARING:
        if reason.name not in PREPARED:
            PREPARED[reason.name] = reason.customer(service)
        return PREPARED[reason.name]


def limited(**limits):
    return lambda service: service.limited_key(service.new_customer(next(NAMES), CREDIT_USD), **limits)


def without_the_disabled_model(service):
    service.operate("/manage-models", {"models": [{"model": DISABLED_MODEL, "enabled": False}]})
    return service.demo


def spend(service, customer, **directive):
    body = {"model": OPENAI_MODEL, "input": "Say hello " + told(**directive), "max_output_tokens": 50}
    return read(f"{service.base_url}/v1/responses", customer.token, body)


def minute_spent(service, limits, **directive):
    """Until the limit is felt, with enough of the minute left for a client to come and be refused."""
    customer = limited(**limits)(service)
    while True:
        try:
            spend(service, customer, **directive)
            continue
        except AssertionError as refused:
            equal("status", refused.__cause__.code, 429)
        left = 60 - time.time() % 60
        if left > ENOUGH_SECONDS:
            return customer
        time.sleep(left + 0.1)


def requests_spent(service):
    return minute_spent(service, {"requestsPerMinute": 1})


def tokens_spent(service):
    return minute_spent(service, {"tokensPerMinute": TOKENS_A_MINUTE}, output_tokens=TOKENS_A_MINUTE)


def with_a_plan(service):
    customer = service.new_customer("refused: outside the plan", None)
    service.grant_plan(customer, "unlimited")
    return customer


def with_the_wallet_switched_off(service):
    """It could pay for what the plan does not cover, and may not."""
    customer = service.new_customer("refused: switched off", None)
    service.grant_plan(customer, "unlimited")
    service.command("admin", "customer", "credit", customer.id, "5", "--source", "top-up", "--key", "refused: paid")
    read(f"{service.base_url}/api/v1/plan-settings", customer.token, {"walletOutsideScope": False})
    return customer


def paid(service, customer, wallet, order, shown):
    """Pays an order on Stripe's page, and waits for what it brings; the session's id."""
    page = read(f"{service.base_url}/api/v1/{wallet}/stripe/checkout", customer.token, order)
    press(page["url"], "pay")
    service.eventually(lambda: above_zero(service, customer, shown, "balanceMicro"))
    return page["sessionId"]


def above_zero(service, customer, shown, field):
    found = read(f"{service.base_url}/api/v1/{shown}", customer.token)
    assert found[field] > 0, f"{field} of {shown} is {found[field]}"
    return found


def disputed(service, customer, session, shown):
    """The payment of a session, until what it brought is owed."""
    intent = read(f"{service.stripe_url}/v1/checkout/sessions/{session}", STRIPE_KEY)["payment_intent"]
    ask(f"{service.stripe_url}/_control/disputes", {"payment_intent": intent}, "POST")
    service.eventually(lambda: above_zero(service, customer, shown, "debtMicro"))
    return customer


def in_debt(service):
    """Credit is bought, taken away, and then its payment is disputed."""
    customer, shown = service.new_customer("refused: in debt", None), "wallet/status"
    session = paid(service, customer, "wallet", {"planId": "starter", "quantity": 1}, shown)
    balance = above_zero(service, customer, shown, "balanceMicro")["balanceUsd"]
    taken = ("--reason", "abuse", "--key", "refused: taken")
    service.command("admin", "customer", "take", customer.id, balance, *taken)
    return disputed(service, customer, session, shown)


def cash_in_debt(service):
    """Money is loaded, spent on credit, and then its payment is disputed."""
    customer, shown = service.new_customer("refused: cash in debt", None), "cash-wallet"
    session = paid(service, customer, "cash-wallet", {"amountMicro": 5_000_000}, shown)
    order = {"planId": "starter", "idempotencyKey": "refused: bought"}
    read(f"{service.base_url}/api/v1/cash-wallet/token-purchase", customer.token, order)
    return disputed(service, customer, session, shown)


def fair_use_reached(service):
    """A plan for every client, of which one request is the whole."""
    service.publish_plan(EVERYTHING_ONCE)
    customer = service.new_customer("refused: fair use", None)
    service.grant_plan(customer, "everything-once")
    spend(service, customer)
    return customer


def moment_in(**length):
    moment = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**length)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


REASONS = [
    Reason("an unknown model", 404, "model_not_found",
           rf'the model "missing-model" is not sold here\. Available: {MODELS}',
           lambda service: service.demo, (UNKNOWN_MODEL, UNKNOWN_MODEL)),
    Reason("a disabled model", 404, "model_disabled",
           rf'the model "{DISABLED_MODEL}" is switched off at the moment\. Available: {MODELS}',
           without_the_disabled_model, (DISABLED_MODEL, DISABLED_MODEL)),
    Reason("an empty wallet", 402, "insufficient_credit", EMPTY_WALLET_SENTENCE.pattern,
           lambda service: service.new_customer("refused: empty", None)),
    Reason("a suspended account", 403, "account_suspended",
           "this account is suspended; write to support to have it looked at",
           lambda service: service.suspend(service.new_customer("refused: suspended", "5.00"))),
    Reason("an expired key", 403, "key_expired", "this key has expired; issue a new one",
           lambda service: service.shut_out(limited(expiresAt=lambda: moment_in(seconds=2))(service))),
    Reason("a model the key may not use", 403, "model_not_allowed",
           r'this key may not use the model "(gpt-5\.5|claude-opus-4-8)"\. It may use: deepseek-v4-pro',
           limited(allowedModels=["deepseek-v4-pro"])),
    Reason("a network the key is not for", 403, "network_not_allowed",
           "this key may not be used from this network", limited(networks=["192.0.2.0/24"])),
    # Less than any request needs, so that it counts as spent from the first one on.
    Reason("a day's budget spent", 402, "budget_spent",
           r"this key's daily budget of \$0\.000050 is spent \(\$0\.\d{6}\); it begins anew at [0-9T:.Z+-]+",
           limited(dailyBudgetMicro=50)),
    Reason("a month's budget spent", 402, "budget_spent",
           r"this key's monthly budget of \$0\.000050 is spent \(\$0\.\d{6}\); it begins anew at \d{4}-\d\d-01T[0-9:.Z+-]+",
           limited(monthlyBudgetMicro=50)),
    Reason("a payment taken back", 402, "debt_owed",
           r"A payment was taken back after its credit had been spent: \$\d+\.\d{6} is owed\. The next top-up pays that "
           r"first\.", in_debt),
    Reason("a payment to the Cash Wallet taken back", 402, "cash_wallet_in_debt",
           r"A payment to your Cash Wallet was taken back after its money had been spent: \$\d+\.\d{6} is owed\. Load the "
           r"Cash Wallet to go on\.", cash_in_debt),
    Reason("what a plan does not cover", 403, "outside_plan",
           r"Your plan unlimited covers the official Codex CLI with gpt-5\.5 only, and your wallet holds no paid credit "
           r"for anything else\. Top up to go on \(walletOutsideScope in /api/v1/plan-settings says whether the wallet "
           r"pays\)\.", with_a_plan, (ANTHROPIC_MODEL, ANTHROPIC_MODEL)),
    Reason("the wallet switched off beside a plan", 403, "outside_plan",
           r"Your plan unlimited covers the official Codex CLI with gpt-5\.5 only, and you have switched your wallet off "
           r"for everything else\. Switch walletOutsideScope on \(POST /api/v1/plan-settings\) to let it pay\.",
           with_the_wallet_switched_off, (ANTHROPIC_MODEL, ANTHROPIC_MODEL)),
    Reason("a plan's fair use reached", 402, "fair_use_reached",
           r"The fair use of your plan everything-once is reached; it begins anew at [0-9T:.Z+-]+\. Switch "
           r"walletPastFairUse on \(POST /api/v1/plan-settings\) to go on at your wallet's expense\.",
           fair_use_reached),
    Reason("requests of a minute spent", 429, "rate_limit_exceeded",
           r"this key may make 1 requests a minute; try again in \d+s", requests_spent, waiting_helps=True),
    Reason("tokens of a minute spent", 429, "rate_limit_exceeded",
           rf"this key may use {TOKENS_A_MINUTE} tokens a minute, \d+ are used and this request needs \d+; "
           r"try again in \d+s", tokens_spent, waiting_helps=True),
    Reason("more tokens than a minute has", 403, "request_beyond_token_limit",
           r"this request needs about \d+ tokens; this key may use 1 a minute", limited(tokensPerMinute=1)),
]


def check_told(world, reason, text, requests):
    """Our sentence once, in one request, which went no further."""
    equal(f"times our sentence is told in {text!r}", reason.found(text), 1)
    equal("requests", world.requests(), requests)
    equal("requests upstream", world.received(), [])


def codex_is_told(world, reason, version):
    retries = 0 if reason.waiting_helps else 2
    done = codex(world, version, "--json", "Say hello " + world.told(), model=reason.models[0], retries=retries)
    equal("exit", done.returncode, 1)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    # What Codex says of models it does not know is its own, and no error.
    failed = events[-1]["error"]["message"]
    check_told(world, reason, failed, ["POST /v1/responses"])
    if not reason.waiting_helps:
        assert re.fullmatch(reason.sentence, failed), f"there is more than our sentence in {failed!r}"


def claude_is_told(world, reason):
    retries = {"CLAUDE_CODE_MAX_RETRIES": "0"} if reason.waiting_helps else {}
    done = claude(world, "Say hello " + world.told(), ANTHROPIC_MODEL=reason.models[1], **retries)
    equal("exit", done.returncode, 1)
    check_told(world, reason, done.stdout, ["POST /v1/messages?beta=true"])


def sdks_are_told(world, reason):
    """Every dialect, streamed and not, in Python with its own number of retries; and in JavaScript."""
    javascript, troubles = JavaScript(world), []
    try:
        for dialect in DIALECTS.values():
            model = reason.models[dialect.name == "messages"]
            body = dialect.body(model, [("user", "Say hello " + world.told())])
            for stream in (False, True):
                for send in (python_is_told, javascript_is_told):
                    before = len(world.requests())
                    text = send(world, javascript, dialect.name, body, stream, reason)
                    what = f"{send.__name__}, {dialect.name}, {'streamed' if stream else 'whole'}"
                    if reason.found(text) != 1 or len(world.requests()) != before + 1:
                        troubles.append(f"{what}, {len(world.requests()) - before} requests: {text!r}")
    finally:
        javascript.close()
    equal("not told", troubles, [])
    equal("requests upstream", world.received(), [])


def python_is_told(world, _, dialect, body, stream, reason):
    own = {"api_key": world.customer.token, "timeout": TIMEOUT_SECONDS}
    if reason.waiting_helps:
        own["max_retries"] = 0
    if dialect == "messages":
        act = anthropic.Anthropic(base_url=world.base_url, **own).messages
    else:
        sdk = openai.OpenAI(base_url=f"{world.base_url}/v1", **own)
        act = sdk.chat.completions if dialect == "chat" else getattr(sdk, dialect)
    try:
        act.create(**body, stream=stream)
    except (openai.APIStatusError, anthropic.APIStatusError) as error:
        equal("status", error.status_code, reason.status)
        if dialect != "messages":
            equal("code", error.code, reason.code)
            return error.body["message"]
        return error.body["error"]["message"]
    raise AssertionError("nothing was raised")


def javascript_is_told(world, javascript, dialect, body, stream, reason):
    outcome = javascript.try_to_send(dialect, body, stream)
    equal("status", outcome.get("status"), reason.status)
    # Anthropic's package shows the whole error as JSON.
    return outcome["message"].replace('\\"', '"')


CLIENTS = [*((f"codex {version}", codex_is_told, version) for version in VERSIONS),
           ("claude code", claude_is_told), ("the SDKs", sdks_are_told)]


def register(reason, name, act, *arguments):
    def run(world):
        world.customer = prepared(reason, world.service)
        act(world, reason, *arguments)

    case(f"refused: {reason.name}: {name}", payer="nobody", together=True)(run)


for each_reason in REASONS:
    for each_client in CLIENTS:
        register(each_reason, *each_client)

