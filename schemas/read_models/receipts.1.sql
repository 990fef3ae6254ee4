CREATE TABLE receipts (payment_id uuid PRIMARY KEY, account_id uuid NOT NULL, livemode boolean NOT NULL, channel text NOT NULL, kind text NOT NULL, plan_id text, quantity bigint NOT NULL, paid_micro bigint NOT NULL, credit_micro bigint, year int, number bigint, issued_at timestamptz, position bigint, UNIQUE (livemode, year, number));
CREATE INDEX ON receipts (account_id, position);
CREATE INDEX ON receipts (position);
CREATE TABLE credit_notes (payment_id uuid NOT NULL, reversal_id text NOT NULL, livemode boolean NOT NULL, reason text NOT NULL, amount_micro bigint NOT NULL, standing text NOT NULL, before_micro bigint NOT NULL, void_at timestamptz, year int, number bigint, issued_at timestamptz, position bigint, PRIMARY KEY (payment_id, reversal_id), UNIQUE (livemode, year, number));
