-- Version 3: the events of many callers, without the loop that judges each by itself.

-- Appends to each stream all that is meant for it, or nothing. It says what it took and no more;
-- append_v1 says why the rest was not taken. It waits for nobody: a row that others hold counts as
-- absent. What it judges it judges as append_v1 does. An id that the stream holds already fails the
-- statement, for all.
--
-- Numbers of several kinds share an array, since the server spends more on a parameter than on what
-- is in it.
CREATE FUNCTION @schema@.append_together_v1(
    channel text,
    heard text,
    -- Each stream once.
    stream_ids text[],
    -- Null: all were made by clients.
    makers uuid[],
    -- Four of each for a stream: base, the next version that is expected (null: any; -1: any but 0),
    -- how many events, and the greatest of their recorded.
    wanted bigint[],
    event_ids uuid[],
    -- Six of each for an event: the place of its stream, from 1; its own place in what is meant for
    -- the stream, from 0; schema version, occurred (or null), recorded, size.
    numbers bigint[],
    event_types text[],
    content_types text[],
    -- Null: no event has any.
    metadatas text[],
    -- The digest, 32 bytes, then the payload.
    bodies bytea[]
-- The first version that each stream gave; null where it took nothing.
) RETURNS bigint[] LANGUAGE plpgsql
-- As in append_v1: the plans that suit large tables, also while they are small.
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    places bigint[];
    stream_numbers bigint[];
    firsts bigint[];
    floors bigint[];
    all_numbers bigint[];
    all_firsts bigint[];
    all_floors bigint[];
BEGIN
    -- The second part finds a row where the first one saw it. One that others replaced since the
    -- statement began is locked, but not found there: then nothing was taken.
    WITH held AS (
        SELECT s.ctid AS row, t.place, s.recorded_at AS floor
        FROM unnest(stream_ids) WITH ORDINALITY AS t(stream_id, place)
        JOIN @schema@.streams s ON s.stream_id = t.stream_id
        WHERE s.closed IS NULL
            AND s.made_by IS NOT DISTINCT FROM makers[t.place]
            AND coalesce(s.base, wanted[4 * t.place - 3]) = wanted[4 * t.place - 3]
            AND (
                wanted[4 * t.place - 2] IS NULL
                OR wanted[4 * t.place - 2] = coalesce(s.next_version, wanted[4 * t.place - 3])
                OR (
                    wanted[4 * t.place - 2] = -1
                    AND coalesce(s.next_version, wanted[4 * t.place - 3]) > 0
                )
            )
        FOR NO KEY UPDATE OF s SKIP LOCKED
    ), taken AS (
        UPDATE @schema@.streams s
        SET base = wanted[4 * h.place - 3],
            next_version = coalesce(s.next_version, wanted[4 * h.place - 3])
                + wanted[4 * h.place - 1],
            recorded_at = greatest(s.recorded_at, wanted[4 * h.place])
        FROM held h WHERE s.ctid = h.row
        RETURNING h.place, s.number, s.next_version - wanted[4 * h.place - 1] AS first, h.floor
    )
    SELECT array_agg(t.place), array_agg(t.number), array_agg(t.first), array_agg(t.floor)
    INTO places, stream_numbers, firsts, floors
    FROM (SELECT * FROM taken ORDER BY place) AS t;

    IF places IS NULL THEN
        RETURN array_fill(NULL::bigint, ARRAY[cardinality(stream_ids)]);
    END IF;
    IF cardinality(places) < cardinality(stream_ids) THEN
        all_numbers := array_fill(NULL::bigint, ARRAY[cardinality(stream_ids)]);
        all_firsts := all_numbers;
        all_floors := all_numbers;
        FOR i IN 1 .. cardinality(places) LOOP
            all_numbers[places[i]] := stream_numbers[i];
            all_firsts[places[i]] := firsts[i];
            all_floors[places[i]] := floors[i];
        END LOOP;
        stream_numbers := all_numbers;
        firsts := all_firsts;
        floors := all_floors;
    END IF;

    -- The unique index of ids looks behind the locks (I8).
    INSERT INTO @schema@.events (
        stream, version, recorded_at, occurred_at, schema_version, size, event_id, digest,
        event_type, content_type, metadata, payload
    )
    SELECT stream_numbers[numbers[6 * e.place - 5]],
        firsts[numbers[6 * e.place - 5]] + numbers[6 * e.place - 4],
        greatest(numbers[6 * e.place - 1], floors[numbers[6 * e.place - 5]]),
        numbers[6 * e.place - 2], numbers[6 * e.place - 3], numbers[6 * e.place], e.event_id,
        substring(e.body FROM 1 FOR 32), e.event_type, e.content_type,
        metadatas[e.place]::jsonb, substring(e.body FROM 33)
    FROM unnest(event_ids, event_types, content_types, bodies)
        WITH ORDINALITY AS e(event_id, event_type, content_type, body, place)
    WHERE firsts[numbers[6 * e.place - 5]] IS NOT NULL;

    IF channel IS NOT NULL THEN
        PERFORM pg_notify(channel, heard);
    END IF;
    RETURN firsts;
END
$$;
