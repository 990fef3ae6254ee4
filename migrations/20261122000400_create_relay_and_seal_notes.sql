-- How far the log has been published to JetStream. Written only by the relay, on the very connection
-- that holds its lock, so that a relay that has lost the lock cannot move it.
CREATE TABLE relay_checkpoint (
    shard           integer PRIMARY KEY,
    -- Rises each time the JetStream stream is made anew; messages of an older epoch are void.
    epoch           bigint NOT NULL CHECK (epoch > 0),
    -- The last event that JetStream acknowledged; 0 before the first.
    position        bigint NOT NULL CHECK (position >= 0),
    event_id        uuid,
    -- Its sequence in the JetStream stream.
    stream_sequence bigint NOT NULL CHECK (stream_sequence >= 0),
    moved_at        timestamptz NOT NULL DEFAULT now()
);

-- How far each stream reached when it was last sealed, so that `verify` can name a stream that was cut
-- off. Detection rests on the seals; this gives the name.
CREATE TABLE sealed_stream_heads (
    aggregate_type text   NOT NULL,
    aggregate_id   text   NOT NULL,
    sequence       bigint NOT NULL,
    position       bigint NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);
CREATE INDEX sealed_stream_heads_position ON sealed_stream_heads (position);
