CREATE TABLE operator_queue (position bigint PRIMARY KEY, reasons text[] NOT NULL, generation_id uuid NOT NULL, account_id uuid, provider text, model text, provider_response_id text, first_generation_id uuid, amount_micro bigint NOT NULL, provider_cost_micro bigint NOT NULL, at timestamptz NOT NULL, resolution text, resolved_at timestamptz);
CREATE INDEX ON operator_queue (generation_id);
CREATE INDEX ON operator_queue (position) WHERE resolution IS NULL;
CREATE TABLE provider_responses (provider text NOT NULL, provider_response_id text NOT NULL, generation_id uuid NOT NULL, PRIMARY KEY (provider, provider_response_id));
