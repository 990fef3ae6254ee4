"""A top-up as a person makes one: a page is opened, a button pressed, and the webhook does the rest."""

import pathlib
import types
import urllib.error
import urllib.request

from case import case, equal
from ledger import read
from stripe_fake import KEY, press
from .javascript import result


def pays(world, wallet, order, credited):
    """Opens a page, lets the card be declined there and then charged, and sees the balance rise."""
    base_url, token = world.service.base_url, world.service.demo.token
    shown = {"wallet": "wallet/status", "cash-wallet": "cash-wallet"}[wallet]

    def balance():
        return read(f"{base_url}/api/v1/{shown}", token)["balanceMicro"]

    before = balance()
    page = read(f"{base_url}/api/v1/{wallet}/stripe/checkout", token, order)
    status, _, _ = press(page["url"], "decline")
    equal("a declined card", status, 402)
    equal("nothing is credited for it", balance(), before)
    status, location, _ = press(page["url"], "pay")
    equal("a paid page leads on", (status, bool(location)), (303, True))
    world.service.eventually(lambda: equal("the balance", balance(), before + credited))


@case("a token package is paid by pressing a button on the fake Stripe's page", payer="nobody", together=True)
def _(world):
    pays(world, "wallet", {"planId": "starter"}, 30_000_000)


@case("a top-up of the cash wallet is paid by pressing a button, and the card kept", payer="nobody", together=True)
def _(world):
    pays(world, "cash-wallet", {"amountMicro": 20_000_000, "saveCard": True}, 20_000_000)

    def kept():
        settings = read(f"{world.service.base_url}/api/v1/wallet/auto-topup", world.service.demo.token)
        equal("the card can be charged again", settings["hasCard"], True)

    world.service.eventually(kept)


@case("an event signed by stripe for JavaScript is believed, and an altered one is not", payer="nobody", together=True)
def _(world):
    secrets = pathlib.Path(world.service.folder) / "data" / "secrets"
    secret = (secrets / "stripe-webhook-secret").read_text().strip()
    body = '{"id":"evt_signed","object":"event","type":"customer.updated","livemode":false,"created":1,' \
        '"data":{"object":{"id":"cus_1","object":"customer"}}}'
    asked = {"key": KEY, "secret": secret, "successUrl": "", "body": body}
    aimed = types.SimpleNamespace(
        base_url=world.service.base_url, clients=world.clients, scratch=world.scratch, customer=world.customer)
    signature = result(aimed, "stripe.mjs", "signed", asked)

    def told(body, signature):
        to = f"{world.service.base_url}/api/v1/stripe/webhook"
        request = urllib.request.Request(to, body.encode(), {"Stripe-Signature": signature})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    equal("as it was signed", told(body, signature), 200)
    equal("one byte more", told(body + " ", signature), 400)
    equal("signed by another", told(body, signature.replace("v1=", "v1=0")), 400)
