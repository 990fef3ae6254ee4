-- What operators write beside a movement of credit. Free text never stands in the log, and here it can be erased;
-- the event carries the movement's id (a grant's or an adjustment's).
CREATE TABLE wallet_notes (
    movement_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    note text NOT NULL CHECK (char_length(note) <= 500),
    written_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON wallet_notes (account_id);

-- Operators find a person by how the name or the address begins.
CREATE INDEX ON persons (lower(name) text_pattern_ops);
CREATE INDEX ON persons (lower(email) text_pattern_ops);
