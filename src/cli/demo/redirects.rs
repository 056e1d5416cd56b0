//! How many appends the server sent on from a closed stream, by its own metrics.
//!
//! A migration's progress counts those that were done before the migration had ended. The first
//! append over an old route may come later, and a client cannot tell it from any other: that is
//! the point of it.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::ledger::Ledger;
use crate::cli::failure::Failure;
use crate::runtime::Clock;
use crate::telemetry::metrics;

const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Keeps the ledger's count fresh, for the display, for as long as it is polled.
pub(super) async fn watch(address: SocketAddr, ledger: &Arc<Ledger>, clock: &dyn Clock) -> Failure {
    loop {
        clock.sleep(LOOK_EVERY).await;
        if let Err(failure) = look(address, ledger).await {
            return failure;
        }
    }
}

pub(super) async fn look(address: SocketAddr, ledger: &Arc<Ledger>) -> Result<(), Failure> {
    let asked = tokio::task::spawn_blocking(move || ask(address)).await;
    let count = asked.map_err(io::Error::other).and_then(|answer| answer);
    let count = count.map_err(|error| Failure::local("read the server's metrics", error))?;
    ledger.redirected.store(count, Ordering::Relaxed);
    Ok(())
}

fn ask(address: SocketAddr) -> io::Result<u64> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    count_in(&answer).ok_or_else(|| io::Error::other("the metric is not among them"))
}

/// `<prefix>_<name>_total 12`.
fn count_in(answer: &str) -> Option<u64> {
    answer.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        let name = name.strip_suffix("_total")?;
        name.ends_with(metrics::APPENDS_REDIRECTED).then(|| value.trim().parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_among_the_others() {
        let name = metrics::APPENDS_REDIRECTED;
        let answer = format!(
            "HTTP/1.1 200 OK\r\n\r\n# HELP x_{name} Text\nx_other_total 3\nx_{name}_total 141\n"
        );
        assert_eq!(count_in(&answer), Some(141));
        assert_eq!(count_in("HTTP/1.1 200 OK\r\n\r\n# EOF\n"), None);
    }
}
