//! What must hold before a store opens: the bucket is there, we may do what we must, and the
//! service keeps conditional writes also in a race. Everything that is missing is found at once.

use std::fmt;

use uuid::Uuid;

use super::S3Options;
use super::bucket::{Bucket, Got, Put};
use super::error::{Failure, OpenError};
use super::layout::PROBES;
use crate::domain::ErrorClass;
use crate::runtime::Runtime;

/// Races of so many writers on one state; exactly one may win each.
const RACES: usize = 4;
const RIVALS: u8 = 8;

/// What the service can do beyond what it must.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) deletes_on_condition: bool,
}

/// What stands in the way of opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Nobody answers there.
    Unreachable {
        detail: String,
    },
    NoBucket {
        bucket: String,
    },
    /// Whoever the credentials are of, the service does not know them.
    Unknown {
        detail: String,
    },
    Denied {
        permission: &'static str,
        detail: String,
    },
    /// Two writers could both succeed, or a stale one: the store must not be used.
    Unsafe {
        what: String,
    },
    Other {
        doing: &'static str,
        detail: String,
    },
}

impl Problem {
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unreachable { .. } | Self::Other { .. } => ErrorClass::Unavailable,
            Self::NoBucket { .. } => ErrorClass::NotFound,
            Self::Unknown { .. } => ErrorClass::Unauthenticated,
            Self::Denied { .. } => ErrorClass::Forbidden,
            Self::Unsafe { .. } => ErrorClass::Unsupported,
        }
    }

    fn of(doing: &'static str, permission: &'static str, bucket: &str, failure: &Failure) -> Self {
        let detail = failure.to_string();
        let no_such_caller = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"];
        match (failure.status(), failure.code()) {
            (_, "NoSuchBucket") => Self::NoBucket { bucket: bucket.into() },
            (_, code) if no_such_caller.contains(&code) => Self::Unknown { detail },
            (Some(401), _) => Self::Unknown { detail },
            (Some(403), _) => Self::Denied { permission, detail },
            (Some(501), _) => Self::Unsafe { what: format!("{doing} is not implemented") },
            (Some(_), _) => Self::Other { doing, detail },
            (None, _) => Self::Unreachable { detail },
        }
    }

    fn not_kept(what: impl Into<String>) -> Self {
        Self::Unsafe { what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { detail } => write!(f, "it cannot be reached: {detail}"),
            Self::NoBucket { bucket } => write!(
                f,
                "the bucket is not there; create it, as with \
                 `aws s3api create-bucket --bucket {bucket}`"
            ),
            Self::Unknown { detail } => write!(f, "the credentials are refused: {detail}"),
            Self::Denied { permission, detail } => {
                write!(f, "the permission {permission} is missing: {detail}")
            }
            Self::Unsafe { what } => {
                write!(f, "it does not keep conditional writes, so events could be lost: {what}")
            }
            Self::Other { doing, detail } => write!(f, "{doing} failed: {detail}"),
        }
    }
}

/// Tries everything that the store needs on an object of its own.
pub(super) async fn check(
    bucket: &Bucket,
    options: &S3Options,
    runtime: &Runtime,
) -> Result<Found, OpenError> {
    let id = runtime.entropy.uuid();
    let mut probe =
        Probe { bucket, name: &options.bucket, key: format!("{PROBES}{id}"), problems: Vec::new() };
    let deletes_on_condition = probe.run().await;
    let Probe { key, problems, .. } = probe;
    if problems.is_empty() {
        return Ok(Found { deletes_on_condition });
    }
    // What is left of the probe is never looked at again.
    drop(bucket.delete(&key).await);
    let (bucket, endpoint) = (options.bucket.clone(), options.endpoint_text());
    Err(OpenError::Unusable { bucket, endpoint, problems })
}

struct Probe<'a> {
    bucket: &'a Bucket,
    name: &'a str,
    key: String,
    problems: Vec<Problem>,
}

impl Probe<'_> {
    /// Answers whether deletes on condition are kept.
    async fn run(&mut self) -> bool {
        let listed = self.bucket.list(PROBES, None, 2).await;
        self.note("a listing", "s3:ListBucket", listed);
        if self.ends_here() {
            return false;
        }
        let created = self.bucket.create(&self.key, body(0)).await;
        let Some(Put::Done(first)) = self.note("a write", "s3:PutObject", created) else {
            return false;
        };
        let read = self.bucket.get(&self.key, None).await;
        match self.note("a read", "s3:GetObject", read) {
            Some(Got::Found { etag, body }) if etag == first && body == bytes_of(0) => {}
            Some(Got::Found { .. }) => {
                self.problems.push(Problem::not_kept("a write is not read back as it was"));
            }
            Some(Got::Absent | Got::Unchanged) => {
                self.problems.push(Problem::not_kept("a write is not seen by the next read"));
            }
            None => {}
        }
        if let Some(last) = self.conditions(&first).await {
            return self.deletes(&last).await;
        }
        false
    }

    /// Whether there is no use in going on.
    fn ends_here(&self) -> bool {
        self.problems.iter().any(|problem| match problem {
            Problem::Unreachable { .. } | Problem::NoBucket { .. } | Problem::Unknown { .. } => {
                true
            }
            Problem::Denied { .. } | Problem::Unsafe { .. } | Problem::Other { .. } => false,
        })
    }

    fn note<T>(
        &mut self,
        doing: &'static str,
        permission: &'static str,
        answer: Result<T, Failure>,
    ) -> Option<T> {
        match answer {
            Ok(answer) => Some(answer),
            Err(failure) => {
                self.problems.push(Problem::of(doing, permission, self.name, &failure));
                None
            }
        }
    }

    /// Answers the last etag if every condition was kept.
    async fn conditions(&mut self, first: &str) -> Option<String> {
        let again = self.bucket.create(&self.key, body(1)).await;
        let again = self.note("a write with If-None-Match", "s3:PutObject", again)?;
        if again != Put::Lost {
            self.problems.push(Problem::not_kept("it ignores If-None-Match"));
            return None;
        }
        let replaced = self.bucket.replace(&self.key, first, body(2)).await;
        let replaced = self.note("a write with If-Match", "s3:PutObject", replaced)?;
        let Put::Done(mut etag) = replaced else {
            self.problems.push(Problem::not_kept("it refuses If-Match with the right etag"));
            return None;
        };
        let stale = self.bucket.replace(&self.key, first, body(3)).await;
        let stale = self.note("a write with If-Match", "s3:PutObject", stale)?;
        if stale != Put::Lost || etag == first {
            self.problems.push(Problem::not_kept("it ignores If-Match"));
            return None;
        }
        for race in 0..RACES {
            let rivals = (0..RIVALS).map(|rival| {
                let body = body(10 + rival + RIVALS * u8::try_from(race).unwrap_or(0));
                self.bucket.replace(&self.key, &etag, body)
            });
            let answers = futures::future::join_all(rivals).await;
            let mut won = Vec::new();
            for answer in answers {
                match self.note("a race of writes", "s3:PutObject", answer)? {
                    Put::Done(etag) => won.push(etag),
                    Put::Lost => {}
                }
            }
            match won.as_slice() {
                [winner] => etag = winner.clone(),
                winners => {
                    let what = format!("a race of {RIVALS} writes has {} winners", winners.len());
                    self.problems.push(Problem::not_kept(what));
                    return None;
                }
            }
        }
        Some(etag)
    }

    /// Removes the probe, on condition if the service keeps that.
    async fn deletes(&mut self, etag: &str) -> bool {
        let other = format!("\"{}\"", Uuid::from_u128(0).simple());
        // An answer that is no success says the same as the right one: it does not do this.
        let stale = self.bucket.delete_if(&self.key, &other).await;
        let there = matches!(self.bucket.get(&self.key, None).await, Ok(Got::Found { .. }));
        let kept = matches!(stale, Ok(false)) && there;
        if !kept {
            let deleted = self.bucket.delete(&self.key).await;
            self.note("a delete", "s3:DeleteObject", deleted);
            return false;
        }
        let deleted = self.bucket.delete_if(&self.key, etag).await;
        let done = self.note("a delete", "s3:DeleteObject", deleted) == Some(true);
        let absent = self.bucket.delete_if(&self.key, etag).await;
        done && matches!(absent, Ok(false))
    }
}

fn bytes_of(number: u8) -> Vec<u8> {
    format!("probe {number:03}\n").into_bytes()
}

fn body(number: u8) -> object_store::PutPayload {
    bytes_of(number).into()
}
