//! The schema is made once, told from others, and left alone when it is newer.

use futures::future::join_all;
use streamgate::backends::postgres::{OpenError, PostgresOptions};
use streamgate::domain::ErrorClass;

use super::kit::{append, hand, open, options, read_all, stream, url};
use streamgate::testing::builders::events;

#[tokio::test(flavor = "multi_thread")]
async fn many_processes_make_the_schema_at_once() {
    let options = options();
    let opened = join_all((0..8).map(|_| open(&options))).await;
    for store in opened {
        store.unwrap();
    }
    let made = format!("SELECT count(*) FROM {}.schema_version", options.schema);
    let made: i64 = hand(&url()).await.query_one(&made, &[]).await.unwrap().get(0);
    assert_eq!(made, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_is_there_when_it_is_opened_again() {
    let options = options();
    let store = open(&options).await.unwrap();
    let orders = stream(&store, "1").await;
    append(&store, &orders, events(0..3)).await.unwrap();
    drop(store);
    let again = open(&options).await.unwrap();
    assert_eq!(read_all(&again, &orders).await, events(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_release_is_refused_and_left_alone() {
    let options = options();
    drop(open(&options).await.unwrap());
    let server = hand(&url()).await;
    let newer = format!("INSERT INTO {}.schema_version (version) VALUES (7)", options.schema);
    server.batch_execute(&newer).await.unwrap();
    let refused = open(&options).await.err().unwrap();
    assert!(matches!(refused, OpenError::NewerSchema { found: 7, known: 3, .. }), "{refused}");
    assert_eq!(refused.class(), ErrorClass::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_holds_something_else_is_refused_and_left_alone() {
    let options = options();
    let server = hand(&url()).await;
    let foreign = format!("CREATE SCHEMA {0}; CREATE TABLE {0}.streams (a int)", options.schema);
    server.batch_execute(&foreign).await.unwrap();
    let refused = open(&options).await.err().unwrap();
    assert!(matches!(refused, OpenError::ForeignSchema { .. }), "{refused}");
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = $1";
    let tables: i64 = server.query_one(tables, &[&options.schema]).await.unwrap().get(0);
    assert_eq!(tables, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_exactly() {
    let options = options();
    drop(open(&options).await.unwrap());
    let (server, role) = (hand(&url()).await, format!("{}_app", options.schema));
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {0} TO {role}; \
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA {0} TO {role}",
        options.schema
    );
    server.batch_execute(&grants).await.unwrap();
    let as_app = url_as(&role, None);
    let refused = open(&PostgresOptions { url: as_app.clone(), ..options.clone() }).await;
    let text = refused.err().unwrap().to_string();
    for missing in ["DELETE on table events", "USAGE on sequence document_etags"] {
        assert!(text.contains(missing), "{text}");
    }
    assert!(!text.contains("INSERT"), "{text}");

    let grants = format!(
        "GRANT DELETE ON ALL TABLES IN SCHEMA {0} TO {role}; \
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {0} TO {role}",
        options.schema
    );
    server.batch_execute(&grants).await.unwrap();
    let store = open(&PostgresOptions { url: as_app, ..options.clone() }).await.unwrap();
    let orders = stream(&store, "1").await;
    append(&store, &orders, events(0..3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_make_the_schema_is_told_so() {
    let options = options();
    let role = format!("{}_app", options.schema);
    hand(&url()).await.batch_execute(&format!("CREATE ROLE {role} LOGIN")).await.unwrap();
    let refused = open(&PostgresOptions { url: url_as(&role, None), ..options }).await;
    let refused = refused.err().unwrap();
    assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_and_a_server_that_is_not_are_told_apart() {
    let nowhere = PostgresOptions { url: url_as("streamgate", Some("nowhere")), ..options() };
    let refused = open(&nowhere).await.err().unwrap();
    assert!(matches!(refused, OpenError::Refused { .. }), "{refused}");
    assert!(refused.to_string().contains("nowhere"), "{refused}");
    let url = "postgres://streamgate:hush@127.0.0.1:9/postgres";
    let refused = open(&PostgresOptions::at(url)).await.err().unwrap();
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    assert_eq!(refused.class(), ErrorClass::Unavailable);
    assert!(refused.to_string().contains("streamgate@127.0.0.1:9/postgres"), "{refused}");
    assert!(!format!("{refused:?}").contains("hush"));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_would_break_a_promise_are_refused() {
    let options = options();
    let (server, role) = (hand(&url()).await, format!("{}_app", options.schema));
    server.batch_execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await.unwrap();
    let as_app = PostgresOptions { url: url_as(&role, None), ..options };
    for (setting, value) in
        [("synchronous_commit", "off"), ("default_transaction_isolation", "serializable")]
    {
        let change = format!("ALTER ROLE {role} SET {setting} = '{value}'");
        server.batch_execute(&change).await.unwrap();
        let refused = open(&as_app).await.err().unwrap();
        assert!(matches!(refused, OpenError::Unfit { .. }), "{refused}");
        assert!(refused.to_string().contains(setting), "{refused}");
        server.batch_execute(&format!("ALTER ROLE {role} RESET {setting}")).await.unwrap();
    }
    open(&as_app).await.unwrap();
}

/// The URL of this run as somebody else, or for another database.
fn url_as(role: &str, database: Option<&str>) -> streamgate::runtime::Secret {
    let url = url();
    let (_, place) = url.split_once('@').expect("the URL names a user");
    let (host, this) = place.split_once('/').expect("the URL names a database");
    let database = database.unwrap_or(this);
    streamgate::runtime::Secret::Text(format!("postgres://{role}@{host}/{database}"))
}
