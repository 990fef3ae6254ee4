-- Ids of a stored response's output items, so that a later request may name them in place of sending them.
ALTER TABLE stored_responses ADD COLUMN item_ids text[] NOT NULL DEFAULT '{}';

CREATE INDEX stored_responses_by_item ON stored_responses USING gin (item_ids);
