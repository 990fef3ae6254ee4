CREATE TABLE api_keys (key_id uuid PRIMARY KEY, account_id uuid, kind text NOT NULL, digest text NOT NULL, prefix text NOT NULL, issued_at timestamptz NOT NULL, revoked_at timestamptz, revocation_reason text, expires_at timestamptz, limits jsonb NOT NULL, position bigint NOT NULL);
CREATE INDEX ON api_keys (digest);
CREATE INDEX ON api_keys (account_id, position);
CREATE INDEX ON api_keys (position);
