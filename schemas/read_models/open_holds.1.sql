CREATE TABLE open_holds (generation_id uuid PRIMARY KEY, account_id uuid NOT NULL, key_id uuid NOT NULL, family text NOT NULL, model text NOT NULL, amount_micro bigint NOT NULL, worst_micro bigint NOT NULL, provider text NOT NULL, upstream_model text NOT NULL, attempt int NOT NULL, node uuid NOT NULL, placed_at timestamptz NOT NULL, position bigint NOT NULL);
CREATE INDEX ON open_holds (account_id, position);
CREATE INDEX ON open_holds (position);
CREATE INDEX ON open_holds (node);
CREATE INDEX ON open_holds (placed_at);
