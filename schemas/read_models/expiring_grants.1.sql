CREATE TABLE expiring_grants (grant_id uuid PRIMARY KEY, account_id uuid NOT NULL, expires_at timestamptz NOT NULL, position bigint NOT NULL);
CREATE INDEX ON expiring_grants (expires_at);
