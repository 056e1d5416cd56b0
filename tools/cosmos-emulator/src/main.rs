//! Serves the Cosmos DB driver's in-memory emulator on a local port, over HTTP/1.1 and HTTP/2, for
//! tests. It keeps everything in memory and is no server for data.
//!
//! ```text
//! cosmos-emulator PORT [ACCOUNT_KEY]
//! ```
//!
//! With port 0 the system chooses one. The line `ready on http://127.0.0.1:PORT/` on stdout says
//! where it listens. With a key (base64) requests that are not signed by it are answered 401.
//!
//! Reading order: this file, [`serving`] (one request), [`signature`] (whether it is signed),
//! [`rehearsal`] (what tests may ask it to do wrong, and what it counts for them).

mod rehearsal;
mod serving;
mod signature;

use std::io::Write;
use std::process::ExitCode;

use azure_core::credentials::Secret;
use tokio::net::TcpListener;

use serving::Server;

/// Why the emulator does not start, or ended.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("usage: cosmos-emulator PORT [ACCOUNT_KEY]")]
    Usage,
    #[error("cannot listen on port {port}: {cause}")]
    Listen { port: u16, cause: std::io::Error },
    #[error("cannot tell where it listens: {0}")]
    Tell(std::io::Error),
    #[error("the emulator does not start: {0}")]
    Emulator(String),
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Problem> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().and_then(|port| port.parse().ok()).ok_or(Problem::Usage)?;
    let key = arguments.next().map(Secret::from);
    if arguments.next().is_some() {
        return Err(Problem::Usage);
    }
    let listener = TcpListener::bind(("127.0.0.1", port)).await;
    let listener = listener.map_err(|cause| Problem::Listen { port, cause })?;
    let port = listener.local_addr().map_err(Problem::Tell)?.port();
    let server = Server::new(port, key).map_err(Problem::Emulator)?;
    // Whoever started it reads this line through a pipe, which would keep it back otherwise.
    let mut out = std::io::stdout();
    writeln!(out, "ready on {}", server.base())
        .and_then(|()| out.flush())
        .map_err(Problem::Tell)?;
    server.serve(listener).await;
    Ok(())
}
