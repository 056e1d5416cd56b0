//! The memory of a `serve` process: when it does nothing, and the most that it ever had after it
//! moved a short and a long stream.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::load::{self, Clients};
use crate::migrate::move_to;
use crate::report::{Report, Verdict, bytes};
use crate::served::{self, SECOND};
use crate::{Bench, Failure, Scale};

const IDLE_MAX: f64 = 64.0 * 1024.0 * 1024.0;
/// What the engine holds by design, 64 MiB of unsorted writes and 32 MiB of blocks a store, would
/// hide what a migration holds; both streams are far larger than these.
const SMALL_BUFFERS: &str = "memtable_bytes = 4194304\ncache_bytes = 4194304\n";
/// Flat in the length of the stream, but for what the engine keeps of its tables.
const GROWTH_MAX: f64 = 1.3;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn run(bench: &Bench, report: &mut Report) -> Result<(), Failure> {
    let idle = {
        let folder = served::folder()?;
        Process::start(bench.scale, folder.path(), "")?.memory("VmRSS")?
    };
    let verdict = Verdict::of(idle <= IDLE_MAX);
    report.row("memory of an idle server", bytes(idle), "", "", bytes(IDLE_MAX), verdict);
    let long = bench.scale.long_events;
    let mut peaks = Vec::new();
    for events in [long / 4, long] {
        peaks.push(peak_of_a_move(bench, events)?);
    }
    let ratio = peaks[1] / peaks[0];
    report.row(
        format!("most memory while {long} events move"),
        bytes(peaks[1]),
        format!("{} events: {}", long / 4, bytes(peaks[0])),
        format!("{ratio:.2}"),
        format!("flat, at most {GROWTH_MAX}"),
        Verdict::of(ratio <= GROWTH_MAX),
    );
    Ok(())
}

/// The most memory of a server that did nothing but move a stream that was there already.
fn peak_of_a_move(bench: &Bench, events: u64) -> Result<f64, Failure> {
    let folder = served::folder()?;
    let mut server = Process::start(bench.scale, folder.path(), SMALL_BUFFERS)?;
    let fill = async {
        let clients = Clients::connect(server.address).await?;
        load::fill(&clients, "long", 1, events).await
    };
    bench.clients.block_on(fill)?;
    if bench.scale.stores == served::StoreKind::Embedded {
        server.stop()?;
        server = Process::start(bench.scale, folder.path(), SMALL_BUFFERS)?;
    }
    bench.clients.block_on(async {
        let clients = Clients::connect(server.address).await?;
        move_to(&clients, load::object("long", 0), SECOND).await
    })?;
    server.memory("VmHWM")
}

/// What `serve` writes into its ready file.
#[derive(Deserialize)]
struct Addresses {
    grpc: SocketAddr,
}

struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(scale: Scale, folder: &Path, engine: &str) -> Result<Self, Failure> {
        let (settings, ready) = (folder.join("settings.toml"), folder.join("ready.json"));
        std::fs::write(&settings, served::settings(scale.stores, folder, engine))?;
        let _ = std::fs::remove_file(&ready);
        let mut child = Command::new(env!("CARGO_BIN_EXE_streamgate"))
            .arg("serve")
            .arg("--config")
            .arg(settings)
            .arg("--ready-file")
            .arg(&ready)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let began = Instant::now();
        loop {
            if let Ok(text) = std::fs::read(&ready) {
                let addresses: Addresses = serde_json::from_slice(&text)?;
                return Ok(Self { child, address: addresses.grpc });
            }
            if let Some(status) = child.try_wait()? {
                return Err(format!("the server ended: {status}").into());
            }
            if began.elapsed() > PATIENCE {
                let _ = child.kill();
                return Err("the server did not come up".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn memory(&self, field: &str) -> Result<f64, Failure> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with(field));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        let kib: f64 = number.ok_or("no such line in the process's status")?.parse()?;
        Ok(kib * 1024.0)
    }

    /// Everything is durable, so that the next one reads it from the disk.
    fn stop(&mut self) -> Result<(), Failure> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.stop();
    }
}
