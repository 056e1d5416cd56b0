//! What is in flight, in the whole server and on each connection, and how much of it may be.
//!
//! Whatever is beyond a bound is refused at once and costs nothing more: a server that takes on
//! more than it can hold serves nobody. Requests and streams are counted apart, since a follower
//! stays for hours and an append for milliseconds; neither may keep the other out.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::options::GrpcOptions;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Requests, from their first byte to their answer, or to where it begins to flow.
    Request,
    /// Answers that flow.
    Stream,
    /// Bytes of the messages of requests, until they are answered.
    Received,
    /// Bytes of answers that their clients have not taken yet.
    Unsent,
}

/// A bound that holds already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exceeded {
    /// The setting that holds the bound.
    pub(crate) setting: &'static str,
    pub(crate) max: usize,
}

struct Bound {
    setting: &'static str,
    max: usize,
    now: AtomicUsize,
}

impl Bound {
    fn new(setting: &'static str, max: usize) -> Self {
        Self { setting, max, now: AtomicUsize::new(0) }
    }

    /// What comes alone is always let through: a bound below the size of one message then slows
    /// down, and shuts nobody out.
    fn take(&self, amount: usize) -> Result<(), Exceeded> {
        let before = self.now.fetch_add(amount, Ordering::Relaxed);
        if before > 0 && before.saturating_add(amount) > self.max {
            self.give_back(amount);
            return Err(Exceeded { setting: self.setting, max: self.max });
        }
        Ok(())
    }

    fn give_back(&self, amount: usize) {
        self.now.fetch_sub(amount, Ordering::Relaxed);
    }
}

/// What is in flight in one server.
pub(crate) struct Load {
    requests: Bound,
    streams: Bound,
    received: Bound,
    unsent: Bound,
}

impl Load {
    pub(crate) fn new(options: &GrpcOptions) -> Arc<Self> {
        let bytes = || Bound::new("in_flight_bytes_max", options.in_flight_bytes_max);
        Arc::new(Self {
            requests: Bound::new("in_flight_max", options.in_flight_max),
            streams: Bound::new("open_streams_max", options.open_streams_max),
            received: bytes(),
            unsent: bytes(),
        })
    }
}

/// What is in flight on one connection. Its requests are counted by HTTP/2 itself
/// (`streams_per_connection_max`): more wait at the client.
pub(crate) struct Connection {
    server: Arc<Load>,
    streams: Bound,
    received: Bound,
    unsent: Bound,
    ending: CancellationToken,
}

impl Connection {
    pub(crate) fn new(server: Arc<Load>, options: &GrpcOptions) -> Arc<Self> {
        let bytes = || {
            let max = options.in_flight_bytes_per_connection_max;
            Bound::new("in_flight_bytes_per_connection_max", max)
        };
        let streams_max = options.open_streams_per_connection_max;
        Arc::new(Self {
            server,
            streams: Bound::new("open_streams_per_connection_max", streams_max),
            received: bytes(),
            unsent: bytes(),
            ending: CancellationToken::new(),
        })
    }

    /// Tells the streams of this connection to end.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    /// Resolves when the streams of this connection have to end.
    pub(super) fn ending(&self) -> WaitForCancellationFutureOwned {
        self.ending.clone().cancelled_owned()
    }

    /// Takes a place, both on the connection and in the server.
    pub(super) fn take(self: &Arc<Self>, kind: Kind, amount: usize) -> Result<Taken, Exceeded> {
        let (own, servers) = self.bounds(kind);
        own.map_or(Ok(()), |own| own.take(amount))?;
        if let Err(exceeded) = servers.take(amount) {
            own.inspect(|own| own.give_back(amount));
            return Err(exceeded);
        }
        Ok(Taken { connection: Arc::clone(self), kind, amount })
    }

    fn bounds(&self, kind: Kind) -> (Option<&Bound>, &Bound) {
        match kind {
            Kind::Request => (None, &self.server.requests),
            Kind::Stream => (Some(&self.streams), &self.server.streams),
            Kind::Received => (Some(&self.received), &self.server.received),
            Kind::Unsent => (Some(&self.unsent), &self.server.unsent),
        }
    }
}

/// A place that is given back when it is dropped.
pub(crate) struct Taken {
    connection: Arc<Connection>,
    kind: Kind,
    amount: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let (own, servers) = self.connection.bounds(self.kind);
        own.inspect(|own| own.give_back(self.amount));
        servers.give_back(self.amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> GrpcOptions {
        GrpcOptions {
            in_flight_max: 2,
            in_flight_bytes_max: 100,
            in_flight_bytes_per_connection_max: 60,
            open_streams_max: 3,
            open_streams_per_connection_max: 2,
            ..GrpcOptions::default()
        }
    }

    #[track_caller]
    fn refused_by(taken: Result<Taken, Exceeded>) -> &'static str {
        taken.map(drop).unwrap_err().setting
    }

    #[test]
    fn each_bound_holds_by_itself_and_what_is_given_back_is_free_again() {
        let load = Load::new(&options());
        let [first, second] = [(); 2].map(|()| Connection::new(Arc::clone(&load), &options()));
        let streams = [(); 2].map(|()| first.take(Kind::Stream, 1).unwrap());
        assert_eq!(refused_by(first.take(Kind::Stream, 1)), "open_streams_per_connection_max");
        let _third = second.take(Kind::Stream, 1).unwrap();
        assert_eq!(refused_by(second.take(Kind::Stream, 1)), "open_streams_max");
        let requests = [&first, &second].map(|connection| connection.take(Kind::Request, 1));
        assert_eq!(refused_by(first.take(Kind::Request, 1)), "in_flight_max");
        drop((streams, requests));
        second.take(Kind::Stream, 1).unwrap();
        first.take(Kind::Request, 1).unwrap();
    }

    #[test]
    fn bytes_are_bounded_in_both_directions_and_one_alone_is_let_through() {
        let load = Load::new(&options());
        let [first, second] = [(); 2].map(|()| Connection::new(Arc::clone(&load), &options()));
        for kind in [Kind::Received, Kind::Unsent] {
            let alone = first.take(kind, 1_000).unwrap();
            assert_eq!(refused_by(first.take(kind, 1)), "in_flight_bytes_per_connection_max");
            assert_eq!(refused_by(second.take(kind, 1)), "in_flight_bytes_max");
            drop(alone);
            let _half = first.take(kind, 50).unwrap();
            assert_eq!(refused_by(first.take(kind, 11)), "in_flight_bytes_per_connection_max");
            let _rest = second.take(kind, 50).unwrap();
            assert_eq!(refused_by(second.take(kind, 1)), "in_flight_bytes_max");
        }
    }
}
