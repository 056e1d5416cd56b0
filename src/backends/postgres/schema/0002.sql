-- Version 2: one event of one caller, without the arrays and loops that a batch needs.

-- Appends one event, or does nothing: then the answer is null, and append_v1 says why. It waits for
-- nobody: a row that others hold counts as absent. What it judges it judges as append_v1 does.
CREATE FUNCTION @schema@.append_one_v1(
    channel text,
    wanted_stream text,
    maker uuid,
    wanted_base bigint,
    -- The next version that is expected; null: any; -1: any but 0.
    expected bigint,
    new_id uuid,
    new_digest bytea,
    new_type text,
    new_schema bigint,
    new_content text,
    new_metadata text,
    new_payload bytea,
    new_occurred bigint,
    new_recorded bigint,
    new_size integer
) RETURNS bigint LANGUAGE plpgsql
-- As in append_v1: the plans that suit large tables, also while they are small.
SET enable_seqscan = off
AS $$
DECLARE
    number bigint;
    open boolean;
    made_by uuid;
    base bigint;
    place bigint;
    recorded bigint;
BEGIN
    SELECT s.number, s.closed IS NULL, s.made_by, s.base, s.next_version, s.recorded_at
    INTO number, open, made_by, base, place, recorded
    FROM @schema@.streams s
    WHERE s.stream_id = wanted_stream FOR NO KEY UPDATE SKIP LOCKED;
    place := coalesce(place, wanted_base);
    -- The look for the id is a statement of its own, behind the lock (I8).
    IF open
        AND made_by IS NOT DISTINCT FROM maker
        AND coalesce(base, wanted_base) = wanted_base
        AND (expected IS NULL OR expected = place OR (expected = -1 AND place > 0))
        AND NOT EXISTS (
            SELECT FROM @schema@.events e WHERE e.stream = number AND e.event_id = new_id
        )
    THEN
        recorded := greatest(recorded, new_recorded);
        INSERT INTO @schema@.events (
            stream, version, recorded_at, occurred_at, schema_version, size, event_id, digest,
            event_type, content_type, metadata, payload
        ) VALUES (
            number, place, recorded, new_occurred, new_schema, new_size, new_id, new_digest,
            new_type, new_content, new_metadata::jsonb, new_payload
        );
        UPDATE @schema@.streams s
        SET base = wanted_base, next_version = place + 1, recorded_at = recorded
        WHERE s.stream_id = wanted_stream;
        IF channel IS NOT NULL THEN
            PERFORM pg_notify(channel, wanted_stream);
        END IF;
        RETURN place;
    END IF;
    RETURN NULL;
END
$$;
