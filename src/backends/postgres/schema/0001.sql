-- Streamgate's schema, version 1. @schema@ stands for its quoted name.
--
-- One row of "streams" decides about its stream: every append and close locks it, judges by it and
-- replaces it in the same transaction. It is never deleted, so the id of a stream that ended is
-- never free again.

CREATE TABLE @schema@.schema_version (
    version integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE @schema@.streams (
    number bigint GENERATED ALWAYS AS IDENTITY,
    stream_id text COLLATE "C" PRIMARY KEY,
    header jsonb NOT NULL,
    made_by uuid,
    base bigint,
    -- The version that the next event takes: head + 1. Null while there is no base.
    next_version bigint,
    recorded_at bigint,
    closed jsonb,
    removed boolean NOT NULL DEFAULT false,
    CHECK ((base IS NULL) = (next_version IS NULL)),
    CHECK (next_version >= base),
    CHECK (closed IS NOT NULL OR NOT removed)
-- Room beside each row, so that its next state lies on the same page and no index is touched.
) WITH (fillfactor = 50);

CREATE TABLE @schema@.events (
    stream bigint NOT NULL,
    version bigint NOT NULL,
    recorded_at bigint NOT NULL,
    occurred_at bigint,
    schema_version bigint NOT NULL,
    size integer NOT NULL,
    event_id uuid NOT NULL,
    digest bytea NOT NULL,
    event_type text NOT NULL,
    content_type text NOT NULL,
    metadata jsonb,
    payload bytea NOT NULL,
    PRIMARY KEY (stream, version)
);

CREATE UNIQUE INDEX events_by_id ON @schema@.events (stream, event_id);

-- An etag is a number of this sequence, and no number comes twice.
CREATE SEQUENCE @schema@.document_etags;

CREATE TABLE @schema@.documents (
    key text COLLATE "C" PRIMARY KEY,
    etag bigint NOT NULL,
    body bytea NOT NULL
);

-- Appends of several callers, judged one by one. What is not taken is told with all that the
-- refusal depends on, as it was at that place in the order; its neighbours are not undone.
--
-- The settings keep the plans that suit a large table also while the tables are small: a plan is
-- made once in a session, and tables grow.
CREATE FUNCTION @schema@.append_v1(
    -- Wait for rows that others hold; else their streams are passed over as if they were absent.
    patient boolean,
    channel text,
    heard text,
    -- Each stream once.
    stream_ids text[],
    -- One of each for an append. The places in stream_ids count from 1.
    append_streams integer[],
    makers uuid[],
    bases bigint[],
    -- The next version that is expected; null: any; -1: any but 0.
    expected bigint[],
    counts integer[],
    last_recorded bigint[],
    -- One of each for an event. The places in append_streams count from 1.
    event_appends integer[],
    event_offsets integer[],
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
) RETURNS TABLE (
    -- In the last row, where append is null: the first version of each append that was taken.
    firsts bigint[],
    append integer,
    -- Null: no such stream, or passed over.
    tail_header text,
    tail_base bigint,
    tail_next bigint,
    tail_recorded_at bigint,
    tail_closed text,
    tail_removed boolean,
    known_places bigint[],
    known_versions bigint[],
    known_digests bytea[]
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '5s'
AS $$
DECLARE
    row record;
    t_number bigint[];
    t_open boolean[];
    t_maker uuid[];
    t_base bigint[];
    t_next bigint[];
    t_recorded bigint[];
    t_changed boolean[];
    floors bigint[];
    hit_appends integer[];
    hit_places bigint[];
    hit_versions bigint[];
    hit_digests bytea[];
    taken integer := 0;
    stream integer;
    place bigint;
BEGIN
    FOR i IN 1 .. cardinality(stream_ids) LOOP
        IF patient THEN
            SELECT s.number, s.closed IS NULL AS open, s.made_by, s.base, s.next_version,
                s.recorded_at
            INTO row FROM @schema@.streams s
            WHERE s.stream_id = stream_ids[i] FOR NO KEY UPDATE;
        ELSE
            SELECT s.number, s.closed IS NULL AS open, s.made_by, s.base, s.next_version,
                s.recorded_at
            INTO row FROM @schema@.streams s
            WHERE s.stream_id = stream_ids[i] FOR NO KEY UPDATE SKIP LOCKED;
        END IF;
        t_number[i] := row.number;
        t_open[i] := row.open;
        t_maker[i] := row.made_by;
        t_base[i] := row.base;
        t_next[i] := row.next_version;
        t_recorded[i] := row.recorded_at;
        t_changed[i] := false;
    END LOOP;

    -- A statement of its own, behind the locks: it sees all that was appended before them (I8).
    SELECT array_agg(u.append), array_agg(u.place), array_agg(e.version), array_agg(e.digest)
    INTO hit_appends, hit_places, hit_versions, hit_digests
    FROM unnest(event_appends, event_ids) WITH ORDINALITY AS u(append, event_id, place)
    CROSS JOIN LATERAL (
        SELECT k.version, k.digest FROM @schema@.events k
        WHERE k.stream = t_number[append_streams[u.append]] AND k.event_id = u.event_id
        OFFSET 0
    ) AS e;

    -- Whole from the start: a place that is set alone would be the first of its array.
    firsts := array_fill(NULL::bigint, ARRAY[cardinality(append_streams)]);
    FOR i IN 1 .. cardinality(append_streams) LOOP
        stream := append_streams[i];
        place := coalesce(t_next[stream], bases[i]);
        IF t_open[stream]
            AND t_maker[stream] IS NOT DISTINCT FROM makers[i]
            AND coalesce(t_base[stream], bases[i]) = bases[i]
            AND (expected[i] IS NULL OR expected[i] = place OR (expected[i] = -1 AND place > 0))
            AND (hit_appends IS NULL OR NOT i = ANY (hit_appends))
        THEN
            firsts[i] := place;
            floors[i] := t_recorded[stream];
            t_base[stream] := bases[i];
            t_next[stream] := place + counts[i];
            t_recorded[stream] := greatest(t_recorded[stream], last_recorded[i]);
            t_changed[stream] := true;
            taken := taken + 1;
        ELSE
            append := i;
            tail_base := t_base[stream];
            tail_next := t_next[stream];
            tail_recorded_at := t_recorded[stream];
            tail_header := NULL;
            IF t_number[stream] IS NOT NULL THEN
                SELECT s.header::text, s.closed::text, s.removed
                INTO tail_header, tail_closed, tail_removed
                FROM @schema@.streams s WHERE s.stream_id = stream_ids[stream];
                SELECT array_agg(u.place), array_agg(u.version), array_agg(u.digest)
                INTO known_places, known_versions, known_digests
                FROM unnest(hit_appends, hit_places, hit_versions, hit_digests)
                    AS u(append, place, version, digest)
                WHERE u.append = i;
            END IF;
            RETURN NEXT;
        END IF;
    END LOOP;

    IF taken > 0 THEN
        INSERT INTO @schema@.events (
            stream, version, recorded_at, occurred_at, schema_version, size, event_id, digest,
            event_type, content_type, metadata, payload
        )
        SELECT t_number[append_streams[u.append]], firsts[u.append] + u.place,
            greatest(u.recorded_at, floors[u.append]), u.occurred_at, u.schema_version, u.size,
            u.event_id, u.digest, u.event_type, u.content_type, u.metadata::jsonb, u.payload
        FROM unnest(
            event_appends, event_offsets, event_ids, digests, event_types, schema_versions,
            content_types, metadatas, payloads, occurred, recorded, sizes
        ) AS u(
            append, place, event_id, digest, event_type, schema_version, content_type, metadata,
            payload, occurred_at, recorded_at, size
        )
        WHERE firsts[u.append] IS NOT NULL;

        UPDATE @schema@.streams s
        SET base = u.base, next_version = u.next_version, recorded_at = u.recorded_at
        FROM unnest(stream_ids, t_changed, t_base, t_next, t_recorded)
            AS u(stream_id, changed, base, next_version, recorded_at)
        WHERE u.changed AND s.stream_id = u.stream_id;

        IF channel IS NOT NULL THEN
            PERFORM pg_notify(channel, heard);
        END IF;
    END IF;
    append := NULL;
    RETURN NEXT;
END
$$;

-- Ends a stream at exactly the named head. Tells the stream as it was, and whether it was done.
CREATE FUNCTION @schema@.close_v1(
    channel text,
    wanted_stream text,
    maker uuid,
    -- The head of the close, plus one.
    wanted_next bigint,
    close_event jsonb
) RETURNS TABLE (
    done boolean,
    tail_header text,
    tail_base bigint,
    tail_next bigint,
    tail_recorded_at bigint,
    tail_closed text,
    tail_removed boolean
) LANGUAGE plpgsql
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET lock_timeout = '5s'
AS $$
DECLARE
    row record;
    closed_at bigint;
BEGIN
    SELECT s.* INTO row FROM @schema@.streams s
    WHERE s.stream_id = wanted_stream FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    done := row.closed IS NULL
        AND row.made_by IS NOT DISTINCT FROM maker
        AND coalesce(row.next_version, wanted_next) = wanted_next;
    IF done THEN
        closed_at := greatest((close_event ->> 'closed_at')::bigint, row.recorded_at);
        UPDATE @schema@.streams s
        SET closed = jsonb_set(close_event, '{closed_at}', to_jsonb(closed_at)),
            base = coalesce(s.base, wanted_next), next_version = wanted_next
        WHERE s.stream_id = wanted_stream;
        IF channel IS NOT NULL THEN
            PERFORM pg_notify(channel, wanted_stream);
        END IF;
    END IF;
    tail_header := row.header::text;
    tail_base := row.base;
    tail_next := row.next_version;
    tail_recorded_at := row.recorded_at;
    tail_closed := row.closed::text;
    tail_removed := row.removed;
    RETURN NEXT;
END
$$;

-- The end of a stream in the first row, then its events from a version on, in one snapshot.
CREATE FUNCTION @schema@.read_v1(
    wanted_stream text,
    wanted_from bigint,
    events_max bigint,
    bytes_max bigint
) RETURNS TABLE (
    tail_base bigint,
    tail_next bigint,
    tail_closed text,
    tail_removed boolean,
    version bigint,
    recorded_at bigint,
    occurred_at bigint,
    schema_version bigint,
    event_id uuid,
    digest bytea,
    event_type text,
    content_type text,
    metadata text,
    payload bytea
) LANGUAGE plpgsql STABLE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
#variable_conflict use_column
DECLARE
    wanted_number bigint;
    first_version bigint;
BEGIN
    SELECT s.number, s.base, s.next_version, s.closed::text, s.removed
    INTO wanted_number, tail_base, tail_next, tail_closed, tail_removed
    FROM @schema@.streams s WHERE s.stream_id = wanted_stream;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    RETURN NEXT;
    first_version := greatest(wanted_from, tail_base);
    IF tail_removed OR tail_next IS NULL OR first_version >= tail_next THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT NULL::bigint, NULL::bigint, NULL::text, NULL::boolean, p.version, p.recorded_at,
        p.occurred_at, p.schema_version, p.event_id, p.digest, p.event_type, p.content_type,
        p.metadata::text, p.payload
    FROM (
        SELECT e.*, sum(e.size) OVER (ORDER BY e.version ROWS UNBOUNDED PRECEDING) AS bytes
        FROM (
            SELECT * FROM @schema@.events k
            WHERE k.stream = wanted_number AND k.version >= first_version
            ORDER BY k.version LIMIT events_max
        ) AS e
    ) AS p
    WHERE p.bytes <= bytes_max OR p.version = first_version;
END
$$;

-- For people: a payload as jsonb if it says that it is JSON, and is.
CREATE FUNCTION @schema@.json_of(content_type text, payload bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF content_type !~* '^[a-z0-9.+_-]+/([a-z0-9._-]+[+])?json *(;|$)' THEN
        RETURN NULL;
    END IF;
    RETURN convert_from(payload, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

CREATE VIEW @schema@.events_readable AS
SELECT s.stream_id, e.version, e.event_id, e.event_type, e.schema_version,
    to_timestamp(e.recorded_at / 1e9) AS recorded_at,
    to_timestamp(e.occurred_at / 1e9) AS occurred_at,
    coalesce(e.metadata, '{}') AS metadata, e.content_type,
    @schema@.json_of(e.content_type, e.payload) AS json, e.payload
FROM @schema@.events e JOIN @schema@.streams s ON s.number = e.stream;
