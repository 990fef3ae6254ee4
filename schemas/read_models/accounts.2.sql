CREATE TABLE accounts (account_id uuid PRIMARY KEY, person_id uuid NOT NULL, registered_at timestamptz NOT NULL, suspended_at timestamptz, suspension_reason text, position bigint NOT NULL);
CREATE INDEX ON accounts (position);
CREATE INDEX ON accounts (person_id);
