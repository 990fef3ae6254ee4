CREATE TABLE payments (payment_id uuid PRIMARY KEY, account_id uuid NOT NULL, channel text NOT NULL, kind text NOT NULL, plan_id text, quantity bigint NOT NULL, price_micro bigint NOT NULL, livemode boolean NOT NULL, status text NOT NULL, failure_reason text, session_id text, payment_intent_id text, granted_micro bigint NOT NULL, reversed_micro bigint NOT NULL, remaining_micro bigint NOT NULL, dispute_status text, started_at timestamptz NOT NULL, credited_at timestamptz, changed_at timestamptz NOT NULL, position bigint NOT NULL);
CREATE INDEX ON payments (account_id, position);
CREATE INDEX ON payments (position);
CREATE INDEX ON payments (payment_intent_id);
CREATE INDEX ON payments (status, position);
