"""Refusals that last as long as something goes on: maintenance, a surge, a request that runs.

What goes on begins, every client hears of it at once, and it ends. Maintenance and surges concern everybody, so no other
case may run beside theirs.
"""

import contextlib
import http.client
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from urllib.parse import urlparse

import anthropic
import openai

from case import between, case, equal, told
from ledger import read
from tap import Tap
from .claude_code import claude
from .codex import VERSIONS, turn_with_retries
from .dialogue import ANTHROPIC_MODEL, OPENAI_MODEL
from .refused import CLIENTS, Reason, limited, moment_in

TIMEOUT_SECONDS = 60
# Longer than a client takes to start on a busy machine; asked again every five seconds, so few retries are enough.
RUNNING_SECONDS = 10
RETRIES = 4
BUDGET_MODEL = "deepseek-v4-pro"
# More than any client is expected to cost, and less than the one that runs may.
BUDGET_AT_STAKE_MICRO = 2_000_000
WORDS = "We are moving house. Come back tomorrow."


def all_are_told(world, reason):
    """Each through a tap of its own, at once."""
    with ThreadPoolExecutor() as threads:
        list(threads.map(lambda client: one_is_told(world, reason, *client), CLIENTS))


def one_is_told(world, reason, name, act, *arguments):
    scratch, tap = world.scratch / name.replace(" ", "-"), Tap(world.service.base_url)
    scratch.mkdir()
    try:
        act(replace(world, tap=tap, base_url=tap.base_url, scratch=scratch, tag=f"{reason.name}, {name}"), reason, *arguments)
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error
    finally:
        tap.close()


@contextlib.contextmanager
def maintenance(service, **until):
    service.operate("/maintenance-mode", {"active": True, "message": WORDS, **until})
    try:
        yield
    finally:
        service.operate("/maintenance-mode", {"active": False})


@contextlib.contextmanager
def surge(service):
    window = {"timeline": "mode", "mode": "surge", "minutes": 60}
    windows = service.operate("/token-rates/windows", window)["state"]["modeWindows"]
    number = next(each["number"] for each in windows if each["state"] == "on")
    try:
        yield
    finally:
        service.operate("/token-rates/windows/end", {"timeline": "mode", "number": number})


@contextlib.contextmanager
def without(service, model):
    service.operate("/manage-models", {"models": [{"model": model, "enabled": False}]})
    try:
        yield
    finally:
        service.operate("/manage-models", {"models": [{"model": model, "enabled": True}]})


def choosing(service, choice):
    """A customer who has decided about surges."""
    customer = service.new_customer(f"refused: {choice}", "5.00")
    read(f"{service.base_url}/api/v1/toolbox", customer.token, {"choice": choice})
    return customer


class Running:
    """A request that runs as long as it is told to."""

    def __init__(self, service, customer, **directive):
        address = urlparse(service.base_url)
        self.connection = http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
        body = {"model": OPENAI_MODEL, "stream": True, "input": "Say hello " + told(**directive)}
        headers = {"Authorization": f"Bearer {customer.token}", "Content-Type": "application/json"}
        self.connection.request("POST", "/v1/responses", json.dumps(body), headers)
        equal("status of the one that runs", self.connection.getresponse().status, 200)

    def end(self):
        self.connection.close()


def everybody(name):
    return case(f"refused: {name}", needs_wallets=True)


def in_maintenance(world, waiting_helps=False, **until):
    reason = Reason("maintenance", 503, "maintenance", re.escape(WORDS), None, waiting_helps=waiting_helps)
    with maintenance(world.service, **until):
        all_are_told(world, reason)


everybody("maintenance, its end unknown")(in_maintenance)
everybody("maintenance, for an hour")(lambda world: in_maintenance(world, until=moment_in(hours=1)))
everybody("maintenance, over soon")(lambda world: in_maintenance(world, True, until=moment_in(seconds=58)))


@everybody("paused by the Toolbox")
def _(world):
    sentence = (
        r"Surge Pricing is on until [0-9T:.Z+-]+, and your Toolbox is set to pause new requests meanwhile\. Set it to stay "
        r"or deepseek to go on now"
    )
    paused = replace(world, customer=choosing(world.service, "pause"))
    with surge(world.service):
        all_are_told(paused, Reason("paused", 429, "paused_by_surge", sentence, None))


@everybody("the Toolbox's budget model switched off")
def _(world):
    sentence = (
        rf'Surge Pricing is on, and the budget model "{BUDGET_MODEL}" that your Toolbox asks for is not available; set the '
        r"Toolbox to stay to go on now"
    )
    frugal = replace(world, customer=choosing(world.service, "deepseek"))
    with surge(world.service), without(world.service, BUDGET_MODEL):
        all_are_told(frugal, Reason("frugal", 503, "budget_model_unavailable", sentence, None))


@case("refused: as many requests running as may", payer="nobody", together=True)
def _(world):
    sentence = r"1 requests of this key are running, as many as it may; try again in 5s"
    busy = replace(world, customer=limited(parallelRequests=1)(world.service))
    running = Running(world.service, busy.customer, stall_after=1)
    try:
        all_are_told(busy, Reason("busy", 429, "rate_limit_exceeded", sentence, None, waiting_helps=True))
    finally:
        running.end()


@case("refused: what runs may spend the key's budget", payer="nobody", together=True)
def _(world):
    sentence = (
        r"\$[\d.]+ of this key's budget is left, and this request with the 1 that are running may cost up to "
        r"\$[\d.]+; try again in 5s, when they may have ended"
    )
    careful = replace(world, customer=limited(dailyBudgetMicro=BUDGET_AT_STAKE_MICRO)(world.service))
    running = Running(world.service, careful.customer, stall_after=1)
    try:
        all_are_told(careful, Reason("careful", 429, "rate_limit_exceeded", sentence, None, waiting_helps=True))
    finally:
        running.end()


def waits(name, send):
    """A client that is let wait asks again when it was told to, not before, and is served."""

    @case(f"refused: as many requests running as may, until one ends: {name} waits", payer="nobody", together=True)
    def _(world):
        world.customer = limited(parallelRequests=1)(world.service)
        running = Running(world.service, world.customer, delta_count=RUNNING_SECONDS, chunk_delay_ms=1_000)
        try:
            send(world, "Say hello " + world.told())
        finally:
            running.end()
        between("requests", len(world.requests()), 2, 1 + RETRIES)
        equal("requests upstream", len(world.received()), 1)


def claude_answers(world, prompt):
    equal("exit", claude(world, prompt).returncode, 0)


def sdk_options(world):
    return {"api_key": world.customer.token, "timeout": TIMEOUT_SECONDS, "max_retries": RETRIES}


def openai_answers(world, prompt):
    with openai.OpenAI(base_url=f"{world.base_url}/v1", **sdk_options(world)) as sdk:
        sdk.responses.create(model=OPENAI_MODEL, input=prompt)


def anthropic_answers(world, prompt):
    message = {"role": "user", "content": prompt}
    with anthropic.Anthropic(base_url=world.base_url, **sdk_options(world)) as sdk:
        sdk.messages.create(model=ANTHROPIC_MODEL, max_tokens=50, messages=[message])


def codex_answers(world, prompt, version):
    turn_with_retries(world, version, prompt, retries=RETRIES)


for each_version in VERSIONS:
    waits(f"codex {each_version}", partial(codex_answers, version=each_version))
waits("claude code", claude_answers)
waits("openai", openai_answers)
waits("anthropic", anthropic_answers)
