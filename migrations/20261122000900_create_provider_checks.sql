-- What each node found when it checked a provider. Rows are only ever added, and deleted when they are old; what a
-- check cost stands in the event log as any generation of the operator's does.
CREATE TABLE provider_checks (
    -- The order of lists.
    position bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    node text NOT NULL,
    provider text NOT NULL,
    upstream_model text NOT NULL,
    -- The model whose prices counted.
    model text NOT NULL,
    -- 'ok', 'slow', a failure's class, 'timed_out', or 'not_sent'.
    class text NOT NULL,
    latency_ms integer NOT NULL,
    -- Why not, for the operator.
    message text,
    -- Of the generation it was, where one was settled.
    generation_id uuid,
    cost_micro bigint,
    checked_at timestamptz NOT NULL
);

CREATE INDEX provider_checks_by_target ON provider_checks (provider, upstream_model, checked_at);
CREATE INDEX provider_checks_by_age ON provider_checks (checked_at);
