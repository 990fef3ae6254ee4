-- Which keys this database's digests were made under. Under another key every issued token would be
-- unknown, and nothing would say why; so a process with another key is refused at start.
CREATE TABLE deployment_keys (
    name text PRIMARY KEY,
    -- A keyed digest of a constant; it says nothing about the key.
    fingerprint text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT now()
);
