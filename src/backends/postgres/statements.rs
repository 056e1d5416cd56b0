//! The statements, with the schema's name in them. None is given a name at the server.

pub(super) struct Statements {
    pub(super) append: String,
    pub(super) append_together: String,
    pub(super) append_one: String,
    pub(super) append_page: String,
    pub(super) close: String,
    pub(super) create: String,
    pub(super) tail: String,
    pub(super) read: String,
    pub(super) find: String,
    pub(super) mark_removed: String,
    pub(super) delete_events: String,
    pub(super) get_document: String,
    pub(super) list_documents: String,
    pub(super) put_new_document: String,
    pub(super) replace_document: String,
    pub(super) delete_document: String,
}

impl Statements {
    pub(super) fn of(schema: &str) -> Self {
        let within = |text: &str| text.replace('@', schema);
        Self {
            append: within(
                "SELECT * FROM @.append_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, \
                 $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)",
            ),
            append_together: within(
                "SELECT @.append_together_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
                 AS firsts",
            ),
            append_one: within(
                "SELECT @.append_one_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15) AS version",
            ),
            append_page: within(
                "SELECT @.append_page_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15, $16) AS version",
            ),
            close: within("SELECT * FROM @.close_v1($1, $2, $3, $4, $5::text::jsonb)"),
            create: within(
                "INSERT INTO @.streams (stream_id, header, made_by, base, next_version) \
                 VALUES ($1, $2::text::jsonb, $3, $4, $4) ON CONFLICT (stream_id) DO NOTHING",
            ),
            tail: within(
                "SELECT header::text AS tail_header, base AS tail_base, \
                 next_version AS tail_next, recorded_at AS tail_recorded_at, \
                 closed::text AS tail_closed, removed AS tail_removed \
                 FROM @.streams WHERE stream_id = $1",
            ),
            read: within("SELECT * FROM @.read_v1($1, $2, $3, $4)"),
            find: within(
                "SELECT s.next_version AS tail_next, s.closed::text AS tail_closed, \
                 s.removed AS tail_removed, i.place, e.version, e.digest FROM @.streams s \
                 LEFT JOIN LATERAL unnest($2) WITH ORDINALITY AS i(event_id, place) ON true \
                 LEFT JOIN @.events e ON e.stream = s.number AND e.event_id = i.event_id \
                 WHERE s.stream_id = $1",
            ),
            mark_removed: within(
                "WITH found AS (SELECT stream_id, closed FROM @.streams WHERE stream_id = $1), \
                 marked AS (UPDATE @.streams s SET removed = true FROM found \
                 WHERE s.stream_id = found.stream_id AND s.closed IS NOT NULL AND NOT s.removed) \
                 SELECT closed IS NOT NULL AS is_closed FROM found",
            ),
            delete_events: within(
                "DELETE FROM @.events WHERE (stream, version) IN \
                 (SELECT e.stream, e.version FROM @.events e \
                 JOIN @.streams s ON s.number = e.stream \
                 WHERE s.stream_id = $1 AND s.removed ORDER BY e.version LIMIT $2)",
            ),
            get_document: within("SELECT etag, body FROM @.documents WHERE key = $1"),
            list_documents: within(
                "SELECT key, etag, body FROM @.documents WHERE key >= $1 AND key > $2 \
                 AND ($3 IS NULL OR key < $3) ORDER BY key LIMIT $4",
            ),
            put_new_document: within(
                "INSERT INTO @.documents (key, etag, body) \
                 VALUES ($1, nextval('@.document_etags'), $2) \
                 ON CONFLICT (key) DO NOTHING RETURNING etag",
            ),
            replace_document: within(
                "UPDATE @.documents SET etag = nextval('@.document_etags'), body = $2 \
                 WHERE key = $1 AND etag = $3 RETURNING etag",
            ),
            delete_document: within("DELETE FROM @.documents WHERE key = $1 AND etag = $2"),
        }
    }
}
