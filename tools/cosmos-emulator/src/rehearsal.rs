//! What tests may ask the emulator to do wrong, and what it counts for them. Both are told apart
//! by database, so that tests which share the emulator do not meet each other's faults.
//!
//! ```text
//! PUT /_test/fault?database=D&kind=throttle&on=batch&count=3&retry_after_ms=40
//! GET /_test/requests?database=D      answers "batch 2\nread 1\n"
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard};

use hyper::http::request::Parts;
use url::form_urlencoded;

/// What a request asks of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Batch,
    Query,
    Read,
    Write,
    /// Account, databases and containers.
    Control,
}

/// What is done to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not done: 429 with this delay.
    Throttle { retry_after_ms: u64 },
    /// Not done: 503.
    Refuse,
    /// Not done: 403, as to somebody who lacks the permission.
    Forbid,
    /// Done, and the answer is kept back: the connection breaks.
    LoseAnswer,
}

/// Faults that wait for their requests, and the requests that came.
#[derive(Default)]
pub(crate) struct Rehearsal {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    planned: Vec<Planned>,
    requests: BTreeMap<String, BTreeMap<Kind, u64>>,
}

struct Planned {
    database: String,
    /// None: every kind.
    on: Option<Kind>,
    fault: Fault,
    left: u64,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Batch, Self::Query, Self::Read, Self::Write, Self::Control];

    fn of(parts: &Parts) -> Self {
        let is = |name: &str| {
            let value = parts.headers.get(name).and_then(|value| value.to_str().ok());
            value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
        };
        if !parts.uri.path().contains("/docs") {
            return Self::Control;
        }
        match parts.method.as_str() {
            "GET" => Self::Read,
            "POST" if is("x-ms-cosmos-is-batch-request") => Self::Batch,
            "POST" if is("x-ms-documentdb-isquery") || is("x-ms-documentdb-query") => Self::Query,
            _ => Self::Write,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Query => "query",
            Self::Read => "read",
            Self::Write => "write",
            Self::Control => "control",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Rehearsal {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }

    /// Counts a request, and tells what is to be done to it.
    pub(crate) fn meet(&self, parts: &Parts) -> Option<Fault> {
        let kind = Kind::of(parts);
        let database = database_of(parts.uri.path())?;
        let state = &mut *self.state();
        *state.requests.entry(database.to_owned()).or_default().entry(kind).or_default() += 1;
        let planned = state.planned.iter_mut().find(|planned| {
            planned.database == database && planned.on.is_none_or(|on| on == kind)
        })?;
        planned.left -= 1;
        let fault = planned.fault;
        state.planned.retain(|planned| planned.left > 0);
        Some(fault)
    }

    /// Answers what tests ask; none for a request that is not theirs.
    pub(crate) fn control(&self, parts: &Parts) -> Option<Result<String, &'static str>> {
        let asked = parts.uri.path().strip_prefix("/_test/")?;
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let pairs: BTreeMap<String, String> = pairs.into_owned().collect();
        Some(match asked {
            "fault" => self.plan(&pairs),
            "requests" => self.count(&pairs),
            _ => Err("there are /_test/fault and /_test/requests"),
        })
    }

    fn plan(&self, pairs: &BTreeMap<String, String>) -> Result<String, &'static str> {
        let text = |name: &str| pairs.get(name).map(String::as_str);
        let number = |name: &str, usual: u64| match text(name) {
            None => Ok(usual),
            Some(text) => text.parse().map_err(|_| "count and retry_after_ms are numbers"),
        };
        let fault = match text("kind") {
            Some("throttle") => Fault::Throttle { retry_after_ms: number("retry_after_ms", 0)? },
            Some("refuse") => Fault::Refuse,
            Some("forbid") => Fault::Forbid,
            Some("lose_answer") => Fault::LoseAnswer,
            Some(_) | None => return Err("kind is throttle, refuse, forbid or lose_answer"),
        };
        let on = match text("on") {
            None => None,
            Some(name) => Some(Kind::named(name).ok_or("on is a kind of request")?),
        };
        let database = text("database").ok_or("a database must be named")?.to_owned();
        let left = number("count", 1)?;
        if left > 0 {
            self.state().planned.push(Planned { database, on, fault, left });
        }
        Ok(String::new())
    }

    fn count(&self, pairs: &BTreeMap<String, String>) -> Result<String, &'static str> {
        let database = pairs.get("database").ok_or("a database must be named")?;
        let state = self.state();
        let mut text = String::new();
        for (kind, count) in state.requests.get(database).into_iter().flatten() {
            writeln!(text, "{} {count}", kind.name()).expect("a string takes everything");
        }
        Ok(text)
    }
}

fn database_of(path: &str) -> Option<&str> {
    let name = path.trim_start_matches('/').strip_prefix("dbs/")?.split('/').next()?;
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(method: &str, uri: &str, headers: &[&str]) -> Parts {
        let mut request = hyper::Request::builder().method(method).uri(uri);
        for name in headers {
            request = request.header(*name, "True");
        }
        request.body(()).expect("it is well formed").into_parts().0
    }

    #[test]
    fn a_fault_meets_the_next_requests_of_its_kind_and_database_only() {
        let rehearsal = Rehearsal::default();
        let fault = "/_test/fault?database=a&kind=throttle&on=read&count=2&retry_after_ms=7";
        assert_eq!(rehearsal.control(&parts("PUT", fault, &[])), Some(Ok(String::new())));
        let batch = parts("POST", "/dbs/a/colls/c/docs", &["x-ms-cosmos-is-batch-request"]);
        let read = |database: &str| parts("GET", &format!("/dbs/{database}/colls/c/docs/x"), &[]);
        assert_eq!(rehearsal.meet(&batch), None);
        assert_eq!(rehearsal.meet(&read("b")), None);
        for _ in 0..2 {
            assert_eq!(rehearsal.meet(&read("a")), Some(Fault::Throttle { retry_after_ms: 7 }));
        }
        assert_eq!(rehearsal.meet(&read("a")), None);
        let counted = rehearsal.control(&parts("GET", "/_test/requests?database=a", &[]));
        assert_eq!(counted, Some(Ok("batch 1\nread 3\n".into())));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let rehearsal = Rehearsal::default();
        for uri in ["/_test/else", "/_test/fault?database=a", "/_test/fault?kind=refuse"] {
            assert!(matches!(rehearsal.control(&parts("PUT", uri, &[])), Some(Err(_))), "{uri}");
        }
        assert_eq!(rehearsal.control(&parts("GET", "/dbs", &[])), None);
    }
}
