"""What the SDK cases of every language ask, and what they must get."""

import re

from case import equal, told

OPENAI_MODEL = "gpt-5.5"
ANTHROPIC_MODEL = "claude-opus-4-8"
UNKNOWN_MODEL = "missing-model"
WRONG_KEY = "g2g-codex-nobody-0000000000000000000000000000000000000000"

WRONG_KEY_SENTENCE = "This token is not known here."
EMPTY_WALLET_SENTENCE = re.compile(
    r"Insufficient credit: your balance is \$0\.000000 and this request needs about \$\d+\.\d{6}\. Top up to go on\."
)

ANSWER = "Hello from here"
OUTPUT_TOKENS = 37
OPENAI_PROMPT = "Say hello " + told(
    text=ANSWER, input_tokens=2_345, cached_tokens=1_024, output_tokens=OUTPUT_TOKENS, reasoning_tokens=11
)
ANTHROPIC_PROMPT = "Say hello " + told(
    text=ANSWER, input_tokens=5_432, cached_tokens=1_024, cache_write_5m=512, cache_write_1h=256,
    output_tokens=OUTPUT_TOKENS,
)

CITY = "Lisbon"
WEATHER = "21 degrees"
WEATHER_PROMPT = 'What is the weather? [[tool:get_weather {"city":"Lisbon"}]]'
WEATHER_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def check_empty_wallet(world, text):
    """Our whole sentence, once; and no provider was asked."""
    equal("times our sentence is told", len(EMPTY_WALLET_SENTENCE.findall(text)), 1)
    equal("requests upstream", world.upstream_requests(), 0)


def check_openai_usage(bill, input_tokens, cached, output_tokens, reasoning, total):
    equal("usage's input", input_tokens, bill["input_tokens"])
    equal("usage's cached input", cached, bill["cached_tokens"])
    equal("usage's output", output_tokens, bill["output_tokens"])
    equal("usage's reasoning", reasoning, bill["reasoning_tokens"])
    equal("usage's total", total, bill["input_tokens"] + bill["output_tokens"])


def check_anthropic_usage(bill, input_tokens, cache_read, cache_written, output_tokens):
    equal("usage's input", input_tokens, bill["uncached_input_tokens"])
    equal("usage's cache reads", cache_read, bill["cached_tokens"])
    equal("usage's cache writes", cache_written, bill["cache_write_5m"] + bill["cache_write_1h"])
    equal("usage's output", output_tokens, bill["output_tokens"])


def check_told_bill(bill, input_tokens):
    """The simulator billed what the prompt told it to, so the prompt arrived as it was."""
    equal("billed input", bill["input_tokens"], input_tokens)
    equal("billed output", bill["output_tokens"], OUTPUT_TOKENS)
