//! What operators do with migrations: start, look, list, watch, pause, resume, cancel.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tracing::Instrument;

use super::effects::World;
use super::error::RETRY_AFTER;
use super::journal::{Journal, Shelf, StoredRecord};
use super::left::LeftToOthers;
use super::live::{Live, LiveMigrations};
use super::progress::MigrationView;
use super::record::{Orders, RecordedProgress};
use super::request::ListMigrations;
use super::runner::{RunEnd, Runner, RunnerParts};
use super::{
    MigrationError, MigrationRecord, MigrationRequest, MigrationSettings, Phase, WithoutLock,
};
use crate::documents::{DocumentError, DocumentKey, ObjectDocuments};
use crate::domain::{InvalidValue, MigrationId, ObjectDocument, StreamAddress};
use crate::lock::{Hint, Hints, Lock, LockError, Owner, Pauses};
use crate::runtime::Runtime;
use crate::store::{EventStore, StoreError, Stores};
use crate::telemetry::fields;
use crate::telemetry::moves::MoveWatch;

/// What the service is built of.
pub struct MigrationParts {
    pub settings: MigrationSettings,
    pub runtime: Runtime,
    pub stores: Stores,
    pub objects: ObjectDocuments,
    pub journal: Journal,
    pub lock: Arc<dyn Lock>,
    pub pauses: Arc<dyn Pauses>,
    pub hints: Arc<dyn Hints>,
    pub moves: Arc<MoveWatch>,
    pub owner: Owner,
}

/// The migrations of a deployment, as this process serves and runs them.
#[derive(Clone)]
pub struct Migrations {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) settings: MigrationSettings,
    pub(super) runtime: Runtime,
    pub(super) journal: Journal,
    pub(super) live: LiveMigrations,
    pub(super) left: LeftToOthers,
    stores: Stores,
    objects: ObjectDocuments,
    pub(super) lock: Arc<dyn Lock>,
    hints: Arc<dyn Hints>,
    pub(super) owner: Owner,
    parts: RunnerParts,
    running: Arc<Semaphore>,
}

/// A page of migrations.
#[derive(Clone, Debug)]
pub struct ListedMigrations {
    pub migrations: Vec<MigrationView>,
    pub next_page_token: Option<String>,
}

impl Migrations {
    pub fn new(parts: MigrationParts) -> Self {
        let world = World {
            runtime: parts.runtime.clone(),
            stores: parts.stores.clone(),
            objects: parts.objects.clone(),
            journal: parts.journal.clone(),
            pauses: parts.pauses,
            hints: Arc::clone(&parts.hints),
            answers: Arc::default(),
        };
        let runner_parts = RunnerParts {
            world,
            settings: parts.settings.clone(),
            lock: Arc::clone(&parts.lock),
            owner: parts.owner.clone(),
            moves: parts.moves,
        };
        let running = Arc::new(Semaphore::new(parts.settings.running_max.max(1)));
        let inner = Inner {
            left: LeftToOthers::new(parts.settings.lease_ttl),
            settings: parts.settings,
            runtime: parts.runtime,
            journal: parts.journal,
            live: LiveMigrations::default(),
            stores: parts.stores,
            objects: parts.objects,
            lock: parts.lock,
            hints: parts.hints,
            owner: parts.owner,
            parts: runner_parts,
            running,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Starts a migration and returns it. The same request again returns the same migration.
    pub async fn start(&self, request: MigrationRequest) -> Result<MigrationView, MigrationError> {
        request.check()?;
        let inner = &*self.inner;
        let id = request.migration_id();
        if let Some(known) = inner.journal.get(id).await? {
            same_request(&known.record, &request)?;
            return Ok(self.view_of(known));
        }
        let document = inner.validate(&request).await?;
        let record = inner.new_record(id, &request, &document);
        if request.validate_only {
            return Ok(MigrationView::remembered(record));
        }
        let stored = inner.journal.create(&record).await?;
        same_request(&stored.record, &request)?;
        tracing::info!(
            { fields::MIGRATION_ID } = %id,
            { fields::OBJECT_NAME } = %request.object.name,
            { fields::OBJECT_ID } = %request.object.id,
            { fields::STORE_NAME } = %request.target_store,
            "migration asked for"
        );
        self.launch(stored.clone());
        Ok(self.view_of(stored))
    }

    /// The migration with who holds its lock now: the service is asked, and where it cannot be
    /// reached the record remembers who held it last.
    pub async fn get(&self, id: MigrationId) -> Result<MigrationView, MigrationError> {
        let mut view = self.view_of(self.inner.stored(id).await?);
        let runs_here = self.inner.live.get(id).is_some();
        if !view.record.phase.has_ended()
            && !runs_here
            && let Ok(holder) = self.inner.lock.holder(&view.record.object).await
        {
            view.record.lease_expires_at = holder.as_ref().map(|lease| lease.expires_at);
            view.record.owner = holder.map(|lease| lease.owner.0);
        }
        Ok(view)
    }

    /// Unfinished migrations first, then the finished ones; each in the order of their ids.
    pub async fn list(&self, list: ListMigrations) -> Result<ListedMigrations, MigrationError> {
        let (mut shelf, mut after) = place_of(list.page_token)?;
        let mut migrations = Vec::new();
        loop {
            let wanted = list.page_size - migrations.len();
            let page = self.inner.journal.list(shelf, after.as_ref(), wanted).await?;
            let views = page.records.into_iter().map(|stored| self.view_of(stored));
            migrations.extend(
                views.filter(|view| {
                    list.phases.is_empty() || list.phases.contains(&view.record.phase)
                }),
            );
            after = page.next;
            if after.is_none() {
                match shelf {
                    Shelf::Unfinished => shelf = Shelf::Finished,
                    Shelf::Finished => {
                        return Ok(ListedMigrations { migrations, next_page_token: None });
                    }
                }
            }
            if migrations.len() >= list.page_size {
                let token = after.unwrap_or_else(DocumentKey::migrations_finished);
                let next_page_token = Some(token.as_str().to_owned());
                return Ok(ListedMigrations { migrations, next_page_token });
            }
        }
    }

    /// The current state at once, then each change, until the migration has ended.
    pub async fn watch(&self, id: MigrationId) -> Result<Watch, MigrationError> {
        self.inner.stored(id).await?;
        Ok(Watch { migrations: self.clone(), id, shown: None })
    }

    /// Stops copying until it is resumed. Appends go on in the source.
    pub async fn pause(&self, id: MigrationId) -> Result<MigrationView, MigrationError> {
        let now = self.inner.runtime.clock.now();
        self.order(id, "paused", |record| {
            if !record.orders.paused {
                record.orders.paused = true;
                record.paused_since = Some(now);
            }
        })
        .await
    }

    pub async fn resume(&self, id: MigrationId) -> Result<MigrationView, MigrationError> {
        let now = self.inner.runtime.clock.now();
        self.order(id, "resumed", |record| {
            if let Some(since) = record.paused_since.take() {
                let paused = u64::try_from(now.since(since).as_millis()).unwrap_or(u64::MAX);
                record.paused_ms = record.paused_ms.saturating_add(paused);
            }
            record.orders.paused = false;
        })
        .await
    }

    /// Gives a migration up before its source is closed; it may come too late. Asking again may
    /// add that the copy shall be removed.
    pub async fn cancel(
        &self,
        id: MigrationId,
        remove_target: bool,
    ) -> Result<MigrationView, MigrationError> {
        let view = self.get(id).await?;
        if view.record.phase == Phase::Cancelled || view.record.phase == Phase::Failed {
            return self.cancel_ended(view, remove_target).await;
        }
        self.order(id, "cancelled", |record| {
            record.orders.cancelled = true;
            record.orders.remove_target |= remove_target;
        })
        .await
    }

    /// An ended migration is cancelled already; while its copy is not settled, it can still be
    /// asked to remove it.
    async fn cancel_ended(
        &self,
        view: MigrationView,
        remove_target: bool,
    ) -> Result<MigrationView, MigrationError> {
        let asks_for_more = remove_target && !view.record.orders.remove_target;
        if !asks_for_more {
            return Ok(view);
        }
        if view.record.is_final() {
            let phase = view.record.phase;
            return Err(MigrationError::InvalidTransition {
                phase,
                verb: "cancelled with removal",
            });
        }
        let change = |record: &mut MigrationRecord| record.orders.remove_target = true;
        let id = view.record.migration;
        self.inner.change(id, |_| Ok(()), change).await?;
        self.get(id).await
    }

    async fn order(
        &self,
        id: MigrationId,
        verb: &'static str,
        change: impl Fn(&mut MigrationRecord),
    ) -> Result<MigrationView, MigrationError> {
        let live_phase = self.inner.live.get(id).map(|live| live.view().record.phase);
        let allowed = |record: &MigrationRecord| {
            let phase = live_phase.filter(|_| !record.phase.has_ended()).unwrap_or(record.phase);
            match phase {
                Phase::Preparing | Phase::CatchingUp | Phase::Closing => Ok(()),
                Phase::Rerouting
                | Phase::Verifying
                | Phase::Succeeded
                | Phase::Failed
                | Phase::Cancelled => Err(MigrationError::InvalidTransition { phase, verb }),
            }
        };
        let stored = self.inner.change(id, allowed, change).await?;
        if let Some(live) = self.inner.live.get(id) {
            live.nudge();
        } else {
            self.inner.hints.tell(Hint::OrdersChanged { migration: id });
            self.launch(stored.clone());
        }
        let mut view = self.view_of(stored.clone());
        view.record.orders = stored.record.orders;
        Ok(view)
    }

    /// Another process ordered something of a migration: if it runs here, it looks at its record.
    pub fn orders_changed(&self, id: MigrationId) {
        if let Some(live) = self.inner.live.get(id) {
            live.nudge();
        }
    }

    /// Runs a migration here, as soon as there is room; nothing if it runs here already.
    pub(super) fn launch(&self, stored: StoredRecord) {
        let view = MigrationView::remembered(stored.record.clone());
        let id = stored.record.migration;
        let Some(live) = self.inner.live.enter(view) else { return };
        let span = tracing::info_span!("migration", { fields::MIGRATION_ID } = %id);
        let migrations = self.clone();
        let run = async move {
            let end = migrations.run_when_there_is_room(stored, live).await;
            migrations.note_end(id, end);
            migrations.inner.live.leave(id);
            let leaves = migrations.inner.runtime.shutdown.has_begun();
            if matches!(end, RunEnd::CutOff { .. }) || (end == RunEnd::SteppedAside && leaves) {
                // Whoever does not hear it finds the migration by its next scan.
                let wanted = Hint::MigrationWanted { migration: id };
                let _ = migrations.inner.hints.tell_now(wanted).await;
            }
            tracing::debug!(end = ?end, "migration left");
        };
        self.inner.runtime.shutdown.spawn(run.instrument(span));
    }

    /// Order: before it counts as not running here, so that no scan takes it up at once.
    fn note_end(&self, id: MigrationId, end: RunEnd) {
        let (left, runtime) = (&self.inner.left, &self.inner.runtime);
        match end {
            RunEnd::CutOff { went_on } => {
                if went_on {
                    left.forget(id);
                }
                let wait = left.leave(id, runtime.clock.monotonic(), &*runtime.entropy);
                tracing::info!(
                    { fields::DURATION_US } = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX),
                    "others may take the migration up"
                );
            }
            RunEnd::Ended | RunEnd::Parked => left.forget(id),
            RunEnd::SteppedAside | RunEnd::LockUnavailable => {}
        }
    }

    async fn run_when_there_is_room(&self, stored: StoredRecord, live: Arc<Live>) -> RunEnd {
        let inner = &self.inner;
        let room = tokio::select! {
            biased;
            () = inner.runtime.shutdown.begun() => return RunEnd::SteppedAside,
            room = inner.running.acquire() => room.expect("the semaphore is never closed"),
        };
        let cut_off_before = inner.left.times(stored.record.migration);
        let runner = Runner::new(inner.parts.clone(), stored, live, cut_off_before);
        let end = runner.run().await;
        drop(room);
        end
    }

    fn view_of(&self, stored: StoredRecord) -> MigrationView {
        let remembered = MigrationView::remembered(stored.record);
        if remembered.record.phase.has_ended() {
            return remembered;
        }
        match self.inner.live.get(remembered.record.migration) {
            Some(live) => {
                let mut view = live.view();
                // Orders are told to the record first.
                view.record.orders = remembered.record.orders;
                view
            }
            None => remembered,
        }
    }
}

impl Inner {
    async fn stored(&self, migration: MigrationId) -> Result<StoredRecord, MigrationError> {
        let found = self.journal.get(migration).await?;
        found.ok_or(MigrationError::MigrationNotFound { migration })
    }

    async fn change(
        &self,
        id: MigrationId,
        allowed: impl Fn(&MigrationRecord) -> Result<(), MigrationError>,
        change: impl Fn(&mut MigrationRecord),
    ) -> Result<StoredRecord, MigrationError> {
        for _ in 0..64 {
            let stored = self.stored(id).await?;
            allowed(&stored.record)?;
            let mut record = stored.record.clone();
            change(&mut record);
            record.updated_at = self.runtime.clock.now();
            match self.journal.update(&record, &stored.etag).await {
                Ok(etag) => return Ok(StoredRecord { record, etag, finished: false }),
                Err(DocumentError::Conflict | DocumentError::OutcomeUnknown { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(DocumentError::Conflict.into())
    }

    /// Everything that can be known before anything is written.
    async fn validate(&self, request: &MigrationRequest) -> Result<ObjectDocument, MigrationError> {
        let target = self.stores.get(&request.target_store)?;
        let found = self.objects.get(&request.object).await?;
        let document = found
            .ok_or_else(|| MigrationError::ObjectNotFound { object: request.object.clone() })?
            .document;
        let active = &document.active;
        if let Some(expected) = &request.expected_source {
            self.stores.get(&expected.store)?;
            if !expected.is_met_by(active) {
                let stream = expected.stream_id.as_ref().map_or("", |id| id.as_str());
                let expected = format!("{}:{stream}", expected.store);
                let actual = active.address.clone();
                return Err(MigrationError::UnexpectedSource { expected, actual });
            }
        }
        if let Some(running) = &document.running_migration {
            return Err(MigrationError::AlreadyRunning { running: running.migration });
        }
        // Every stream from which something is copied must fit; what is copied is known later.
        if let Some(base) = request.base_over(active) {
            let inherited = document.inherited().filter(|_| base < active.base);
            let read = inherited.map(|listed| &listed.stream).chain([active]);
            for stream in read {
                check_limits(&**self.stores.get(&stream.address.store)?, &**target)?;
            }
        }
        if let Some(stream_id) = &request.target_stream_id {
            let address =
                StreamAddress { store: request.target_store.clone(), stream_id: stream_id.clone() };
            match target.tail(stream_id).await {
                Err(StoreError::NotFound) => {}
                Ok(_) => return Err(MigrationError::TargetNotEmpty { target: address }),
                Err(error) => return Err(error.into()),
            }
        }
        match self.lock.holder(&request.object).await {
            Ok(_) => {}
            Err(LockError::Unavailable { .. })
                if self.settings.without_lock == WithoutLock::Wait => {}
            Err(LockError::Unavailable { retry_after }) => {
                let retry_after = retry_after.unwrap_or(RETRY_AFTER);
                return Err(MigrationError::LockUnavailable { retry_after });
            }
            Err(error @ (LockError::Held { .. } | LockError::Lost)) => return Err(error.into()),
        }
        Ok(document)
    }

    fn new_record(
        &self,
        migration: MigrationId,
        request: &MigrationRequest,
        document: &ObjectDocument,
    ) -> MigrationRecord {
        let now = self.runtime.clock.now();
        MigrationRecord {
            migration,
            request_id: request.request_id.clone(),
            object: request.object.clone(),
            kind: request.kind,
            source: document.active.clone(),
            target_store: request.target_store.clone(),
            target_stream_id: request.target_stream_id.clone(),
            target_base: request.base_over(&document.active),
            target: None,
            options: request.options.clone(),
            labels: request.labels.clone(),
            phase: Phase::Preparing,
            orders: Orders::default(),
            provisional: false,
            released: false,
            failure: None,
            progress: RecordedProgress::default(),
            certificate: None,
            token: 1,
            owner: Some(self.owner.0.clone()),
            lease_expires_at: None,
            created_at: now,
            updated_at: now,
            ended_at: None,
            paused_since: None,
            paused_ms: 0,
        }
    }
}

/// The changes of one migration, as they are asked for.
pub struct Watch {
    migrations: Migrations,
    id: MigrationId,
    shown: Option<MigrationView>,
}

/// How often a migration that runs elsewhere is looked at.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

impl Watch {
    /// The next state that differs; none after the migration has ended.
    pub async fn next(&mut self) -> Option<Result<MigrationView, MigrationError>> {
        if self.shown.as_ref().is_some_and(|shown| shown.record.phase.has_ended()) {
            return None;
        }
        loop {
            let live = self.migrations.inner.live.get(self.id);
            let mut changes = live.as_ref().map(|live| live.subscribe());
            let view = match self.migrations.get(self.id).await {
                Ok(view) => view,
                Err(error) => return Some(Err(error)),
            };
            if self.shown.as_ref() != Some(&view) {
                self.shown = Some(view.clone());
                return Some(Ok(view));
            }
            drop(live);
            let runtime = &self.migrations.inner.runtime;
            let changed = async {
                match &mut changes {
                    Some(changes) => drop(changes.changed().await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = runtime.shutdown.begun() => return None,
                () = changed => {}
                () = runtime.clock.sleep(WATCH_INTERVAL) => {}
            }
        }
    }
}

fn same_request(
    record: &MigrationRecord,
    request: &MigrationRequest,
) -> Result<(), MigrationError> {
    let same = record.object == request.object
        && record.target_store == request.target_store
        && record.target_stream_id == request.target_stream_id
        && record.kind == request.kind
        && record.base() == request.base_over(&record.source);
    if same {
        return Ok(());
    }
    let problem =
        format!("was used for the migration of {} to {}", record.object, record.target_store);
    Err(InvalidValue::new("request_id", problem).into())
}

fn check_limits(source: &dyn EventStore, target: &dyn EventStore) -> Result<(), MigrationError> {
    let (source, target) = (source.capabilities().limits, target.capabilities().limits);
    if target.event_bytes_max < source.event_bytes_max {
        let what = format!(
            "its events have at most {} bytes, the source's {}",
            target.event_bytes_max, source.event_bytes_max
        );
        return Err(MigrationError::Unsupported { what });
    }
    Ok(())
}

fn place_of(token: Option<String>) -> Result<(Shelf, Option<DocumentKey>), InvalidValue> {
    let Some(token) = token else { return Ok((Shelf::Unfinished, None)) };
    let shelves = [
        (Shelf::Unfinished, DocumentKey::migrations_unfinished()),
        (Shelf::Finished, DocumentKey::migrations_finished()),
    ];
    for (shelf, prefix) in shelves {
        if token.starts_with(prefix.as_str()) {
            let after = (token != prefix.as_str()).then(|| DocumentKey::from_raw(token));
            return Ok((shelf, after));
        }
    }
    Err(InvalidValue::new("page_token", "must be one that a page of the same listing gave"))
}
