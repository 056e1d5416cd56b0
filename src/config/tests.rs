//! Settings from their layers, and the file that shows them all.

use super::*;
use crate::coordination::RedisOptions;
use crate::runtime::Secret;

fn file(text: &str) -> Layers {
    Layers { file: Some((PathBuf::from("test.toml"), text.to_owned())), ..Layers::default() }
}

fn faults(layers: Layers) -> Vec<String> {
    let ConfigFaults(faults) = Config::assemble(layers).unwrap_err();
    faults.iter().map(InvalidValue::to_string).collect()
}

const SHOWN: &str = include_str!("../../config/default.toml");

#[test]
fn without_any_source_one_durable_store_serves_on_this_machine_alone() {
    let config = Config::assemble(Layers::default()).unwrap();
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:7400");
    assert_eq!(config.server.http_listen.to_string(), "127.0.0.1:7401");
    assert_eq!(config.documents.store.as_str(), "main");
    let [store] = config.stores.as_slice() else { panic!("{:?}", config.stores) };
    assert_eq!(store.folder(), Some(std::path::Path::new("streamgate-data/main")));
}

#[test]
fn the_shown_file_holds_the_defaults() {
    let config = Config::assemble(file(SHOWN)).unwrap();
    assert_eq!(config, Config::assemble(Layers::default()).unwrap());
}

#[test]
fn the_shown_file_shows_every_setting() {
    let mut config = Config::assemble(Layers::default()).unwrap();
    // What is left out has no place in a file; these stand in it as comments.
    config.migration.defaults.events_per_second_max = Some(1);
    config.migration.defaults.bytes_per_second_max = Some(1);
    config.coordination.redis = Some(every_option_of_redis());
    config.server.tls.cert_file = Some("cert.pem".into());
    config.server.tls.key_file = Some("key.pem".into());
    config.server.tls.client_ca_file = Some("ca.pem".into());
    config.stores.push(StoreSettings {
        name: StoreSettings::usual_name(),
        kind: StoreKind::Memory(Default::default()),
    });
    #[cfg(feature = "s3")]
    config.stores.push(StoreSettings {
        name: StoreSettings::usual_name(),
        kind: StoreKind::S3(Box::new(whole_s3_options())),
    });
    #[cfg(feature = "postgres")]
    config.stores.push(StoreSettings {
        name: StoreSettings::usual_name(),
        kind: StoreKind::Postgres(Box::new(every_option_of_postgres())),
    });
    config.placement =
        vec![PlacementRule { object_name: "crm.*".into(), store: StoreSettings::usual_name() }];
    let all: toml::Table = config.to_toml().parse().unwrap();
    let mut names = Vec::new();
    names_of(&toml::Value::Table(all), &mut names);
    let shown: Vec<&str> = SHOWN.lines().map(|line| line.trim_start_matches(['#', ' '])).collect();
    for name in names {
        let is_shown = shown.iter().any(|line| line.starts_with(&format!("{name} =")));
        assert!(is_shown, "config/default.toml does not show {name}");
    }
}

/// Options with a value in every place.
#[cfg(feature = "s3")]
fn whole_s3_options() -> crate::backends::s3::S3Options {
    let secret = || Some(Secret::Text("secret".into()));
    crate::backends::s3::S3Options {
        endpoint: Some("https://here".into()),
        ca_file: Some("ca.pem".into()),
        access_key_id: secret(),
        secret_access_key: secret(),
        session_token: secret(),
        ..crate::backends::s3::S3Options::of_bucket("events")
    }
}

#[cfg(feature = "postgres")]
fn every_option_of_postgres() -> crate::backends::postgres::PostgresOptions {
    let secret = || Secret::Text("a".into());
    crate::backends::postgres::PostgresOptions {
        password: Some(secret()),
        listen_url: Some(secret()),
        tls_ca_file: Some("ca.pem".into()),
        tls_cert_file: Some("cert.pem".into()),
        tls_key_file: Some("key.pem".into()),
        ..crate::backends::postgres::PostgresOptions::at("a")
    }
}

fn names_of(value: &toml::Value, names: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                match value {
                    toml::Value::Table(_) | toml::Value::Array(_) => names_of(value, names),
                    _ => names.push(name.clone()),
                }
            }
        }
        toml::Value::Array(list) => list.iter().for_each(|value| names_of(value, names)),
        _ => {}
    }
}

#[test]
fn what_is_shown_is_what_is_read() {
    let text = "[server]\ngrace_period = \"1s\"\n[[stores]]\nname = \"a\"\nkind = \"memory\"\n\
                [[stores]]\nname = \"b\"\nkind = \"embedded\"\n\
                [[placement]]\nobject_name = \"crm.*\"\nstore = \"b\"\n\
                [migration.defaults]\nevents_per_second_max = 7\n";
    let config = Config::assemble(file(text)).unwrap();
    assert_eq!(Config::assemble(file(&config.to_toml())).unwrap(), config);
    assert_eq!(config.documents.store.as_str(), "a");
    assert_eq!(config.placement().default.as_str(), "a");
}

#[test]
fn the_environment_beats_the_file_and_flags_beat_both() {
    let mut layers =
        file("[proxy]\nappend_timeout = \"1s\"\nroutes_max = 1\n[log]\nfilter = \"a\"");
    layers.environment = vec![
        ("STREAMGATE_PROXY__APPEND_TIMEOUT".into(), "2s".into()),
        ("STREAMGATE_LOG__FILTER".into(), "debug".into()),
        ("STREAMGATE_SERVER__INSECURE".into(), "true".into()),
        ("STREAMGATE_MIGRATION__DEFAULTS__PAGE_EVENTS_MAX".into(), "17".into()),
        ("STREAMGATE_SERVER__DATA_DIR".into(), "2024".into()),
        ("STREAMGATE_SERVER".into(), "http://elsewhere".into()),
        ("HOME".into(), "/".into()),
    ];
    layers.flags.log_filter = Some("warn".into());
    layers.flags.listen = Some(([0, 0, 0, 0], 1).into());
    let config = Config::assemble(layers).unwrap();
    assert_eq!(config.proxy.append_timeout, Duration::from_secs(2));
    assert_eq!(config.proxy.routes_max, 1);
    assert_eq!(config.log.filter, "warn");
    assert_eq!(config.migration.defaults.page_events_max, 17);
    assert_eq!(config.server.data_dir, PathBuf::from("2024"));
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:1");
}

#[test]
fn all_faults_are_reported_together_each_with_its_path() {
    let text = r#"
        [server]
        listen = "nowhere"
        http_listen = "0.0.0.0:1"
        lissen = "127.0.0.1:1"
        grace_period = 5
        [proxy]
        append_timeout = "soon"
        max_stream_continuation_retries = -1
        routes_max = 0
        [limits]
        event_bytes_max = "1 MiB"
        batch_events_max = 0
        [log]
        format = "xml"
        filter = "no=such=filter"
        [grpc]
        in_flight_max = 0
        [migration]
        running_max = 0
        [migration.defaults]
        on_convergence_failure = "HOPE"
        catch_up_delay = "-1s"
        page_events_max = 0
        [[stores]]
        name = "Hot"
        kind = "memory"
        [[stores]]
        name = "cold"
        kind = "floppy"
        [[stores]]
        kind = "memory"
        color = "red"
        [[stores]]
        name = "warm"
        kind = "memory"
        [[stores]]
        name = "warm"
        kind = "embedded"
        path = 7
        heads_max = "many"
        [[stores]]
        name = "cool"
        kind = "embedded"
        heads_max = 0
        limits.batch_events_max = -1
        color = "red"
        [documents]
        store = "absent"
        [[placement]]
        object_name = "9*"
        store = "absent"
        [weather]
        sun = true
    "#;
    let mut layers = file(text);
    layers.environment = vec![("STREAMGATE_COORDINATION__HELD_MAX".into(), "many".into())];
    let found = faults(layers);
    for path in [
        "server.listen",
        "server.http_listen",
        "server.lissen",
        "server.grace_period",
        "proxy.append_timeout",
        "proxy.max_stream_continuation_retries",
        "proxy.routes_max",
        "limits.event_bytes_max",
        "limits.batch_events_max",
        "log.format",
        "log.filter",
        "grpc.in_flight_max",
        "migration.running_max",
        "migration.defaults.on_convergence_failure",
        "migration.defaults.catch_up_delay",
        "migration.defaults.page_events_max",
        "stores[0].name",
        "stores[1].kind",
        "stores[2].name",
        "stores[2].color",
        "stores[4].path",
        "stores[4].heads_max",
        "stores[5].heads_max",
        "stores[5].limits.batch_events_max",
        "stores[5].color",
        "documents.store",
        "placement[0].object_name",
        "placement[0].store",
        "weather",
        "coordination.held_max",
    ] {
        let named = found.iter().filter(|fault| fault.starts_with(&format!("{path}:"))).count();
        assert_eq!(named, 1, "{path} in\n{}", found.join("\n"));
    }
    assert_eq!(found.len(), 30, "{}", found.join("\n"));
    let held = found.iter().find(|fault| fault.starts_with("coordination")).unwrap();
    assert!(held.contains("set by STREAMGATE_COORDINATION__HELD_MAX"), "{held}");
}

#[test]
fn two_stores_share_neither_name_nor_folder() {
    let store =
        |name| format!("[[stores]]\nname = \"{name}\"\nkind = \"embedded\"\npath = \"x\"\n");
    let found = faults(file(&(store("a") + &store("b") + &store("a"))));
    assert_eq!(found.len(), 3, "{found:?}");
}

#[cfg(feature = "s3")]
#[test]
fn a_bucket_is_named_and_two_stores_share_no_place_in_it() {
    let store =
        |name: &str, rest: &str| format!("[[stores]]\nname = \"{name}\"\nkind = \"s3\"\n{rest}\n");
    let text = store("a", "bucket = 'events'\nprefix = 'x'")
        + &store("b", "bucket = 'events'\nprefix = 'y'")
        + &store("c", "bucket = 'events'\nprefix = 'x'")
        + &store("d", "region = 'r'\naddressing = 'host'")
        + &store("e", "bucket = 'UP'\nendpoint = 'here'");
    let found = faults(file(&text));
    let paths = found.iter().map(|fault| fault.split(':').next().unwrap()).collect::<Vec<_>>();
    let expected = [
        "stores[2].prefix",
        "stores[3].addressing",
        "stores[3].bucket",
        "stores[4].bucket",
        "stores[4].endpoint",
    ];
    let mut sorted = paths.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected, "{found:?}");
}

#[cfg(feature = "cosmos")]
#[test]
fn a_place_at_cosmos_must_be_told_and_is_one_store() {
    let begin = "[[stores]]\nname = \"a\"\nkind = \"cosmos\"\n";
    let found = faults(file(&format!("{begin}database = 7\nheads_max = 0\ncolour = 1\n")));
    let told: Vec<&str> = found.iter().filter_map(|fault| fault.split(':').next()).collect();
    let names = ["endpoint", "database", "container", "region", "colour"];
    for name in names.map(|name| format!("stores[0].{name}")) {
        assert!(told.contains(&name.as_str()), "{name} in {found:?}");
    }
    let store = |name: &str, endpoint: &str| {
        format!(
            "[[stores]]\nname = \"{name}\"\nkind = \"cosmos\"\nendpoint = \"{endpoint}\"\n\
             database = \"d\"\ncontainer = \"c\"\nregion = \"West Europe\"\n\
             key = {{ env = \"COSMOS_KEY\" }}\n"
        )
    };
    let one = store("a", "https://example.com/");
    let config = Config::assemble(file(&one)).unwrap();
    assert_eq!(Config::assemble(file(&config.to_toml())).unwrap(), config);
    let found = faults(file(&(one + &store("b", "https://example.com"))));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("container"), "{found:?}");
}

#[cfg(feature = "postgres")]
#[test]
fn two_stores_share_no_schema_of_one_database() {
    let store = |name, schema| {
        format!(
            "[[stores]]\nname = \"{name}\"\nkind = \"postgres\"\n\
             url = {{ env = \"DATABASE\" }}\nschema = \"{schema}\"\n"
        )
    };
    assert!(Config::assemble(file(&(store("a", "x") + &store("b", "y")))).is_ok());
    let found = faults(file(&(store("a", "x") + &store("b", "x"))));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("stores[1].schema: "), "{found:?}");
}

#[test]
fn other_machines_are_served_only_when_told_so() {
    let mut layers = Layers::default();
    layers.flags.listen = Some(([192, 0, 2, 1], 7400).into());
    let found = faults(layers.clone());
    assert!(found[0].contains("--insecure"), "{found:?}");
    assert!(found[0].contains("nothing is encrypted"), "{found:?}");
    layers.flags.insecure = true;
    assert!(Config::assemble(layers).is_ok());
    let mut sixth = Layers::default();
    sixth.flags.listen = Some("[::1]:7400".parse().unwrap());
    assert!(Config::assemble(sixth).is_ok());
}

#[test]
fn a_file_that_is_no_toml_says_where() {
    let found = faults(file("[server\n"));
    assert!(found[0].starts_with("test.toml: "), "{found:?}");
    assert!(found[0].contains("line 1"), "{found:?}");
}

#[test]
fn sections_of_the_wrong_kind_are_named() {
    let found = faults(file("server = 1\nstores = 2\ndocuments = 3\nplacement = [4]\n"));
    let names: Vec<&str> = found.iter().map(|fault| fault.split(':').next().unwrap()).collect();
    for name in ["server", "stores", "documents", "placement[0]"] {
        assert!(names.contains(&name), "{found:?}");
    }
}

fn every_option_of_redis() -> RedisOptions {
    let url = || Secret::Text("redis://node".into());
    RedisOptions {
        sentinel_urls: vec![url()],
        sentinel_service: Some("main".into()),
        cluster_urls: vec![url()],
        username: Some("streamgate".into()),
        password: Some(url()),
        tls_ca_file: Some("ca.pem".into()),
        tls_cert_file: Some("cert.pem".into()),
        tls_key_file: Some("key.pem".into()),
        key_prefix: Some("streamgate".into()),
        ..RedisOptions::at("redis://cache")
    }
}

#[test]
fn redis_is_named_in_the_file_or_by_the_environment_and_checked_with_the_rest() {
    let mut layers = file("[coordination.redis]\nresponse_timeout = '1s'\n");
    let variable = "STREAMGATE_COORDINATION__REDIS__URL";
    layers.environment = vec![(variable.into(), "redis://:hush@cache:6379/1".into())];
    let config = Config::assemble(layers).unwrap();
    let redis = config.coordination.redis.clone().unwrap();
    assert_eq!(redis.response_timeout, Duration::from_secs(1));
    assert_eq!(redis.url.unwrap().reveal().unwrap(), "redis://:hush@cache:6379/1");
    assert!(!config.to_toml().contains("hush"));

    let found = faults(file("[coordination.redis]\nurls = 'a'\nkey_prefix = '{'\n"));
    for path in ["urls", "url", "key_prefix"] {
        let start = format!("coordination.redis.{path}:");
        assert_eq!(found.iter().filter(|fault| fault.starts_with(&start)).count(), 1, "{found:?}");
    }
    assert_eq!(found.len(), 3, "{found:?}");
    let short = "[migration]\nlease_ttl = '1s'\n[coordination.redis]\nurl = 'redis://cache'\n";
    let found = faults(file(short));
    assert!(found.len() == 1 && found[0].starts_with("migration.lease_ttl:"), "{found:?}");
    let found = faults(file("[coordination]\nredis = 'redis://cache'\n"));
    assert!(found[0].starts_with("coordination.redis:"), "{found:?}");
}
