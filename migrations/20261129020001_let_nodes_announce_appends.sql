-- A notification with every commit woke every node's listener each time, its own among them, which shows where requests
-- come one by one. Nodes now gather what they have appended and announce it beside the commit.
-- Appends whole commands, all or none, in the order given, and returns the positions in that order.
-- One lock, taken first, makes commit order the order of positions. A node that announces by itself what it appends gives
-- no p_node; otherwise the other nodes are notified with the commit.
CREATE OR REPLACE FUNCTION append_events(
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
               e.event_version, public.plain_json(e.payload), public.plain_json(e.metadata), e.hash,
               sha256(convert_to(e.payload, 'UTF8')), e.recorded_at
        FROM unnest(p_event_ids, p_aggregate_types, p_aggregate_ids, p_sequences, p_event_types,
                    p_event_versions, p_payloads, p_metadata, p_hashes, p_recorded_at)
             WITH ORDINALITY AS e(event_id, aggregate_type, aggregate_id, sequence, event_type,
                                  event_version, payload, metadata, hash, recorded_at, place)
        ORDER BY e.place
        RETURNING position
    )
    SELECT array_agg(position ORDER BY position) INTO v_positions FROM inserted;

    IF cardinality(p_keys) > 0 THEN
        INSERT INTO public.idempotency_keys (command, account, key, inputs_digest, keep_forever, streams)
        SELECT k.command, k.account, k.key, k.digest, k.keep_forever, k.streams::jsonb
        FROM unnest(p_key_commands, p_key_accounts, p_keys, p_key_digests, p_key_keep_forever, p_key_streams)
             AS k(command, account, key, digest, keep_forever, streams);
    END IF;

    IF p_node IS NOT NULL AND v_positions IS NOT NULL THEN
        PERFORM pg_notify('events_appended',
            p_node || ' ' || v_positions[1] || ' ' || v_positions[array_upper(v_positions, 1)]);
    END IF;
    RETURN COALESCE(v_positions, ARRAY[]::bigint[]);
END
$$;
