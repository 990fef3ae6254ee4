"""The `stripe` package for Python drives the fake Stripe: every call, every refusal, and its webhooks' signatures.

What the fake says must be what the SDK's own types expect, so that what the service reads of the fake it can read of
Stripe.
"""

import concurrent.futures
import json
import time

import stripe

from case import case, contains, equal
from stripe_fake import KEY, SECRET, fake_stripe

SUCCESS = "https://shop.example/done?session={CHECKOUT_SESSION_ID}"
CANCEL = "https://shop.example/basket"


def client(fake, key=KEY):
    return stripe.StripeClient(key, base_addresses={"api": fake.base_url}, max_network_retries=0).v1


def pack(**more):
    """A session's parameters: one token pack of $50."""
    price = {"currency": "usd", "unit_amount": 5000, "product_data": {"name": "Token pack"}}
    return {
        "mode": "payment", "success_url": SUCCESS, "cancel_url": CANCEL,
        "line_items": [{"price_data": price, "quantity": 1}], **more,
    }


def monthly(**more):
    params = pack(mode="subscription", **more)
    params["line_items"][0]["price_data"].update(unit_amount=14900, recurring={"interval": "month"})
    return params


def refusal(kind, call, **fields):
    """The error that the SDK raises, which must be of this kind and say this."""
    try:
        found = call()
    except stripe.StripeError as error:
        equal("class of the error", type(error).__name__, kind.__name__)
        for field, wanted in fields.items():
            equal(field, getattr(error, field), wanted)
        return error
    raise AssertionError(f"no error but {found}")


def bought(stripes, fake, **more):
    """A paid session, and its payment intent with its charge."""
    session = stripes.checkout.sessions.create(pack(**more))
    fake.pay(session.id)
    session = stripes.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge"]})
    return session, session.payment_intent, session.payment_intent.latest_charge


def stripe_case(name):
    return case(f"stripe for Python: {name}", together=True)


@stripe_case("a checkout session is created, shown, paid at its page, and told of")
def _(world):
    with fake_stripe(world) as (fake, listener):
        stripes = client(fake)
        data = {"setup_future_usage": "off_session", "metadata": {"payment": "p-1"}, "description": "Tokens"}
        session = stripes.checkout.sessions.create(pack(
            client_reference_id="account-1", metadata={"payment": "p-1"}, payment_intent_data=data,
        ))
        equal("class", type(session).__name__, "Session")
        open_session = (session.status, session.payment_status, session.amount_total, session.currency)
        equal("the open session", open_session, ("open", "unpaid", 5000, "usd"))
        equal("its reference", (session.client_reference_id, session.metadata.to_dict()), ("account-1", {"payment": "p-1"}))
        equal("its payment intent", session.payment_intent, None)
        lines = stripes.checkout.sessions.line_items.list(session.id)
        equal("its lines", [(line.description, line.amount_total) for line in lines], [("Token pack", 5000)])

        status, _, text = fake.press(session.url, "decline")
        equal("a declined card's page", status, 402)
        contains("the page", text, "Your card was declined.")
        equal("still", stripes.checkout.sessions.retrieve(session.id).status, "open")
        status, location, _ = fake.press(session.url, "pay")
        equal("a paid page leads to", (status, location), (303, f"https://shop.example/done?session={session.id}"))
        refused, _, text = fake.press(session.url, "pay")
        equal("nobody pays twice", refused, 402)
        contains("the page", text, "no longer active")

        paid = stripes.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent.latest_charge", "customer"]})
        equal("the paid session", (paid.status, paid.payment_status, paid.url), ("complete", "paid", None))
        intent, charge = paid.payment_intent, paid.payment_intent.latest_charge
        equal("its intent", (intent.status, intent.amount_received, intent.metadata.to_dict()),
              ("succeeded", 5000, {"payment": "p-1"}))
        equal("its charge", (charge.paid, charge.amount_captured, charge.payment_intent), (True, 5000, intent.id))
        cards = stripes.customers.payment_methods.list(paid.customer.id)
        equal("the kept card", [card.id for card in cards], [intent.payment_method])

        attempts = fake.settled()
        equal("each event is told once", len({attempt["event"] for attempt in attempts}), len(attempts))
        kinds = [attempt["type"] for attempt in attempts]
        for kind in ("checkout.session.completed", "payment_intent.payment_failed", "charge.succeeded"):
            equal(kind, kinds.count(kind), 1)
        equal("each arrived", len(listener.received), len(attempts))


@stripe_case("sessions are listed in pages, expire, and are never paid after that")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        made = [stripes.checkout.sessions.create(pack()).id for _ in range(5)]
        first = stripes.checkout.sessions.list({"limit": 2})
        equal("the newest", ([session.id for session in first], first.has_more), (made[:2:-1], True))
        listed = [session.id for session in stripes.checkout.sessions.list({"limit": 2}).auto_paging_iter()]
        equal("all, by pages", listed, made[::-1])
        before = stripes.checkout.sessions.list({"limit": 2, "ending_before": made[1]})
        equal("those before", [session.id for session in before], [made[3], made[2]])

        now = fake.control("/clock")["now"]
        old = stripes.checkout.sessions.list({"created": {"gte": now + 10}})
        equal("none is from the future", len(old.data), 0)
        expired = stripes.checkout.sessions.expire(made[0])
        equal("expired", (expired.status, expired.url), ("expired", None))
        refusal(stripe.InvalidRequestError, lambda: stripes.checkout.sessions.expire(made[0]), http_status=400)
        try:
            fake.pay(made[0])
            raise AssertionError("an expired session was paid")
        except AssertionError as refused:
            contains("the refusal", str(refused), "checkout_session_not_open")
        fake.control("/clock", {"advance_seconds": 24 * 60 * 60})
        equal("time ends the rest", {session.status for session in stripes.checkout.sessions.list()}, {"expired"})
        fake.settled()
        equal("each is told", len(fake.events("checkout.session.expired")), 5)


@stripe_case("an idempotency key gives one result for one call, and refuses another")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        once = {"idempotency_key": "payment-1"}
        first = stripes.checkout.sessions.create(pack(), once)
        again = stripes.checkout.sessions.create(pack(), once)
        equal("the same session", again.id, first.id)
        equal("replayed", (first.last_response.headers.get("idempotent-replayed"),
                           again.last_response.headers.get("idempotent-replayed")), (None, "true"))
        refusal(stripe.IdempotencyError, lambda: stripes.checkout.sessions.create(pack(metadata={"a": "b"}), once),
                http_status=400)
        refusal(stripe.IdempotencyError, lambda: stripes.customers.create({}, once), http_status=400)
        equal("sessions", len(stripes.checkout.sessions.list().data), 1)

        declined = {"amount": 900, "currency": "usd", "confirm": True, "payment_method": "pm_card_visa_chargeDeclined"}
        key = {"idempotency_key": "payment-2"}
        error = refusal(stripe.CardError, lambda: stripes.payment_intents.create(declined, key))
        other = refusal(stripe.CardError, lambda: stripes.payment_intents.create(declined, key))
        equal("a decline is replayed too", other.error.payment_intent.id, error.error.payment_intent.id)
        # What was not executed takes no key.
        key = {"idempotency_key": "payment-3"}
        refusal(stripe.InvalidRequestError, lambda: stripes.checkout.sessions.create(pack(mode="free"), key))
        stripes.checkout.sessions.create(pack(), key)

        fake.control("/faults", {"path": "/v1/checkout/sessions", "delay_ms": 2000})
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            key = {"idempotency_key": "payment-4"}
            slow = threads.submit(lambda: stripes.checkout.sessions.create(pack(), key))
            wait_until(lambda: fake.control("/calls")["keysInUse"] == 1)
            in_use = refusal(stripe.APIError, lambda: stripes.checkout.sessions.create(pack(), key))
            equal("in use", (in_use.http_status, in_use.error.code), (409, "idempotency_key_in_use"))
            session = slow.result()
        equal("then it is there", stripes.checkout.sessions.create(pack(), key).id, session.id)

        key = {"idempotency_key": "payment-5"}
        fake.control("/faults", {"method": "POST", "path": "/v1/checkout/sessions", "lose_answer": True})
        before = len(stripes.checkout.sessions.list({"limit": 100}).data)
        refusal(stripe.APIConnectionError, lambda: stripes.checkout.sessions.create(pack(), key))
        stripes.checkout.sessions.create(pack(), key)
        equal("a lost answer is asked for again", len(stripes.checkout.sessions.list({"limit": 100}).data), before + 1)


def wait_until(check):
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.01)


@stripe_case("refusals name the parameter, and wear Stripe's envelope")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        refusal(stripe.AuthenticationError, lambda: client(fake, "sk_test_wrong").customers.list(), http_status=401)
        sessions = stripes.checkout.sessions
        for params, code, param in (
            (pack(unheard_of=True), "parameter_unknown", "unheard_of"),
            (pack(payment_intent_data={"metdata": {"a": "b"}}), "parameter_unknown", "payment_intent_data[metdata][a]"),
            ({"mode": "payment", "success_url": SUCCESS}, "parameter_missing", "line_items"),
            ({"success_url": SUCCESS}, "parameter_missing", "mode"),
            (pack(success_url=""), "parameter_invalid_empty", "success_url"),
            (pack(success_url="shop.example"), "url_invalid", "success_url"),
            (pack(customer="cus_none"), "resource_missing", "customer"),
            (pack(expires_at=1), None, "expires_at"),
            (pack(mode="subscription"), None, "line_items"),
            (pack(subscription_data={"metadata": {"a": "b"}}), None, "subscription_data"),
            (pack(metadata={"a": "x" * 501}), None, "metadata[a]"),
        ):
            error = refusal(stripe.InvalidRequestError, lambda: sessions.create(params))
            equal(f"{params}", (error.http_status, error.code, error.param), (400, code, param))
        cheap = pack()
        cheap["line_items"][0]["price_data"]["unit_amount"] = 10
        refusal(stripe.InvalidRequestError, lambda: sessions.create(cheap), code="amount_too_small")
        broken = pack()
        broken["line_items"][0]["price_data"]["unit_amount"] = "12.50"
        refusal(stripe.InvalidRequestError, lambda: sessions.create(broken), code="parameter_invalid_integer",
                param="line_items[0][price_data][unit_amount]")
        refusal(stripe.InvalidRequestError, lambda: sessions.retrieve("cs_test_none"), http_status=404,
                code="resource_missing")
        refusal(stripe.InvalidRequestError, lambda: sessions.list({"limit": 101}), param="limit")
        fake.control("/faults", {"path": "/v1/customers", "status": 429})
        refusal(stripe.RateLimitError, lambda: stripes.customers.list(), http_status=429)
        fake.control("/faults", {"path": "/v1/customers", "status": 500})
        refusal(stripe.APIError, lambda: stripes.customers.list(), http_status=500)
        stripes.customers.list()


@stripe_case("a kept card is charged off-session, and its declines are told")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        _, intent, _ = bought(stripes, fake, payment_intent_data={"setup_future_usage": "off_session"})
        card, customer = intent.payment_method, intent.customer

        def charge(**more):
            return stripes.payment_intents.create({
                "amount": 2500, "currency": "usd", "customer": customer, "payment_method": card, "off_session": True,
                "confirm": True, "metadata": {"payment": "p-2"}, **more,
            })

        taken = charge()
        equal("taken", (taken.status, taken.amount_received, type(taken).__name__), ("succeeded", 2500, "PaymentIntent"))
        for behaviour, code, decline in (
            ("generic_decline", "card_declined", "generic_decline"),
            ("insufficient_funds", "card_declined", "insufficient_funds"),
            ("expired_card", "expired_card", "expired_card"),
            ("authentication_required", "authentication_required", "authentication_required"),
        ):
            fake.control(f"/payment_methods/{card}", {"card": behaviour})
            error = refusal(stripe.CardError, charge, http_status=402, code=code)
            equal("decline code", error.error.decline_code, decline)
            failed = stripes.payment_intents.retrieve(error.error.payment_intent.id)
            equal("the intent", (failed.status, failed.last_payment_error.code), ("requires_payment_method", code))
            equal("canceled", stripes.payment_intents.cancel(failed.id).status, "canceled")
            refusal(stripe.InvalidRequestError, lambda: stripes.payment_intents.confirm(failed.id),
                    code="payment_intent_unexpected_state")
        fake.control(f"/payment_methods/{card}", {"card": "approves"})
        retried = refused_then_confirmed(stripes, fake, card, charge)
        equal("a later try", (retried.status, retried.last_payment_error), ("succeeded", None))
        stranger = stripes.customers.create({"email": "b@example.com", "metadata": {"account": "b"}})
        refusal(stripe.InvalidRequestError, lambda: charge(customer=stranger.id), param="payment_method")
        refusal(stripe.InvalidRequestError, lambda: charge(payment_method="pm_none"), code="resource_missing")
        refusal(stripe.InvalidRequestError, lambda: charge(confirm=False), param="off_session")
        refusal(stripe.InvalidRequestError, lambda: charge(amount=49), code="amount_too_small")
        mine = stripes.payment_intents.list({"customer": customer, "limit": 100})
        equal("all of them", len(mine.data), 7)
        fake.settled()
        equal("declines told", len(fake.events("payment_intent.payment_failed")), 5)


def refused_then_confirmed(stripes, fake, card, charge):
    fake.control(f"/payment_methods/{card}", {"card": "generic_decline"})
    error = refusal(stripe.CardError, charge)
    fake.control(f"/payment_methods/{card}", {"card": "approves"})
    return stripes.payment_intents.confirm(
        error.error.payment_intent.id, {"payment_method": card, "off_session": True},
    )


@stripe_case("refunds add up, and fail")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        _, intent, charge = bought(stripes, fake)
        part = stripes.refunds.create({"payment_intent": intent.id, "amount": 2000, "reason": "requested_by_customer"})
        equal("a part", (part.status, part.amount, part.charge), ("succeeded", 2000, charge.id))
        state = lambda: (lambda charge: (charge.amount_refunded, charge.refunded))(stripes.charges.retrieve(charge.id))
        equal("after a part", state(), (2000, False))
        refusal(stripe.InvalidRequestError, lambda: stripes.refunds.create({"charge": charge.id, "amount": 3001}),
                param="amount")
        rest = stripes.refunds.create({"charge": charge.id})
        equal("the rest", rest.amount, 3000)
        equal("after all", state(), (5000, True))
        refusal(stripe.InvalidRequestError, lambda: stripes.refunds.create({"charge": charge.id}),
                code="charge_already_refunded")
        fake.control(f"/refunds/{rest.id}/fail", {})
        equal("after one failed", state(), (2000, False))
        equal("failed", stripes.refunds.retrieve(rest.id).status, "failed")
        found = stripes.refunds.list({"payment_intent": intent.id})
        equal("listed", [refund.id for refund in found], [rest.id, part.id])
        with_refunds = stripes.charges.retrieve(charge.id, {"expand": ["refunds"]})
        equal("shown with the charge", len(with_refunds.refunds.data), 2)
        fake.settled()
        equal("told", fake.events("charge.refunded", "refund.failed"), ["charge.refunded"] * 2 + ["refund.failed"])


@stripe_case("disputes are opened, won, lost and accepted")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        ends = []
        for end in ("win", "lose", "close"):
            _, intent, charge = bought(stripes, fake)
            opened = fake.control("/disputes", {"payment_intent": intent.id})
            dispute = stripes.disputes.retrieve(opened["id"])
            equal("opened", (dispute.status, dispute.amount, dispute.charge, dispute.payment_intent),
                  ("needs_response", 5000, charge.id, intent.id))
            equal("the charge", stripes.charges.retrieve(charge.id).disputed, True)
            refusal(stripe.InvalidRequestError, lambda: stripes.refunds.create({"charge": charge.id}),
                    code="charge_disputed")
            if end == "close":
                stripes.disputes.close(dispute.id)
            else:
                fake.control(f"/disputes/{dispute.id}/{end}", {})
            ended = stripes.disputes.list({"payment_intent": intent.id}).data[0]
            ends.append((ended.status, sum(moved.amount for moved in ended.balance_transactions)))
            refusal(stripe.InvalidRequestError, lambda: stripes.disputes.close(dispute.id),
                    code="dispute_already_closed")
        equal("ends, and the money moved", ends, [("won", 0), ("lost", -5000), ("lost", -5000)])
        _, intent, charge = bought(stripes, fake)
        inquiry = fake.control("/disputes", {"charge": charge.id, "inquiry": True})
        equal("an inquiry", (inquiry["status"], inquiry["is_charge_refundable"]), ("warning_needs_response", True))
        fake.settled()
        told = [fake.events(f"charge.dispute.{what}") for what in ("created", "closed", "funds_reinstated")]
        equal("told", [len(kinds) for kinds in told], [4, 3, 1])


@stripe_case("a subscription renews, fails, is tried again, and ends as its customer wishes")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        session = stripes.checkout.sessions.create(monthly(subscription_data={"metadata": {"payment": "p-3"}}))
        fake.pay(session.id)
        session = stripes.checkout.sessions.retrieve(session.id, {"expand": ["subscription", "invoice.payments"]})
        subscription, invoice = session.subscription, session.invoice
        equal("begun", (session.payment_status, session.payment_intent, subscription.status), ("paid", None, "active"))
        equal("its invoice", (invoice.status, invoice.billing_reason, invoice.amount_paid),
              ("paid", "subscription_create", 14900))
        parent = invoice.parent.subscription_details
        equal("whose", (parent.subscription, parent.metadata.to_dict()), (subscription.id, {"payment": "p-3"}))
        paid_by = invoice.payments.data[0].payment.payment_intent
        found = stripes.invoice_payments.list({"payment": {"type": "payment_intent", "payment_intent": paid_by}})
        equal("from the payment to its invoice", [payment.invoice for payment in found], [invoice.id])

        month = 31 * 24 * 60 * 60
        period = subscription["items"].data[0].current_period_end
        fake.control("/clock", {"advance_seconds": month})
        renewed = stripes.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
        equal("renewed", (renewed.status, renewed.latest_invoice.billing_reason, renewed.latest_invoice.status),
              ("active", "subscription_cycle", "paid"))
        equal("the next period", renewed["items"].data[0].current_period_start, period)

        card = renewed.default_payment_method
        fake.control(f"/payment_methods/{card}", {"card": "insufficient_funds"})
        fake.control(f"/subscriptions/{subscription.id}/renew", {})
        failed = stripes.subscriptions.retrieve(subscription.id, {"expand": ["latest_invoice"]})
        equal("failed", (failed.status, failed.latest_invoice.status, failed.latest_invoice.attempt_count),
              ("past_due", "open", 1))
        refusal(stripe.CardError, lambda: stripes.invoices.pay(failed.latest_invoice.id))
        fake.control(f"/payment_methods/{card}", {"card": "approves"})
        fake.control(f"/invoices/{failed.latest_invoice.id}/retry", {})
        equal("mended", stripes.subscriptions.retrieve(subscription.id).status, "active")

        ending = stripes.subscriptions.update(subscription.id, {"cancel_at_period_end": True})
        equal("to end", (ending.status, ending.cancel_at_period_end, ending.cancel_at),
              ("active", True, ending["items"].data[0].current_period_end))
        fake.control("/clock", {"advance_seconds": 2 * month})
        equal("ended", stripes.subscriptions.retrieve(subscription.id).status, "canceled")
        equal("invoices", len(stripes.invoices.list({"subscription": subscription.id}).data), 3)
        refusal(stripe.InvalidRequestError, lambda: stripes.subscriptions.cancel(subscription.id), http_status=404)

        session = stripes.checkout.sessions.create(monthly())
        fake.pay(session.id)
        other = stripes.checkout.sessions.retrieve(session.id, {"expand": ["subscription"]}).subscription
        fake.control(f"/payment_methods/{other.default_payment_method}", {"card": "generic_decline"})
        fake.control("/clock", {"advance_seconds": 2 * month})
        equal("given up", stripes.subscriptions.retrieve(other.id).status, "canceled")
        equal("cancelled ones are listed when asked for",
              (len(stripes.subscriptions.list().data), len(stripes.subscriptions.list({"status": "all"}).data)), (0, 2))
        fake.settled()
        equal("told", (len(fake.events("invoice.paid")), len(fake.events("invoice.payment_failed")),
                       len(fake.events("customer.subscription.deleted"))), (4, 6, 2))


@stripe_case("a card is saved without a payment")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        customer = stripes.customers.create({"email": "a@example.com"})
        session = stripes.checkout.sessions.create(
            {"mode": "setup", "currency": "usd", "success_url": SUCCESS, "customer": customer.id})
        fake.pay(session.id)
        session = stripes.checkout.sessions.retrieve(session.id, {"expand": ["setup_intent"]})
        equal("saved", (session.payment_status, session.setup_intent.status), ("no_payment_required", "succeeded"))
        cards = stripes.payment_methods.list({"customer": customer.id})
        equal("the card", [card.id for card in cards], [session.setup_intent.payment_method])
        stripes.payment_methods.detach(cards.data[0].id)
        equal("detached", len(stripes.payment_methods.list({"customer": customer.id}).data), 0)
        attached = stripes.payment_methods.attach("pm_card_visa", {"customer": customer.id})
        stripes.customers.update(customer.id, {"invoice_settings": {"default_payment_method": attached.id}})
        stripes.customers.update(customer.id, {"metadata": {"a": "1", "b": "2"}})
        changed = stripes.customers.update(customer.id, {"metadata": {"a": ""}})
        equal("metadata merges", changed.metadata.to_dict(), {"b": "2"})
        equal("deleted", stripes.customers.delete(customer.id).deleted, True)
        refusal(stripe.InvalidRequestError, lambda: stripes.customers.retrieve(customer.id), code="resource_missing")


@stripe_case("a payment may be neither yes nor no for a while")
def _(world):
    with fake_stripe(world) as (fake, _):
        stripes = client(fake)
        for card, status in (("approves", "paid"), ("generic_decline", "unpaid")):
            session = stripes.checkout.sessions.create(pack())
            fake.pay(session.id, "processing")
            session = stripes.checkout.sessions.retrieve(session.id)
            equal("complete, and unpaid", (session.status, session.payment_status), ("complete", "unpaid"))
            fake.control(f"/payment_intents/{session.payment_intent}/settle", {"card": card})
            equal("then", stripes.checkout.sessions.retrieve(session.id).payment_status, status)
        fake.settled()
        equal("told", sorted(fake.events("checkout.session.async_payment_succeeded",
                                         "checkout.session.async_payment_failed")),
              ["checkout.session.async_payment_failed", "checkout.session.async_payment_succeeded"])


@stripe_case("webhooks verify, and what is spoiled does not")
def _(world):
    with fake_stripe(world) as (fake, listener):
        stripes = client(fake)
        session, _, _ = bought(stripes, fake)
        fake.settled()
        for signature, body in listener.received:
            event = stripe.Webhook.construct_event(body, signature, SECRET)
            equal("as it can be read again", stripes.events.retrieve(event.id).to_dict(), json.loads(body))
        completed = stripes.events.list({"type": "checkout.session.completed"}).data[0]
        equal("of", (completed.data.object.id, completed.api_version), (session.id, stripe.api_version))

        def spoiled(**how):
            before = len(listener.received)
            fake.control("/deliveries", {"event": completed.id, "spoiled": how})
            signature, body = listener.received[before]
            return stripe.Webhook.construct_event(body, signature, SECRET)

        equal("sent again", spoiled().id, completed.id)
        equal("not too old", spoiled(age_seconds=290).id, completed.id)
        equal("another's, well signed", spoiled(edit={"livemode": True}).livemode, True)
        for how in (
            {"secret": "whsec_other"}, {"age_seconds": 310}, {"unsigned": True},
            {"edit_signed": {"data": {"object": {"amount_total": 1}}}},
        ):
            refusal(stripe.SignatureVerificationError, lambda: spoiled(**how))


@stripe_case("webhooks are duplicated, held, reordered, lost and retried as told")
def _(world):
    with fake_stripe(world, statuses=[500, 503]) as (fake, listener):
        stripes = client(fake)
        fake.control("/deliveries/plan", {"retry_delays_ms": [10, 10, 10]}, "PUT")
        customer = stripes.customers.create({})
        attempts = fake.settled()
        equal("retried until it is taken", [attempt["status"] for attempt in attempts], [500, 503, 200])
        equal("the same event", len({attempt["event"] for attempt in attempts}), 1)

        fake.control("/deliveries/plan", {"copies": 3, "jitter_ms": 50}, "PUT")
        stripes.customers.update(customer.id, {"name": "A"})
        equal("thrice", len(fake.settled()), 6)
        fake.control("/deliveries/plan", {"mode": "hold"}, "PUT")
        for name in "BC":
            stripes.customers.update(customer.id, {"name": name})
        equal("held", (len(fake.settled()), len(fake.control("/deliveries")["held"])), (6, 2))
        fake.control("/deliveries/release", {"reversed": True, "copies": 2})
        names = [json.loads(body)["data"]["object"]["name"] for _, body in listener.received[-4:]]
        equal("released in reverse", names, ["C", "C", "B", "B"])
        fake.control("/deliveries/plan", {"mode": "lose"}, "PUT")
        stripes.customers.update(customer.id, {"name": "D"})
        equal("lost", len(fake.settled()), 10)
        equal("yet on record", stripes.events.list({"limit": 1}).data[0].data.object.name, "D")
