-- From which networks a key may be used. Addresses are personal data and can be erased, so they stand here and not in
-- the event log, whose account.key_limits_set only says that there is such a list. Where that says so and no row is
-- left, the key works from nowhere.
CREATE TABLE key_networks (
    key_id uuid NOT NULL,
    cidr cidr NOT NULL,
    PRIMARY KEY (key_id, cidr)
);
