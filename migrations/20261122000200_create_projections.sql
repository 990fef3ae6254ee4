-- Which version of each projection's tables is read, and how far each version has been folded.
-- The read tables themselves are made by the projections (one definition, not two): every
-- projection lives in tables `<name>_<version>` behind views `<name>`, so that a rebuild can fill
-- the next version beside the live one and swap them in one transaction.

create table projection_versions (
    projection text primary key,
    -- The version behind the views; live events are folded into it.
    active_version int not null check (active_version > 0),
    -- Which form of rows and folding the active version was built with.
    revision int not null
);

create table projection_checkpoints (
    projection text not null references projection_versions (projection),
    version int not null check (version > 0),
    -- Every event up to and including this position is in the version's tables, and none after it.
    position bigint not null check (position >= 0),
    primary key (projection, version)
);
