"""What each generation must cost, worked out from the simulator's own bills and nothing of ours.

Integers only: a rate is micro-USD per million tokens, so tokens × rate is a whole number of pico-USD, and the sum over
a generation's lines is rounded once, half to even, to micro-USD.
"""

from dataclasses import dataclass
from decimal import Decimal

try:
    import tomllib
except ImportError:
    import tomli as tomllib

PICO_PER_MICRO = 1_000_000
MICRO_PER_USD = 1_000_000
# The bill's name of each kind of input, in the order in which what is already billed for is taken off; the card's name.
INPUT_KINDS = (
    ("cached_tokens", "cached_input"),
    ("cache_write_5m", "cache_write_5m"),
    ("cache_write_1h", "cache_write_1h"),
    ("uncached_input_tokens", "input"),
)

# The program by how its user agent begins.
CLIENTS = {
    "codex_": "codex_cli",
    "claude-cli/": "claude_code",
    "OpenAI/": "openai_sdk",
    "AsyncOpenAI/": "openai_sdk",
    "Anthropic/": "anthropic_sdk",
    "AsyncAnthropic/": "anthropic_sdk",
}


@dataclass(frozen=True, order=True)
class Charge:
    """One generation as the customer's log must show it."""

    model: str
    client: str
    input_tokens: int  # beyond what the conversation was already billed for
    cumulative_input_tokens: int  # as the provider reported it
    cached_input_tokens: int  # of those reported
    output_tokens: int
    charged_micro: int


def read_rates(path):
    """Model → bucket → micro-USD per million tokens, and `fees`: name → micro-USD per call."""
    with open(path, "rb") as file:
        models = tomllib.load(file)["models"]
    return {model["model"]: rates_of(model.get("internal") or model["display"]) for model in models}


def rates_of(card):
    rates = {kind: micro(text) for kind, text in card.items() if kind != "fees"}
    rates["fees"] = {name: micro(text) for name, text in card.get("fees", {}).items()}
    return rates


def micro(usd):
    amount = Decimal(usd) * MICRO_PER_USD
    assert amount == int(amount), f"{usd} is no whole number of micro-USD"
    return int(amount)


class Oracle:
    """Prices bills in the order they were made; remembers what Codex's conversations were billed for."""

    def __init__(self, rates):
        self.rates = rates
        self.billed_input = {}

    def charge(self, bill, payer):
        reported = {kind: bill[kind] for kind, _ in INPUT_KINDS}
        assert sum(reported.values()) == bill["input_tokens"], f"the simulator's bill does not add up: {bill}"
        tokens = self.beyond_what_was_billed(bill, payer, reported)
        rates = self.rates[bill["model"]]
        pico = sum(tokens[kind] * rates.get(name, rates["input"]) for kind, name in INPUT_KINDS)
        pico += bill["output_tokens"] * rates["output"]
        searches = bill["web_search_calls"]
        pico += searches * rates["fees"]["web_search"] * PICO_PER_MICRO if searches else 0
        return Charge(
            model=bill["model"],
            client=client_of(bill),
            input_tokens=sum(tokens.values()),
            cumulative_input_tokens=bill["input_tokens"],
            cached_input_tokens=reported["cached_tokens"],
            output_tokens=bill["output_tokens"],
            charged_micro=half_even(pico),
        )

    def beyond_what_was_billed(self, bill, payer, tokens):
        """Codex alone: it sends its whole conversation again each time, each time longer by what is new."""
        conversation = codex_conversation(bill)
        if conversation is None:
            return tokens
        key = (payer, conversation, bill["model"])
        already = min(self.billed_input.get(key, 0), bill["input_tokens"])
        self.billed_input[key] = bill["input_tokens"]
        rest = dict(tokens)
        for kind, _ in INPUT_KINDS:
            taken = min(already, rest[kind])
            rest[kind] -= taken
            already -= taken
        return rest


def client_of(bill):
    agent = bill["request_headers"].get("user-agent", "")
    return next((client for start, client in CLIENTS.items() if agent.startswith(start)), "other")


def codex_conversation(bill):
    if client_of(bill) != "codex_cli":
        return None
    reference = bill["client_ref"]
    # A provider of Messages is told neither; a case that runs together with others holds one conversation.
    return reference.get("thread_id") or reference.get("prompt_cache_key") or bill["tag"]


def half_even(pico):
    whole, rest = divmod(pico, PICO_PER_MICRO)
    half = PICO_PER_MICRO // 2
    return whole + (rest > half or (rest == half and whole % 2 == 1))
