CREATE TABLE entitlements (account_id uuid NOT NULL, plan_id text NOT NULL, ends_at timestamptz NOT NULL, is_over boolean NOT NULL, grace_secs bigint, grants bigint NOT NULL, position bigint NOT NULL, first_position bigint NOT NULL, updated_at timestamptz NOT NULL, PRIMARY KEY (account_id, plan_id));
CREATE INDEX ON entitlements (ends_at) WHERE NOT is_over;
CREATE INDEX ON entitlements (first_position);
CREATE TABLE plan_use (account_id uuid NOT NULL, plan_id text NOT NULL, generations bigint NOT NULL, input_tokens bigint NOT NULL, output_tokens bigint NOT NULL, used_micro bigint NOT NULL, covered_micro bigint NOT NULL, position bigint NOT NULL, PRIMARY KEY (account_id, plan_id));
