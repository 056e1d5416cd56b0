//! Where the servers of this run listen.

/// What `scripts/services` said of a server.
#[track_caller]
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: start the servers with `scripts/services up` first")
    })
}
