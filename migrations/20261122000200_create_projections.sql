-- Which version of each projection's tables is read, and how far each version has been folded.
-- The read tables themselves are made by the projections (one definition, not two): every
-- projection lives in tables `<name>_<version>` behind views `<name>`, so that a rebuild can fill
-- the next version beside the live one and swap them in one transaction.

CREATE TABLE projection_versions (
    projection text PRIMARY KEY,
    -- The version behind the views; live events are folded into it.
    active_version int NOT NULL CHECK (active_version > 0),
    -- Which form of rows and folding the active version was built with.
    revision int NOT NULL
);

CREATE TABLE projection_checkpoints (
    projection text NOT NULL REFERENCES projection_versions (projection),
    version int NOT NULL CHECK (version > 0),
    -- Every event up to and including this position is in the version's tables, and none after it.
    position bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (projection, version)
);
