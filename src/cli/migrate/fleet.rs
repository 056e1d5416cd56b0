//! Many objects, a bounded number at a time.
//!
//! With `--all` the request id of an object follows from the object, the very stream it lives in,
//! and the store it goes to. So a second run finds the migrations of the first and moves nothing
//! twice, and the expected source holds even against somebody else's migration in between.

use std::collections::VecDeque;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};

use super::tally::{Fate, Tally, text_of};
use super::{Arguments, one};
use crate::cli::connection::{Connection, Patience};
use crate::cli::failure::Failure;
use crate::cli::objects;
use crate::cli::output::{answer, note};
use crate::cli::session::Session;
use crate::cli::values::hex_text;
use crate::cli::verdict::{Effect, Verdict};
use crate::cli::watch::{Silence, follow, has_ended, outcome};
use crate::domain::Reason;
use crate::grpc::v1;

const CONNECTIONS: usize = 4;
const PAGE: u32 = 1_000;
/// Earlier runs whose migration of the same stream failed or was cancelled.
const EARLIER_ATTEMPTS_MAX: u32 = 20;
const SHOW_EVERY: std::time::Duration = std::time::Duration::from_millis(200);

pub(super) async fn run(session: &Session, mut arguments: Arguments) -> Result<(), Failure> {
    let mut connections = Vec::with_capacity(CONNECTIONS);
    for _ in 0..CONNECTIONS {
        connections.push(Connection::open(session)?);
    }
    let patience = Patience::long(session.timeout, arguments.retry_for);
    let mut work = Work::new(session, &mut arguments);
    let mut tally = Tally::new(session, work.known_count());
    let clock = &session.runtime.clock;
    let mut running = FuturesUnordered::new();
    let mut begun = 0_usize;
    loop {
        while running.len() < usize::from(arguments.concurrency) {
            let Some(item) = work.next(&connections[0], patience).await? else { break };
            let connection = &connections[begun % CONNECTIONS];
            begun += 1;
            running.push(move_one(session, connection, &arguments, item));
        }
        tokio::select! {
            biased;
            fate = running.next() => match fate {
                Some(fate) => tally.add(fate),
                None => break,
            },
            () = clock.sleep(SHOW_EVERY) => {}
        }
        tally.show(clock.monotonic(), running.len());
    }
    tally.show(clock.monotonic(), 0);
    let summary = tally.finish();
    answer(session.format(), &summary, || text_of(&summary))?;
    match summary.failed {
        0 => Ok(()),
        failed => Err(Failure::unsuccessful(format!("{failed} objects were not moved"))),
    }
}

/// One object to move.
struct Item {
    object: v1::ObjectRef,
    request_id: String,
    /// With `--all`: the stream that the listing saw.
    source: Option<v1::ExpectedSource>,
}

/// The objects still to move, from the arguments or from the listing, page by page.
struct Work {
    ready: VecDeque<Item>,
    listing: Option<v1::ListObjectsRequest>,
    goal: Goal,
}

/// What a listed object is to become, beside who it is: another goal is another request.
struct Goal {
    target: String,
    kind: v1::MigrationKind,
    base: v1::TargetBase,
}

impl Work {
    fn new(session: &Session, arguments: &mut Arguments) -> Self {
        let goal = Goal {
            target: arguments.to.clone(),
            kind: arguments.kind(),
            base: arguments.target_base(),
        };
        if let Some(from) = &arguments.from {
            let listing = v1::ListObjectsRequest {
                object_name: arguments.object_name.clone(),
                store: from.clone(),
                page_size: PAGE,
                page_token: String::new(),
            };
            return Self { ready: VecDeque::new(), listing: Some(listing), goal };
        }
        let base = arguments.request_id.take().unwrap_or_else(|| {
            let id = session.runtime.entropy.uuid().to_string();
            note(&format!("request id {id}"));
            id
        });
        let items = arguments.objects.drain(..).map(|object| {
            let hash = hash_of(&[&object.object_name, &object.object_id]);
            Item { request_id: format!("{base}-{}", &hash[..16]), object, source: None }
        });
        Self { ready: items.collect(), listing: None, goal }
    }

    fn known_count(&self) -> Option<u64> {
        self.listing.is_none().then_some(self.ready.len() as u64)
    }

    async fn next(
        &mut self,
        connection: &Connection,
        patience: Patience,
    ) -> Result<Option<Item>, Failure> {
        while self.ready.is_empty() {
            let Some(listing) = &mut self.listing else { return Ok(None) };
            let page = objects::page(connection, patience, listing.clone()).await?;
            self.ready.extend(page.objects.into_iter().filter_map(|o| listed(o, &self.goal)));
            if page.next_page_token.is_empty() {
                self.listing = None;
            } else {
                listing.page_token = page.next_page_token;
            }
        }
        Ok(self.ready.pop_front())
    }
}

fn listed(info: v1::ObjectInfo, goal: &Goal) -> Option<Item> {
    let (object, active) = (info.object?, info.chain.last()?);
    let target = goal.target.as_str();
    let (name, id) = (object.object_name.as_str(), object.object_id.as_str());
    let mut parts = vec![name, id, active.store.as_str(), active.stream_id.as_str(), target];
    // What is as by default leaves no trace, so that what an older release began is found again.
    if goal.kind == v1::MigrationKind::Continue {
        parts.push(goal.kind.as_str_name());
    }
    if goal.base == v1::TargetBase::Source {
        parts.push(goal.base.as_str_name());
    }
    let request_id = format!("all-{}", &hash_of(&parts)[..40]);
    let source =
        v1::ExpectedSource { store: active.store.clone(), stream_id: active.stream_id.clone() };
    Some(Item { object, request_id, source: Some(source) })
}

/// Lengths are hashed too, so that no two lists of parts run together.
fn hash_of(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex_text(&hasher.finalize())
}

async fn move_one(
    session: &Session,
    connection: &Connection,
    arguments: &Arguments,
    item: Item,
) -> Fate {
    let object = item.object.clone();
    match try_move(session, connection, arguments, item).await {
        Ok(fate) => fate,
        Err(failure) => Fate::Failed { object, problem: failure.text() },
    }
}

async fn try_move(
    session: &Session,
    connection: &Connection,
    arguments: &Arguments,
    item: Item,
) -> Result<Fate, Failure> {
    let patience = Patience::long(session.timeout, arguments.retry_for);
    let mut request = arguments.request(item.object.clone());
    if item.source.is_some() {
        request.expected_source = item.source.clone();
    }
    let mut attempt = 1;
    let started = loop {
        request.request_id = match attempt {
            1 => item.request_id.clone(),
            attempt => format!("{}-{attempt}", item.request_id),
        };
        let started = match one::start(connection, patience, request.clone()).await {
            Ok(started) => started,
            Err(verdict) => {
                let lives_elsewhere = is_unexpected_source(&verdict, &item)
                    && lives_elsewhere(connection, &item).await?;
                return if lives_elsewhere { Ok(Fate::Already) } else { Err(verdict.into()) };
            }
        };
        let failed_before =
            has_ended(started.phase()) && started.phase() != v1::MigrationPhase::Succeeded;
        if item.source.is_none() || !failed_before || attempt == EARLIER_ATTEMPTS_MAX {
            break started;
        }
        attempt += 1;
    };
    if arguments.validate_only {
        return Ok(Fate::Checked);
    }
    if started.phase() == v1::MigrationPhase::Succeeded {
        return Ok(Fate::Already);
    }
    if arguments.detach {
        return Ok(Fate::Started);
    }
    let id = &started.migration_id;
    let migration = follow(session, connection, id, arguments.retry_for, &mut Silence).await?;
    outcome(&migration)?;
    Ok(Fate::Moved(Box::new(migration)))
}

fn is_unexpected_source(verdict: &Verdict, item: &Item) -> bool {
    item.source.is_some() && verdict.reason == Reason::InvalidTransition.as_str()
}

/// Whether somebody moved the object after the listing saw it.
async fn lives_elsewhere(connection: &Connection, item: &Item) -> Result<bool, Failure> {
    let request = v1::GetObjectRequest { object: Some(item.object.clone()) };
    let response = connection
        .call(Effect::Reads, request, |request| {
            let mut client = connection.events();
            async move { client.get_object(request).await }
        })
        .await?;
    let chain = response.object.unwrap_or_default().chain;
    let source = item.source.as_ref();
    Ok(chain.last().zip(source).is_some_and(|(active, source)| active.store != source.store))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: &str, stream_id: &str) -> v1::ObjectInfo {
        v1::ObjectInfo {
            object: Some(v1::ObjectRef { object_name: "order".into(), object_id: id.into() }),
            chain: vec![v1::StreamInfo {
                store: "hot".into(),
                stream_id: stream_id.into(),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    #[test]
    fn request_ids_repeat_for_the_same_move_and_for_no_other() {
        let goal = |target: &str, kind, base| Goal { target: target.into(), kind, base };
        let (copy, all) = (v1::MigrationKind::Copy, v1::TargetBase::Unspecified);
        let of = |info, goal: Goal| listed(info, &goal).unwrap().request_id;
        let id = |info, target| of(info, goal(target, copy, all));
        let first = id(info("1", "order/1/0000000000"), "cold");
        assert_eq!(first, id(info("1", "order/1/0000000000"), "cold"));
        assert!(first.len() <= 120, "an attempt is still to be added");
        for other in [
            id(info("2", "order/1/0000000000"), "cold"),
            id(info("1", "order/1/0000000002"), "cold"),
            id(info("1", "order/1/0000000000"), "colder"),
            of(info("1", "order/1/0000000000"), goal("cold", v1::MigrationKind::Continue, all)),
            of(info("1", "order/1/0000000000"), goal("cold", copy, v1::TargetBase::Source)),
        ] {
            assert_ne!(first, other);
        }
        assert_ne!(hash_of(&["ab", "c"]), hash_of(&["a", "bc"]));
    }
}
