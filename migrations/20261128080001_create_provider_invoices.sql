-- Providers' invoices as operators import them, summed by day and model, to be compared with what the event log says
-- that providers cost. They move no money: rows are added, and nothing reads them but that comparison.
CREATE TABLE provider_invoices (
    -- UUIDv7: the order of lists.
    invoice_id uuid PRIMARY KEY,
    provider text NOT NULL,
    -- Over the file: the same one is imported once.
    digest bytea NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    -- Lines of the file.
    lines integer NOT NULL,
    -- As actors of events are named.
    imported_by text NOT NULL,
    imported_at timestamptz NOT NULL,
    UNIQUE (provider, digest)
);

CREATE TABLE provider_invoice_days (
    invoice_id uuid NOT NULL REFERENCES provider_invoices,
    day date NOT NULL,
    -- As the provider calls it.
    model text NOT NULL,
    -- Absent where the invoice counts none.
    tokens bigint,
    cost_micro bigint NOT NULL,
    PRIMARY KEY (invoice_id, day, model)
);
