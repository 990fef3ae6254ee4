-- What tells that two accounts are one person's: keyed digests of devices, networks and addresses. Erased with the
-- customer; no event names them. And what else a customer says at sign-up, beside the name and the e-mail address.
CREATE TABLE account_marks (
    account_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('device', 'network', 'email')),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    marked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (kind, digest, account_id)
);
CREATE INDEX account_marks_by_account ON account_marks (account_id);

ALTER TABLE persons ADD COLUMN country text, ADD COLUMN mobile text;
