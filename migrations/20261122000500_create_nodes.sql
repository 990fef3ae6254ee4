-- Which node incarnations are alive. A hold names the incarnation that serves it; when that one is
-- dead, the hold is expired. Leases are judged by the database's clock alone, so nodes need not agree.
CREATE TABLE nodes (
    incarnation uuid PRIMARY KEY,
    name text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    renewed_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz
);

CREATE INDEX nodes_by_name ON nodes (name) WHERE ended_at IS NULL;
