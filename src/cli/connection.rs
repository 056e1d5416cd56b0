//! Connections to the server, and calls that are repeated while that is safe and can help.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tonic::transport::{Endpoint, Uri};
use tonic::{Request, Response, Status};

use super::failure::Failure;
use super::line::Line;
use super::session::Session;
use super::trust::Trust;
use super::verdict::{Effect, Origin, Verdict};
use crate::domain::ErrorClass;
use crate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use crate::grpc::v1::migration_service_client::MigrationServiceClient;
use crate::runtime::{Backoff, Runtime};

/// A batch of events in one message: more than any server's limit of a batch.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// What an answer on its way may take longer than the deadline it was told.
const GRACE: Duration = Duration::from_millis(250);

/// How long a call is repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// For one attempt.
    pub(crate) attempt: Duration,
    /// For all attempts together.
    pub(crate) total: Duration,
    /// For a server that nobody can connect to.
    pub(crate) unreachable: Duration,
}

impl Patience {
    /// Of somebody at a terminal: a server that is not there is said at once.
    pub(crate) const fn brief(timeout: Duration) -> Self {
        Self { attempt: timeout, total: timeout, unreachable: Duration::ZERO }
    }

    /// Of long work: a server that restarts is waited for.
    pub(crate) fn long(attempt: Duration, total: Duration) -> Self {
        Self { attempt: attempt.min(total), total, unreachable: total }
    }
}

/// One connection to one server. It is made when first used, and again when it broke.
pub(crate) struct Connection {
    line: Line,
    runtime: Runtime,
    timeout: Duration,
    repeats: AtomicU64,
}

impl Connection {
    pub(crate) fn open(session: &Session) -> Result<Self, Failure> {
        Self::to(&session.server, session)
    }

    pub(crate) fn to(server: &str, session: &Session) -> Result<Self, Failure> {
        let address = Address::parse(server)
            .map_err(|problem| Failure::Configuration { problems: vec![problem] })?;
        Ok(Self {
            line: address.line(&session.trust)?,
            runtime: session.runtime.clone(),
            timeout: session.timeout,
            repeats: AtomicU64::new(0),
        })
    }

    pub(crate) fn line(&self) -> Line {
        self.line.clone()
    }

    pub(crate) fn events(&self) -> EventStoreServiceClient<Line> {
        EventStoreServiceClient::new(self.line())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn migrations(&self) -> MigrationServiceClient<Line> {
        MigrationServiceClient::new(self.line()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// How often a call was sent again.
    pub(crate) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// A call of somebody at a terminal.
    pub(crate) async fn call<M, T, F, A>(
        &self,
        effect: Effect,
        message: M,
        once: F,
    ) -> Result<T, Failure>
    where
        M: Clone,
        F: Fn(Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let patience = Patience::brief(self.timeout);
        Ok(self.call_patiently(patience, effect, message, once).await?)
    }

    /// Sends one message until there is an answer, a refusal that repeating cannot change, or the
    /// end of the caller's patience. The message is the same each time, ids included (I8).
    pub(crate) async fn call_patiently<M, T, F, A>(
        &self,
        patience: Patience,
        effect: Effect,
        message: M,
        once: F,
    ) -> Result<T, Box<Verdict>>
    where
        M: Clone,
        F: Fn(Request<M>) -> A,
        A: Future<Output = Result<Response<T>, Status>>,
    {
        let clock = &*self.runtime.clock;
        let began = clock.monotonic();
        let mut retry = Retry::new(patience);
        loop {
            let left = patience.total.saturating_sub(clock.monotonic().saturating_sub(began));
            if left.is_zero() {
                return Err(retry.out_of_time(effect).into());
            }
            let allowed = left.min(patience.attempt);
            let mut request = Request::new(message.clone());
            request.set_timeout(allowed);
            let answer = tokio::select! {
                biased;
                answer = once(request) => answer,
                () = clock.sleep(allowed + GRACE) => Err(Status::deadline_exceeded("no answer")),
            };
            let verdict = match answer {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => Verdict::of(&status, effect),
            };
            let spent = clock.monotonic().saturating_sub(began);
            let wait = retry.wait_after(verdict, spent, &self.runtime)?;
            self.repeats.fetch_add(1, Ordering::Relaxed);
            clock.sleep(wait).await;
        }
    }
}

/// What is remembered between the attempts of one call.
pub(crate) struct Retry {
    patience: Patience,
    backoff: Backoff,
    unreachable_since: Option<Duration>,
    /// An attempt may have been done: no later refusal to try takes that back.
    in_doubt: bool,
    last: Option<Verdict>,
}

impl Retry {
    pub(crate) fn new(patience: Patience) -> Self {
        Self {
            patience,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            unreachable_since: None,
            in_doubt: false,
            last: None,
        }
    }

    /// How long to wait before the next attempt, or the end of it.
    pub(crate) fn wait_after(
        &mut self,
        verdict: Verdict,
        spent: Duration,
        runtime: &Runtime,
    ) -> Result<Duration, Box<Verdict>> {
        if !verdict.may_be_repeated() {
            return Err(verdict.into());
        }
        self.in_doubt |= verdict.class == ErrorClass::OutcomeUnknown;
        if verdict.origin == Origin::Unreachable {
            let since = *self.unreachable_since.get_or_insert(spent);
            if spent.saturating_sub(since) >= self.patience.unreachable {
                return Err(self.with_doubt(verdict).into());
            }
        } else {
            self.unreachable_since = None;
        }
        let asked = verdict.retry_after.unwrap_or_default();
        let wait = self.backoff.next_wait(&*runtime.entropy).max(asked);
        if spent + wait >= self.patience.total {
            return Err(self.with_doubt(verdict).into());
        }
        self.last = Some(verdict);
        Ok(wait)
    }

    fn out_of_time(&mut self, effect: Effect) -> Verdict {
        let last = self.last.take();
        let verdict = Verdict::out_of_time(self.patience.total, effect, last);
        self.with_doubt(verdict)
    }

    fn with_doubt(&self, mut verdict: Verdict) -> Verdict {
        if self.in_doubt {
            verdict.class = ErrorClass::OutcomeUnknown;
        }
        verdict
    }
}

/// The port of addresses that name none.
const HTTPS_PORT: u16 = 443;

/// Where a server is, and how it is spoken to.
struct Address {
    endpoint: Endpoint,
    /// Host and port of a server that is spoken to with TLS.
    encrypted: Option<(String, u16)>,
}

impl Address {
    fn parse(server: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!("--server or STREAMGATE_SERVER: {server}: {why}; like http://127.0.0.1:7400")
        };
        let (is_encrypted, authority) = match server.split_once("://") {
            None => (false, server),
            Some(("http", authority)) => (false, authority),
            Some(("https", authority)) => (true, authority),
            Some((scheme, _)) => return Err(wrong(&format!("{scheme} is not spoken here"))),
        };
        // The library would encrypt by itself what goes to https, and not say what went wrong.
        let endpoint = Endpoint::from_shared(format!("http://{authority}"));
        let mut endpoint = endpoint.map_err(|error| wrong(&error.to_string()))?;
        let mut encrypted = None;
        if is_encrypted {
            let origin: Uri = server.parse().map_err(|_| wrong("it is no address"))?;
            let host = origin.host().unwrap_or_default();
            let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            encrypted = Some((host, origin.port_u16().unwrap_or(HTTPS_PORT)));
            endpoint = endpoint.origin(origin);
        }
        let endpoint = endpoint
            .user_agent(concat!("streamgate-cli/", env!("CARGO_PKG_VERSION")))
            .map_err(|error| wrong(&error.to_string()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        Ok(Self { endpoint, encrypted })
    }

    fn line(&self, trust: &Trust) -> Result<Line, Failure> {
        match (&self.encrypted, trust.flag()) {
            (Some((host, port)), _) => {
                Ok(Line::encrypted(&self.endpoint, host, *port, trust.encryption(host)?))
            }
            (None, Some(flag)) => Err(Failure::usage(format!("{flag} is for servers at https://"))),
            (None, None) => Ok(Line::plain(&self.endpoint)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;
    use tonic_types::StatusExt as _;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn broken(effect: Effect) -> Verdict {
        Verdict::of(&Status::new(Code::Unknown, "transport error"), effect)
    }

    fn unavailable() -> Verdict {
        let details = tonic_types::ErrorDetails::with_error_info(
            "STORE_UNAVAILABLE",
            "streamgate",
            std::collections::HashMap::new(),
        );
        let status = Status::with_error_details(Code::Unavailable, "", details);
        Verdict::of(&status, Effect::Writes)
    }

    #[test]
    fn servers_are_named_with_or_without_a_scheme() {
        let plain = |server| Address::parse(server).unwrap().endpoint.uri().to_string();
        assert_eq!(plain("http://127.0.0.1:7400"), "http://127.0.0.1:7400/");
        assert_eq!(plain("localhost:1"), "http://localhost:1/");
        for (server, host, port) in [
            ("https://localhost:1", "localhost", 1),
            ("https://proxy.example", "proxy.example", 443),
            ("https://[::1]:7400", "::1", 7400),
        ] {
            let address = Address::parse(server).unwrap();
            assert_eq!(address.encrypted, Some((host.to_owned(), port)), "{server}");
        }
        for bad in ["ftp://127.0.0.1:1", "unix:///a", "http://", "https://", "a b"] {
            assert!(Address::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn doubt_outlives_a_later_refusal_to_try() {
        let runtime = Runtime::system();
        let mut retry = Retry::new(Patience::long(SECOND, SECOND));
        retry.wait_after(broken(Effect::Writes), Duration::ZERO, &runtime).unwrap();
        let end = retry.wait_after(unavailable(), SECOND, &runtime).unwrap_err();
        assert_eq!(end.class, ErrorClass::OutcomeUnknown);

        let mut retry = Retry::new(Patience::long(SECOND, SECOND));
        retry.wait_after(unavailable(), Duration::ZERO, &runtime).unwrap();
        let end = retry.wait_after(unavailable(), SECOND, &runtime).unwrap_err();
        assert_eq!(end.class, ErrorClass::Unavailable);
    }

    #[test]
    fn a_wait_is_never_shorter_than_the_server_asked() {
        let runtime = Runtime::system();
        let mut retry = Retry::new(Patience::long(SECOND, 10 * SECOND));
        let mut verdict = unavailable();
        verdict.retry_after = Some(3 * SECOND);
        let wait = retry.wait_after(verdict, Duration::ZERO, &runtime).unwrap();
        assert_eq!(wait, 3 * SECOND);
    }
}
