"""A top-up as a person makes one: a page is opened, a button pressed, and the webhook does the rest."""

from case import case, equal
from ledger import read
from stripe_fake import press


@case("a top-up is paid by pressing a button on the fake Stripe's page", payer="nobody", together=True)
def _(world):
    base_url, token = world.service.base_url, world.service.demo.token

    def balance():
        return read(f"{base_url}/api/v1/cash-wallet", token)["balanceMicro"]

    before = balance()
    order = {"amountMicro": 20_000_000, "saveCard": True}
    page = read(f"{base_url}/api/v1/cash-wallet/stripe/checkout", token, order)
    status, _, _ = press(page["url"], "decline")
    equal("a declined card", status, 402)
    status, location, _ = press(page["url"], "pay")
    equal("a paid page leads on", (status, bool(location)), (303, True))

    def risen():
        equal("the balance", balance(), before + 20_000_000)

    world.service.eventually(risen)

    def kept():
        equal("the card can be charged again", read(f"{base_url}/api/v1/wallet/auto-topup", token)["hasCard"], True)

    world.service.eventually(kept)
