//! What people who look with SQL see.

use streamgate::testing::builders::EventBuilder;

use super::kit::{append, hand, open, options, read_all, stream, url};

#[tokio::test(flavor = "multi_thread")]
async fn json_payloads_are_shown_as_jsonb_and_nothing_else_is() {
    let options = options();
    let store = open(&options).await.unwrap();
    let orders = stream(&store, "1").await;
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let rows: [(&str, &[u8], Option<&str>); 10] = [
        ("application/json", b"{\"b\": 1.0, \"a\": [2]}", Some("{\"a\": [2], \"b\": 1.0}")),
        ("application/json; charset=utf-8", b"1", Some("1")),
        ("application/vnd.order+json", "\"\u{e9}\"".as_bytes(), Some("\"\u{e9}\"")),
        ("APPLICATION/JSON", b"null", Some("null")),
        ("application/json", b"{", None),
        ("application/json", b"\xff\xfe", None),
        ("application/json", b"\"\\u0000\"", None),
        ("application/json", deep.as_bytes(), None),
        ("application/jsonlines", b"1", None),
        ("", b"1", None),
    ];
    let sent: Vec<_> = (0..)
        .zip(&rows)
        .map(|(number, (content_type, payload, _))| {
            let event = EventBuilder::new(number).content_type(content_type);
            event.payload(payload.to_vec()).build()
        })
        .collect();
    append(&store, &orders, sent.clone()).await.unwrap();
    let look = format!(
        "SELECT json::text, metadata ->> 'number', recorded_at = '2023-11-14 22:13:20+00' \
         FROM {}.events_readable WHERE stream_id = $1 ORDER BY version",
        options.schema
    );
    let seen = hand(&url()).await.query(&look, &[&orders.as_str()]).await.unwrap();
    assert_eq!(seen.len(), rows.len());
    for (place, (row, (content_type, _, json))) in seen.iter().zip(&rows).enumerate() {
        assert_eq!(row.get::<_, Option<&str>>(0), *json, "{place}: {content_type}");
        assert_eq!(row.get::<_, &str>(1), place.to_string());
        assert!(row.get::<_, bool>(2));
    }
    assert_eq!(read_all(&store, &orders).await, sent, "bytes stay as they were");
}
