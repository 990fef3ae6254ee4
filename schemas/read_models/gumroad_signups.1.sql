CREATE TABLE gumroad_signups (account_id uuid PRIMARY KEY, stream text NOT NULL, has_licence boolean NOT NULL, verified boolean NOT NULL, doubts jsonb NOT NULL, amount_micro bigint NOT NULL, standing text NOT NULL, grant_id uuid, signed_up_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, first_position bigint NOT NULL);
CREATE INDEX ON gumroad_signups (standing, first_position);
