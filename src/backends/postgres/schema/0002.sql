-- Version 2: the events of one caller, without the loops that a batch of several needs.

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

-- The same for several events. An id that the stream holds already fails the statement: to look for
-- each before costs as much as to insert them.
CREATE FUNCTION @schema@.append_page_v1(
    channel text,
    wanted_stream text,
    maker uuid,
    wanted_base bigint,
    -- The next version that is expected; null: any; -1: any but 0.
    expected bigint,
    -- The greatest of recorded.
    last_recorded bigint,
    event_ids uuid[],
    digests bytea[],
    event_types text[],
    schema_versions bigint[],
    content_types text[],
    metadatas text[],
    payloads bytea[],
    occurred bigint[],
    recorded bigint[],
    sizes integer[]
) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off
AS $$
DECLARE
    number bigint;
    open boolean;
    made_by uuid;
    base bigint;
    place bigint;
    floor bigint;
BEGIN
    SELECT s.number, s.closed IS NULL, s.made_by, s.base, s.next_version, s.recorded_at
    INTO number, open, made_by, base, place, floor
    FROM @schema@.streams s
    WHERE s.stream_id = wanted_stream FOR NO KEY UPDATE SKIP LOCKED;
    place := coalesce(place, wanted_base);
    IF open
        AND made_by IS NOT DISTINCT FROM maker
        AND coalesce(base, wanted_base) = wanted_base
        AND (expected IS NULL OR expected = place OR (expected = -1 AND place > 0))
    THEN
        -- The unique index of ids looks behind the lock (I8).
        INSERT INTO @schema@.events (
            stream, version, recorded_at, occurred_at, schema_version, size, event_id, digest,
            event_type, content_type, metadata, payload
        )
        SELECT number, place + u.ordinal - 1, greatest(u.recorded_at, floor), u.occurred_at,
            u.schema_version, u.size, u.event_id, u.digest, u.event_type, u.content_type,
            u.metadata::jsonb, u.payload
        FROM unnest(
            event_ids, digests, event_types, schema_versions, content_types, metadatas, payloads,
            occurred, recorded, sizes
        ) WITH ORDINALITY AS u(
            event_id, digest, event_type, schema_version, content_type, metadata, payload,
            occurred_at, recorded_at, size, ordinal
        );
        UPDATE @schema@.streams s
        SET base = wanted_base, next_version = place + cardinality(event_ids),
            recorded_at = greatest(floor, last_recorded)
        WHERE s.stream_id = wanted_stream;
        IF channel IS NOT NULL THEN
            PERFORM pg_notify(channel, wanted_stream);
        END IF;
        RETURN place;
    END IF;
    RETURN NULL;
END
$$;
