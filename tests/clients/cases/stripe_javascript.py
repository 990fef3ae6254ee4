"""The `stripe` package for JavaScript drives the fake Stripe, and verifies its webhooks."""

import types

from case import case, equal
from stripe_fake import KEY, SECRET, fake_stripe
from .javascript import result

SUCCESS = "https://shop.example/done?session={CHECKOUT_SESSION_ID}"


def scenario(world, fake, name, **asked):
    to_fake = types.SimpleNamespace(
        base_url=fake.base_url, clients=world.clients, scratch=world.scratch, customer=world.customer)
    return result(to_fake, "stripe.mjs", name, {"key": KEY, "secret": SECRET, "successUrl": SUCCESS, **asked})


def stripe_case(name):
    return case(f"stripe for JavaScript: {name}", together=True)


@stripe_case("a checkout session is paid at its page")
def _(world):
    with fake_stripe(world) as (fake, _):
        equal("checkout", scenario(world, fake, "checkout"), {
            "same": True, "location": "https://shop.example/done?session=SESSION",
            "before": ["open", "unpaid", 10000], "after": ["complete", "paid", "succeeded", "p-1"],
            "charge": [10000, True], "lines": [["Token pack", 2]],
            "events": ["checkout.session.completed", "payment_method.attached", "payment_intent.succeeded",
                       "charge.succeeded", "payment_intent.created", "customer.created"],
        })


@stripe_case("refusals are errors of their own classes")
def _(world):
    with fake_stripe(world) as (fake, _):
        equal("refusals", scenario(world, fake, "refusals"), {
            "key": ["StripeAuthenticationError", 401, None, None],
            "unknown": ["StripeInvalidRequestError", 400, "parameter_unknown", "unheard_of"],
            "missing": ["StripeInvalidRequestError", 400, "parameter_missing", "line_items"],
            "absent": ["StripeInvalidRequestError", 404, "resource_missing", "intent"],
            "declined": ["StripeCardError", 402, "card_declined", None],
            "authentication": ["StripeCardError", 402, "authentication_required", None],
            "idempotency": ["StripeIdempotencyError", 400, None, None],
            "signature": ["StripeSignatureVerificationError", None, None, None],
        })


@stripe_case("refunds and disputes")
def _(world):
    with fake_stripe(world) as (fake, _):
        equal("reversals", scenario(world, fake, "reversals"), {
            "refunded": ["succeeded", 2500, False, 1], "disputed": ["needs_response", 10000, "won"],
            "accepted": "lost", "listed": 1,
        })


@stripe_case("a subscription renews and ends")
def _(world):
    with fake_stripe(world) as (fake, _):
        equal("subscription", scenario(world, fake, "subscription"), {
            "invoices": [["subscription_cycle", "paid", True], ["subscription_create", "paid", True]],
            "ending": True, "ended": "canceled",
        })


@stripe_case("webhooks verify, and altered ones do not")
def _(world):
    with fake_stripe(world) as (fake, listener):
        scenario(world, fake, "reversals")
        told = sorted(attempt["type"] for attempt in fake.settled())
        received = [{"signature": signature, "body": body.decode()} for signature, body in listener.received]
        refused = ["StripeSignatureVerificationError", None, None, None]
        found = scenario(world, fake, "webhooks", received=received)
        equal("verified", sorted(found["types"]), told)
        equal("refused", (found["altered"], found["otherSecret"]), (refused, refused))
