"""What a request cost, where its client can see it: headers, trailers, the last chunk, the generation's own page."""

import http.client
import json
import re
from urllib.parse import urlsplit

from case import case, equal
from catalog import OVER
from ledger import read
from .codex import VERSIONS, codex
from .dialects import DIALECTS

PATHS = {
    "responses": "/v1/responses", "chat": "/v1/chat/completions", "completions": "/v1/completions",
    "messages": "/v1/messages",
}
TIMEOUT_SECONDS = 30
COST, BALANCE, GENERATION = "x-codexapi-cost-micro", "x-codexapi-balance-micro", "x-codexapi-generation-id"


class Raw:
    """One request without an SDK, which would hide trailers: status, headers, text, trailers."""

    def __init__(self, world, client, model, prompt, stream, headers):
        address = urlsplit(world.base_url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=TIMEOUT_SECONDS)
        body = {**DIALECTS[client].body(model, [("user", prompt)]), "stream": stream}
        if stream and client in ("chat", "completions"):
            body["stream_options"] = {"include_usage": True}
        sent = {
            "authorization": f"Bearer {world.customer.token}", "content-type": "application/json",
            "anthropic-version": "2023-06-01", "te": "trailers", **headers,
        }
        connection.request("POST", PATHS[client], json.dumps(body), sent)
        answer = connection.getresponse()
        equal("status", answer.status, 200)
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.text, self.trailers = read_chunked(answer) if answer.chunked else (answer.read().decode(), {})
        connection.close()


def read_chunked(answer):
    """`http.client` throws trailers away, so the chunks are read from the connection itself."""
    text, trailers = b"", {}
    while size := int(answer.fp.readline().split(b";")[0], 16):
        text += answer.fp.read(size)
        answer.fp.readline()
    while line := answer.fp.readline().strip():
        name, _, value = line.decode().partition(":")
        trailers[name.lower()] = value.strip()
    return text.decode(), trailers


def charged(world, generation):
    """What the generation's own page says: `(charged, balance after)` in micro-USD."""
    url = f"{world.service.base_url}/api/v1/generations/{generation}"
    charge = world.service.eventually(lambda: read(url, world.customer.token))["charge"]
    return charge["chargedMicro"], charge["balanceAfterMicro"]


def notes(text):
    """The cost as the usage of the last chunk has it, in every dialect."""
    return [json.loads(found) for found in re.findall(r'\{"balanceMicro"[^{}]*\}', text)]


@case("cost: headers of a whole answer, and the generation's page", payer="any", needs_wallets=True, together=True)
def headers(world):
    for client in PATHS:
        for upstream in OVER:
            answer = Raw(world, client, OVER[upstream], world.told(output_tokens=500), False, {})
            told = int(answer.headers[COST]), int(answer.headers[BALANCE])
            equal(f"{client} over {upstream}", told, charged(world, answer.headers[GENERATION]))
            assert told[0] > 0, "it cost nothing"


@case("cost: trailers of a stream, and its last chunk for those who ask", payer="any", needs_wallets=True,
      together=True)
def trailers(world):
    for client in PATHS:
        for upstream in OVER:
            for asked in (False, True):
                more = {"x-codexapi-include-cost": "true"} if asked else {}
                answer = Raw(world, client, OVER[upstream], world.told(output_tokens=500), True, more)
                told = int(answer.trailers[COST]), int(answer.trailers[BALANCE])
                what = f"{client} over {upstream}"
                equal(what, told, charged(world, answer.headers[GENERATION]))
                noted = [(note["costMicro"], note["balanceMicro"]) for note in notes(answer.text)]
                equal(f"{what}, in the last chunk", noted, [told] if asked else [])


def shown_to_codex(world, version):
    """Codex keeps what it last heard of its credits with the conversation."""
    done = codex(world, version, "--json", "Say hello " + world.told())
    equal("exit", done.returncode, 0)
    kept = "".join(path.read_text() for path in (world.scratch / "home" / "sessions").rglob("*.jsonl"))
    balances = re.findall(r'"credits":\{"has_credits":true,"unlimited":false,"balance":"([\d.]+)"', kept)
    assert balances, f"no balance in {kept[-3_000:]}"
    equal("dollars and cents", [bool(re.fullmatch(r"\d+\.\d\d", balance)) for balance in balances], [True] * len(balances))
    shown, before = float(balances[-1]), world.customer.balance_micro / 1e6
    assert before - 1 <= shown <= before, f"Codex shows {shown}, the balance was {before}"


for each_version in VERSIONS:
    case(f"cost: codex {each_version} knows the balance", payer="any", needs_wallets=True, together=True)(
        lambda world, version=each_version: shown_to_codex(world, version)
    )
