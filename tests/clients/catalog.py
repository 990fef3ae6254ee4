"""Who serves which model in these tests: each dialect has models that are served in it alone.

A client that speaks another dialect than a model's provider is translated for. The names say the family too, because
dialects differ by it, and so do the tools that Codex offers.
"""

import pathlib

PRICES = pathlib.Path(__file__).resolve().parent.parent.parent / "config" / "prices.toml"

# Model → what the simulator is asked in.
SIMULATED = {
    "gpt-5.5": ["responses", "chat"],
    "claude-opus-4-8": ["messages"],
    "deepseek-v4-pro": ["chat"],
    "gpt-5.5-responses": ["responses"],
    "gpt-5.5-chat": ["chat"],
    "deepseek-v4-pro-messages": ["messages"],
    "gpt-5.5-disabled": ["responses", "chat"],
}
# Model → what aimock is asked in.
MOCKED = {
    "gpt-5.5-aimock-responses": ["responses"],
    "gpt-5.5-aimock-chat": ["chat"],
    "claude-opus-4-8-aimock": ["messages"],
}
# The model that serves clients of every dialect through providers of one.
OVER = {"responses": "gpt-5.5-responses", "chat": "gpt-5.5-chat", "messages": "claude-opus-4-8"}
OVER_AIMOCK = {
    "responses": "gpt-5.5-aimock-responses", "chat": "gpt-5.5-aimock-chat", "messages": "claude-opus-4-8-aimock",
}


def write(folder, simulator_url, mock_url):
    """Writes the two files a deployment needs; returns their paths, prices first."""
    prices, providers = folder / "prices.toml", folder / "providers.toml"
    prices.write_text(price_list())
    entries = [provider("simulator", simulator_url, *each) for each in SIMULATED.items()]
    entries += [provider("aimock", mock_url, *each) for each in MOCKED.items()]
    providers.write_text("\n".join(entries))
    return prices, providers


def price_list():
    """The built-in cards; every further model has the card of the one its name begins with."""
    text = PRICES.read_text()
    heading = "[[models]]\n"
    cards = {card.split('"')[1]: card for card in text.split(heading)[1:]}
    for model in [*SIMULATED, *MOCKED]:
        if model not in cards:
            family = max((name for name in cards if model.startswith(name)), key=len)
            text += heading + cards[family].replace(f'"{family}"', f'"{model}"', 1)
    return text


def provider(kind, url, model, dialects):
    name = f"{kind}-{model.replace('.', '-')}"
    dialects = ", ".join(f'"{dialect}"' for dialect in dialects)
    return (
        f'[[providers]]\nname = "{name}"\nprotocol = [{dialects}]\nbase_url = "{url}"\n'
        f'[[providers.models]]\nmodel = "{model}"\n'
    )
