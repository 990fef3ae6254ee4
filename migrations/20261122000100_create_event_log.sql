-- The event log: the one truth, from which everything else can be made again.
--
-- Rows come in through append_events() alone and never change. The function's lock makes commit order
-- the order of `position`, so that a reader may go on with a plain `position > last` and miss nothing.
-- The columns that stock postgres-es knows are kept under its names: it serves as the independent reader.

CREATE TABLE events (
    -- Total order; holes are possible.
    position       bigint      NOT NULL GENERATED ALWAYS AS IDENTITY,
    -- For audit: which transaction stored it.
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    event_id       uuid        NOT NULL,
    aggregate_type text        NOT NULL,
    aggregate_id   text        NOT NULL,
    -- 1 for a stream's first event, without holes.
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    event_type     text        NOT NULL,
    event_version  text        NOT NULL,
    payload        jsonb       NOT NULL,
    metadata       jsonb       NOT NULL,
    -- SHA-256 over the stream's previous hash and everything above but position and xid.
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    -- SHA-256 of the canonical payload alone: tells an edited payload from edited metadata.
    payload_digest bytea       NOT NULL CHECK (octet_length(payload_digest) = 32),
    recorded_at    timestamptz NOT NULL,
    -- The double-spend guard: two writers cannot both write a stream's next event.
    CONSTRAINT events_pkey PRIMARY KEY (aggregate_type, aggregate_id, sequence),
    CONSTRAINT events_position_key UNIQUE (position)
);

-- What a caller's idempotency key led to, stored in the transaction of the events themselves.
CREATE TABLE idempotency_keys (
    command       text        NOT NULL,
    -- An account id, or `system`.
    account       text        NOT NULL,
    key           text        NOT NULL,
    inputs_digest bytea       NOT NULL CHECK (octet_length(inputs_digest) = 32),
    keep_forever  boolean     NOT NULL,
    -- [{"type", "id", "first", "last"}]: the sequences written, per stream; last < first where none was.
    streams       jsonb       NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (command, account, key)
);

CREATE INDEX idempotency_keys_purgeable ON idempotency_keys (created_at) WHERE NOT keep_forever;

-- Folded state of long streams, for a quick cold start only. Losing it costs time, never data.
CREATE TABLE snapshots_cache (
    aggregate_type   text        NOT NULL,
    aggregate_id     text        NOT NULL,
    -- The digest of the code that folded it; other code ignores it.
    code_version     text        NOT NULL,
    sequence         bigint      NOT NULL,
    state            jsonb       NOT NULL,
    last_hash        bytea       NOT NULL,
    last_recorded_at timestamptz NOT NULL,
    PRIMARY KEY (aggregate_type, aggregate_id)
);

-- Appends whole commands, all or none, in the order given, and returns the positions in that order.
-- One lock, taken first, makes commit order the order of positions; one notification per call.
CREATE FUNCTION append_events(
    p_node             text,
    p_event_ids        uuid[],
    p_aggregate_types  text[],
    p_aggregate_ids    text[],
    p_sequences        bigint[],
    p_event_types      text[],
    p_event_versions   text[],
    p_payloads         text[],
    p_metadata         text[],
    p_hashes           bytea[],
    p_recorded_at      timestamptz[],
    p_key_commands     text[],
    p_key_accounts     text[],
    p_keys             text[],
    p_key_digests      bytea[],
    p_key_keep_forever boolean[],
    p_key_streams      text[]
) RETURNS bigint[]
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp
SET codexapi.appending = 'on'
AS $$
DECLARE
    v_positions bigint[];
BEGIN
    -- The event log's lock; nothing else uses this number.
    PERFORM pg_advisory_xact_lock(7263542001);

    WITH inserted AS (
        INSERT INTO public.events (event_id, aggregate_type, aggregate_id, sequence, event_type,
                                   event_version, payload, metadata, hash, payload_digest, recorded_at)
        SELECT e.event_id, e.aggregate_type, e.aggregate_id, e.sequence, e.event_type,
               e.event_version, e.payload::jsonb, e.metadata::jsonb, e.hash,
               sha256(convert_to(e.payload, 'UTF8')), e.recorded_at
        FROM unnest(p_event_ids, p_aggregate_types, p_aggregate_ids, p_sequences, p_event_types,
                    p_event_versions, p_payloads, p_metadata, p_hashes, p_recorded_at)
             WITH ORDINALITY AS e(event_id, aggregate_type, aggregate_id, sequence, event_type,
                                  event_version, payload, metadata, hash, recorded_at, place)
        ORDER BY e.place
        RETURNING position
    )
    SELECT array_agg(position ORDER BY position) INTO v_positions FROM inserted;

    INSERT INTO public.idempotency_keys (command, account, key, inputs_digest, keep_forever, streams)
    SELECT k.command, k.account, k.key, k.digest, k.keep_forever, k.streams::jsonb
    FROM unnest(p_key_commands, p_key_accounts, p_keys, p_key_digests, p_key_keep_forever, p_key_streams)
         AS k(command, account, key, digest, keep_forever, streams);

    IF v_positions IS NOT NULL THEN
        PERFORM pg_notify('events_appended',
            p_node || ' ' || v_positions[1] || ' ' || v_positions[array_upper(v_positions, 1)]);
    END IF;
    RETURN COALESCE(v_positions, ARRAY[]::bigint[]);
END
$$;

-- Grants do not bind a table's owner; these do, short of switching triggers off on purpose.
CREATE FUNCTION refuse_change_of_events() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, public, pg_temp
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND current_setting('codexapi.appending', true) = 'on' THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% on events is refused', TG_OP
        USING HINT = 'Events are added by append_events() and never changed; a correction is a new event.',
              ERRCODE = 'insufficient_privilege';
END
$$;

CREATE TRIGGER events_only_appended
    BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change_of_events();

REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON events FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION append_events FROM PUBLIC;
