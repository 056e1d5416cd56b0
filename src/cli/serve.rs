//! `serve`: a proxy until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::failure::{Failure, with_causes};
use super::output::note;
use super::session::Session;
use super::settings::SettingsArguments;
use crate::app::{App, AppParts, Listeners, OpenError, Resources, Stopped, registry};
use crate::config::Config;
use crate::telemetry::logs::LogFormat;

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Write the addresses into this file, as JSON, once requests are taken.
    #[arg(long, value_name = "PATH")]
    ready_file: Option<PathBuf>,
}

/// What the ready file holds.
#[derive(Serialize)]
struct Addresses {
    grpc: SocketAddr,
    http: Option<SocketAddr>,
}

pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    if let Some(flag) = session.trust.flag() {
        let problem = format!("{flag} is for clients; the server's own files are in [server.tls]");
        return Err(Failure::usage(problem));
    }
    let config = arguments.settings.load()?;
    // Order: before a store is opened.
    check_files(&config)?;
    config
        .log
        .set_up()
        .map_err(|error| Failure::local("set up the log", io::Error::other(error)))?;
    // Order: from the first signal on a stop is graceful, also one that comes during the start.
    let mut signals = Signals::listen()?;

    let mut registry = registry();
    let runtime = session.runtime.clone();
    let listeners = Listeners::bind(&config.server)
        .await
        .map_err(|error| Failure::local(format!("listen on {}", error.address), error.cause))?;
    let resources = Resources::open(&config, &runtime, &mut registry).await.map_err(refused)?;
    let settings = config.clone();
    let app = App::start(AppParts { config, runtime, resources, listeners, registry }).await;
    let app = app.map_err(|error| Failure::local("start to serve", error))?;

    let addresses = Addresses { grpc: app.grpc_address(), http: app.http_address() };
    greet(&settings, &addresses);
    if let Some(path) = &arguments.ready_file {
        write_ready_file(path, &addresses)
            .map_err(|error| Failure::local(format!("write {}", path.display()), error))?;
    }
    let ended_by_itself = tokio::select! {
        biased;
        name = signals.next() => {
            tracing::info!(signal = name, "stop asked for");
            false
        }
        () = app.ended() => true,
    };
    let stopped = tokio::select! {
        biased;
        stopped = app.stop() => stopped,
        _ = signals.next() => return Err(Failure::Interrupted),
    };
    match stopped {
        _ if ended_by_itself => Err(Failure::unsuccessful("The server ended by itself.")),
        Stopped::InTime => {
            tracing::info!("stopped in time");
            Ok(())
        }
        Stopped::CutOff => Err(Failure::unsuccessful(
            "Stopped, but what was in flight did not end within the grace period.",
        )),
    }
}

/// That the files of `[server.tls]` hold what they should, each fault with its setting and file.
pub(super) fn check_files(config: &Config) -> Result<(), Failure> {
    config.server.tls.try_files().map_err(|fault| {
        let problems = vec![fault.within("server.tls").to_string()];
        Failure::Configuration { problems }
    })
}

fn refused(error: OpenError) -> Failure {
    let class = error.class();
    Failure::Start { text: with_causes(&error), class }
}

/// The first words of a server: where it listens, where its data lies, what to type next.
fn greet(config: &Config, addresses: &Addresses) {
    let http = addresses.http.map(|address| address.to_string()).unwrap_or_default();
    if config.log.format == LogFormat::Json {
        tracing::info!(grpc = %addresses.grpc, http = %http, "serving");
        return;
    }
    let how = if config.server.tls.is_on() { " with TLS" } else { "" };
    let version = env!("CARGO_PKG_VERSION");
    note(&format!("Streamgate {version} serves gRPC on {}{how}", addresses.grpc));
    note(&format!("  metrics, health  http://{http}/metrics, /healthz, /readyz"));
    for store in &config.stores {
        let place = store.place();
        let place = place.unwrap_or_else(|| "memory: gone when this process ends".to_owned());
        note(&format!("  store {:<10} {place}", store.name.as_str()));
    }
    let scheme = if config.server.tls.is_on() { "https" } else { "http" };
    let server = match addresses.grpc {
        usual if usual == SocketAddr::from(([127, 0, 0, 1], 7400)) && scheme == "http" => {
            String::new()
        }
        other => format!(" --server {scheme}://{other}"),
    };
    note("Type next, in another terminal:");
    note(&format!("  streamgate append{server} order/1 OrderPlaced '{{\"total\": 42}}'"));
    note(&format!("  streamgate read{server} order/1"));
    note("Ctrl-C stops it.");
}

/// Whole or not at all: whoever waits for the file must not read half of it.
fn write_ready_file(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    std::fs::write(&unfinished, serde_json::to_vec(addresses)?)?;
    std::fs::rename(&unfinished, path)
}

/// The two signals that ask for a stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::local("listen for signals", error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
