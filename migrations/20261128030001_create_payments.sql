-- What taking payments needs beside the event log.

-- What Stripe told us, and what came of it, for the operator. Never what a payment is credited by: that is the state of
-- the payment itself. Deliveries that nobody we know signed are counted here too, without a word of what they said.
CREATE TABLE stripe_webhooks (
    -- The order of lists.
    position bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    verified boolean NOT NULL,
    -- Stripe's, of verified deliveries.
    event_id text,
    event_type text,
    object_id text,
    livemode boolean,
    deliveries integer NOT NULL DEFAULT 1,
    -- 'received' until it is known.
    effect text NOT NULL,
    -- Why, where it was refused: the reason's name, never free text.
    reason text,
    payment_id uuid,
    first_received_at timestamptz NOT NULL,
    last_received_at timestamptz NOT NULL,
    CHECK (verified = (event_id IS NOT NULL))
);

CREATE UNIQUE INDEX stripe_webhooks_by_event ON stripe_webhooks (event_id) WHERE verified;
CREATE INDEX stripe_webhooks_by_age ON stripe_webhooks (verified, last_received_at);

-- Cards that customers let us charge again: Stripe's ids of them. Erasable, like all that belongs to a person; the
-- events of payments do not name them.
CREATE TABLE payment_profiles (
    account_id uuid PRIMARY KEY,
    customer_id text NOT NULL,
    payment_method_id text NOT NULL,
    livemode boolean NOT NULL,
    saved_at timestamptz NOT NULL
);
