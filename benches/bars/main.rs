//! The bars: what Streamgate does beside what the machine could do, both in one run.
//!
//! Each group serves a real proxy on two stores in a fresh folder and talks to it over TCP on the
//! loopback device. The other side (a bare tonic server of the same messages, the store alone, a
//! plain copy loop) runs in the same process, in turns with it. `docs/performance.md` has the
//! figures and what they mean.
//!
//! Reading order: this file, [`report`], [`load`] (who sends), [`served`] and [`echo`] (who
//! answers), then the groups.

#![expect(clippy::disallowed_methods, reason = "a benchmark measures the real time of real tasks")]

mod append;
mod bystanders;
mod cut_over;
mod echo;
#[cfg(feature = "postgres")]
mod fleet;
mod follow;
mod growth;
mod load;
mod memory;
mod migrate;
#[cfg(feature = "postgres")]
mod postgres;
mod read;
mod report;
mod served;
mod session;

use std::process::ExitCode;
use std::time::Duration;

use report::Report;
use served::StoreKind;

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How much is done.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) stores: StoreKind,
    /// One turn of one side, and how many turns each side has.
    pub(crate) turn: Duration,
    pub(crate) turns: usize,
    pub(crate) objects: usize,
    pub(crate) long_events: u64,
    pub(crate) short_objects: usize,
    pub(crate) small_objects: usize,
    pub(crate) moves: usize,
    pub(crate) growth_objects: usize,
    pub(crate) followers: usize,
}

impl Scale {
    fn usual() -> Self {
        Self {
            stores: StoreKind::Embedded,
            turn: Duration::from_secs(1),
            turns: 5,
            objects: 1_000,
            long_events: 100_000,
            short_objects: 1_000,
            small_objects: 2_000,
            moves: 12,
            growth_objects: 100_000,
            followers: 10_000,
        }
    }

    /// Only proves that everything runs.
    fn quick() -> Self {
        Self {
            turn: Duration::from_millis(30),
            turns: 1,
            objects: 16,
            long_events: 1_500,
            short_objects: 4,
            small_objects: 8,
            moves: 1,
            growth_objects: 64,
            followers: 8,
            ..Self::usual()
        }
    }

    fn large() -> Self {
        Self { long_events: 1_000_000, growth_objects: 1_000_000, ..Self::usual() }
    }
}

/// What is measured on one proxy, with the name by which it is asked for.
type Group = (&'static str, fn(&Bench, &mut Report) -> Result<(), Failure>);

const GROUPS: &[Group] = &[
    ("append", append::run),
    ("session", session::run),
    ("read", read::run),
    ("follow", follow::run),
    ("migrate", migrate::run),
    ("cut-over", cut_over::run),
    ("bystanders", bystanders::run),
    ("growth", growth::run),
    ("memory", memory::run),
    #[cfg(feature = "postgres")]
    ("postgres", postgres::run),
    #[cfg(feature = "postgres")]
    ("fleet", fleet::run),
];

/// The servers that some groups talk to, PostgreSQL as a superuser: `scripts/services up postgres
/// redis` starts them and tells their addresses in these variables.
pub(crate) const POSTGRES_URL: &str = "STREAMGATE_TEST_POSTGRES_URL";
pub(crate) const REDIS_URL: &str = "STREAMGATE_TEST_REDIS_URL";

/// What every group is given.
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    /// Where clients run; servers have runtimes of their own.
    pub(crate) clients: tokio::runtime::Runtime,
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bars: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Vec<String>) -> Result<(), Failure> {
    let (scale, groups) = parse(arguments)?;
    let clients = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let bench = Bench { scale, clients };
    let mut report = Report::new(scale);
    for (name, group) in groups {
        report.begin(name);
        group(&bench, &mut report).map_err(|failure| format!("{name}: {failure}"))?;
    }
    report.print();
    Ok(())
}

/// `cargo bench` says `--bench`; who does not say it only wants to see that the bars run.
fn parse(arguments: Vec<String>) -> Result<(Scale, Vec<Group>), Failure> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let mut scale = match () {
        () if has("--quick") || !has("--bench") => Scale::quick(),
        () if has("--large") => Scale::large(),
        () => Scale::usual(),
    };
    if has("--memory") {
        scale.stores = StoreKind::Memory;
    }
    let mut groups = Vec::new();
    for argument in &arguments {
        if ["--quick", "--bench", "--large", "--memory"].contains(&argument.as_str()) {
            continue;
        }
        let group = GROUPS.iter().find(|(name, _)| name == argument).ok_or_else(|| {
            let names: Vec<&str> = GROUPS.iter().map(|(name, _)| *name).collect();
            format!(
                "no {argument} here; there are --quick, --large, --memory, and {}",
                names.join(", ")
            )
        })?;
        groups.push(*group);
    }
    if groups.is_empty() {
        groups = GROUPS.iter().filter(|(name, _)| can_run(name)).copied().collect();
    }
    Ok((scale, groups))
}

/// Who asks for everything is told what is left out; who asks for a group gets its error.
fn can_run(group: &str) -> bool {
    let needed: &[&str] = match group {
        "postgres" => &[POSTGRES_URL],
        "fleet" => &[POSTGRES_URL, REDIS_URL],
        _ => &[],
    };
    let missing = needed.iter().find(|variable| std::env::var_os(variable).is_none());
    if let Some(missing) = missing {
        eprintln!("LEFT OUT: {group}, for {missing} is not set");
    }
    missing.is_none()
}
