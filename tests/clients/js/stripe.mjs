// The `stripe` package for JavaScript.

import Stripe from "stripe";
import { asked, baseUrl, collect, timeout } from "./outcome.mjs";

const { key, secret, successUrl } = asked;
const { hostname: host, port } = new URL(baseUrl);
const options = { host, port: Number(port), protocol: "http", timeout, maxNetworkRetries: 0 };
const stripe = new Stripe(key, options);

const price = { currency: "usd", unit_amount: 5000, product_data: { name: "Token pack" } };
const pack = (more = {}) => ({
  mode: "payment",
  success_url: successUrl,
  line_items: [{ price_data: price, quantity: 2 }],
  ...more,
});
const monthly = () => pack({ mode: "subscription", line_items: [{ price_data: { ...price, recurring: { interval: "month" } }, quantity: 1 }] });

const control = async (path, body = {}, method = "POST") => {
  const answer = await fetch(`${baseUrl}/_control${path}`, { method, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
};

// What the SDK throws, in short; `undefined` where it does not.
const thrown = async (call) => {
  try {
    await call();
  } catch (error) {
    if (!(error instanceof Stripe.errors.StripeError)) throw error;
    return [error.constructor.name, error.statusCode, error.code ?? null, error.param ?? null];
  }
  return undefined;
};

const buy = async (more) => {
  const session = await stripe.checkout.sessions.create(pack(more));
  await control(`/checkout/sessions/${session.id}/pay`);
  return stripe.checkout.sessions.retrieve(session.id, { expand: ["payment_intent.latest_charge"] });
};

const scenarios = {
  async checkout() {
    const session = await stripe.checkout.sessions.create(
      pack({
        client_reference_id: "account-1",
        payment_intent_data: { setup_future_usage: "off_session", metadata: { payment: "p-1" } },
      }),
      { idempotencyKey: "p-1" },
    );
    const again = await stripe.checkout.sessions.create(
      pack({
        client_reference_id: "account-1",
        payment_intent_data: { setup_future_usage: "off_session", metadata: { payment: "p-1" } },
      }),
      { idempotencyKey: "p-1" },
    );
    const page = await fetch(session.url, { method: "POST", body: new URLSearchParams({ action: "pay" }), redirect: "manual" });
    const paid = await stripe.checkout.sessions.retrieve(session.id, { expand: ["payment_intent.latest_charge", "line_items"] });
    return {
      same: again.id === session.id,
      location: page.headers.get("location").replace(session.id, "SESSION"),
      before: [session.status, session.payment_status, session.amount_total],
      after: [paid.status, paid.payment_status, paid.payment_intent.status, paid.payment_intent.metadata.payment],
      charge: [paid.payment_intent.latest_charge.amount, paid.payment_intent.latest_charge.captured],
      lines: paid.line_items.data.map((line) => [line.description, line.quantity]),
      events: (await collect(stripe.events.list({ limit: 3 }))).map((event) => event.type),
    };
  },

  async refusals() {
    const wrong = new Stripe("sk_test_wrong", options);
    const declined = { amount: 900, currency: "usd", confirm: true, payment_method: "pm_card_visa_chargeDeclined" };
    await stripe.customers.create({}, { idempotencyKey: "c-1" });
    return {
      key: await thrown(() => wrong.customers.list()),
      unknown: await thrown(() => stripe.checkout.sessions.create(pack({ unheard_of: 1 }))),
      missing: await thrown(() => stripe.checkout.sessions.create({ mode: "payment", success_url: successUrl })),
      absent: await thrown(() => stripe.paymentIntents.retrieve("pi_none")),
      declined: await thrown(() => stripe.paymentIntents.create(declined)),
      authentication: await thrown(() => stripe.paymentIntents.create({ ...declined, off_session: true, payment_method: "pm_card_authenticationRequired" })),
      idempotency: await thrown(() => stripe.customers.create({ name: "B" }, { idempotencyKey: "c-1" })),
      signature: await thrown(() => stripe.webhooks.constructEventAsync("{}", "t=1,v1=00", secret)),
    };
  },

  async reversals() {
    const first = await buy();
    const refund = await stripe.refunds.create({ payment_intent: first.payment_intent.id, amount: 2500 });
    const charge = await stripe.charges.retrieve(refund.charge, { expand: ["refunds"] });
    const second = await buy();
    const dispute = await control("/disputes", { payment_intent: second.payment_intent.id });
    const open = (await stripe.disputes.list({ payment_intent: second.payment_intent.id })).data[0];
    await control(`/disputes/${dispute.id}/win`);
    const third = await buy();
    const lost = await control("/disputes", { payment_intent: third.payment_intent.id });
    return {
      refunded: [refund.status, charge.amount_refunded, charge.refunded, charge.refunds.data.length],
      disputed: [open.status, open.amount, (await stripe.disputes.retrieve(dispute.id)).status],
      accepted: (await stripe.disputes.close(lost.id)).status,
      listed: (await collect(stripe.refunds.list({ limit: 1 }))).length,
    };
  },

  async subscription() {
    const session = await stripe.checkout.sessions.create(monthly());
    await control(`/checkout/sessions/${session.id}/pay`);
    const { subscription } = await stripe.checkout.sessions.retrieve(session.id);
    await control(`/subscriptions/${subscription}/renew`);
    const invoices = await collect(stripe.invoices.list({ subscription, limit: 1 }));
    const ending = await stripe.subscriptions.update(subscription, { cancel_at_period_end: true });
    const ended = await stripe.subscriptions.cancel(subscription);
    return {
      invoices: invoices.map((invoice) => [invoice.billing_reason, invoice.status, invoice.parent.subscription_details.subscription === subscription]),
      ending: ending.cancel_at_period_end,
      ended: ended.status,
    };
  },

  // What Stripe would send as `Stripe-Signature` with a body.
  async signed() {
    return stripe.webhooks.generateTestHeaderStringAsync({ payload: asked.body, secret });
  },

  // Webhooks as they came: bodies and signatures.
  async webhooks() {
    const types = [];
    for (const { signature, body } of asked.received) {
      const event = await stripe.webhooks.constructEventAsync(body, signature, secret);
      const again = await stripe.events.retrieve(event.id);
      if (again.id !== event.id || again.type !== event.type) throw new Error(`${event.id} is not what it was`);
      types.push(event.type);
    }
    const { signature, body } = asked.received[0];
    return {
      types,
      altered: await thrown(() => stripe.webhooks.constructEventAsync(`${body} `, signature, secret)),
      otherSecret: await thrown(() => stripe.webhooks.constructEventAsync(body, signature, "whsec_other")),
    };
  },
};

console.log(JSON.stringify({ result: await scenarios[process.argv[2]]() }));
