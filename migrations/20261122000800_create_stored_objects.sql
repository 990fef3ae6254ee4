-- What customers may fetch again: responses and chat completions, with what was asked. Prompts and answers never stand
-- in the event log; here they can be deleted, and are when they expire. An owner is an account or, for the operator's
-- own generations, a key. Bodies are text, so that they are given back as they were.
CREATE TABLE stored_responses (
    owner_id uuid NOT NULL,
    response_id text NOT NULL,
    model text NOT NULL,
    status text NOT NULL
        CHECK (status IN ('queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled')),
    background boolean NOT NULL DEFAULT false,
    -- The whole input as a JSON array, earlier responses' included.
    input text NOT NULL,
    -- The response object as the client got it.
    body text NOT NULL,
    previous_response_id text,
    generation_id uuid,
    -- The incarnation that runs a background response.
    node uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, response_id)
);

CREATE INDEX stored_responses_by_expiry ON stored_responses (expires_at);
CREATE INDEX stored_responses_running ON stored_responses (node) WHERE status IN ('queued', 'in_progress');

CREATE TABLE stored_completions (
    -- The order of lists.
    position bigint GENERATED ALWAYS AS IDENTITY,
    owner_id uuid NOT NULL,
    completion_id text NOT NULL,
    model text NOT NULL,
    -- The request's messages as a JSON array.
    messages text NOT NULL,
    -- The completion object as the client got it.
    body text NOT NULL,
    -- Up to 16 texts by name.
    metadata jsonb NOT NULL DEFAULT '{}',
    generation_id uuid,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, completion_id)
);

CREATE UNIQUE INDEX stored_completions_by_position ON stored_completions (owner_id, position);
CREATE INDEX stored_completions_by_expiry ON stored_completions (expires_at);
