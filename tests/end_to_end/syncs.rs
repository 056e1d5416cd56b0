//! An answer comes after the sync: a kill does not show that, for the system keeps what a killed
//! process has written. So the calls are counted.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use streamgate::grpc::v1;

use crate::client::until;
use crate::process::{Folder, Tracing};

/// Whatever makes a file durable on Linux.
const SYNC_CALLS: &[&str] = &["fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync"];

const APPENDS: usize = 1_000;

fn require_strace() {
    let found = Command::new("strace").arg("--version").stdout(Stdio::null()).status();
    let works = found.is_ok_and(|status| status.success());
    assert!(works, "strace is missing; it counts the syncs (apt-get install strace)");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_thousand_appends_one_by_one_make_as_many_syncs() {
    require_strace();
    let folder = Folder::new(Duration::from_secs(10));
    let file = folder.path("calls");
    let done = || {
        let calls = fs::read_to_string(&file).unwrap_or_default();
        // A call that others interrupt takes two lines; only its end has a result.
        calls.lines().filter(|line| line.contains("= 0")).count()
    };
    let mut server = folder.start(&Tracing::Calls { names: SYNC_CALLS, file: file.clone() });
    let client = server.client().await;
    let object = v1::ObjectRef { object_name: "order".into(), object_id: "1".into() };
    let event = |number: usize| v1::NewEvent {
        event_type: "Counted".into(),
        payload: number.to_string().into_bytes().into(),
        ..Default::default()
    };
    // The first append also creates the object.
    client.append(&object, None, vec![event(0)]).await.unwrap();
    let before = until("the tracer writes", async || Some(done()).filter(|done| *done > 0)).await;
    for number in 1..=APPENDS {
        client.append(&object, None, vec![event(number)]).await.unwrap();
        // The tracer writes a call down before the server goes on, so the answer is the later.
        let syncs = done() - before;
        assert!(syncs >= number, "append {number} was answered after {syncs} syncs");
    }
    server.terminate();
    let status = server.exit_status().await;
    assert!(status.success(), "{status}\n{}", folder.log());
    // The tracer outlives what it traces for a moment.
    let ended = || fs::read_to_string(&file).unwrap().contains("+++ exited with");
    until("the tracer ends", async || ended().then_some(())).await;
    let syncs = done() - before;
    println!("{APPENDS} appends at one in flight made {syncs} sync calls");
    assert!(syncs >= APPENDS, "{APPENDS} appends at one in flight made {syncs} sync calls");
}
