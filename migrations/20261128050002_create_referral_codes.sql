-- Whose a referral code is. A code is taken here before the event that issues it: a row that no event names means
-- nothing, and two accounts can never have one code.
CREATE TABLE referral_codes (
    code text PRIMARY KEY,
    account_id uuid NOT NULL UNIQUE
);

-- How far each process that reacts to events has read the log.
CREATE TABLE process_cursors (
    process text PRIMARY KEY,
    position bigint NOT NULL
);
