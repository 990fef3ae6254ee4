-- What must not stand in the event log: personal data, which can be erased, and sealed copies of tokens, which only a
-- key from the configuration opens. Events name a person or a key by its id.
CREATE TABLE persons (
    person_id uuid PRIMARY KEY,
    name text,
    email text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- ciphertext is XChaCha20-Poly1305 with key_id as associated data; sealing_key_id names the key that opens it.
CREATE TABLE sealed_tokens (
    key_id uuid PRIMARY KEY,
    sealing_key_id text NOT NULL,
    nonce bytea NOT NULL CHECK (octet_length(nonce) = 24),
    ciphertext bytea NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now()
);
