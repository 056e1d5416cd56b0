//! Sends the lines: bounded in flight, bounded in memory, each repeated while that can help.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::Arguments;
use super::display::{Counts, Display, text_of};
use super::lines::{BadLine, Line, Source};
use super::queue::{Queue, object_of};
use crate::cli::connection::{Connection, Patience};
use crate::cli::failure::Failure;
use crate::cli::output::answer;
use crate::cli::session::Session;
use crate::cli::verdict::{Effect, Verdict};
use crate::grpc::v1;

/// Lines that are parsed together, and how much of them.
const BATCH_LINES: usize = 256;
const BATCH_BYTES: usize = 1024 * 1024;
const BATCHES_WAITING: usize = 4;
/// Lines that wait for an earlier one of their object, and how much of them.
const WAITING_LINES: usize = 16 * 1024;
const WAITING_BYTES: usize = 64 * 1024 * 1024;
const SHOW_EVERY: Duration = Duration::from_millis(200);
/// Failures that are told one by one; the rest are counted.
const FAILURES_SHOWN: u64 = 20;

type Parsed = Result<Vec<Line>, BadLine>;

pub(super) async fn send(
    session: &Session,
    arguments: &Arguments,
    source: Source,
) -> Result<(), Failure> {
    let clock = &session.runtime.clock;
    let mut connections = Vec::new();
    for _ in 0..arguments.connections {
        connections.push(Connection::open(session)?);
    }
    let mut import = Import::new(session, &source);
    let taken = source.taken.clone();
    let mut parsed = parse_aside(source, arguments.from_line);
    let patience = Patience::long(session.timeout, arguments.retry_for);
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    let mut on_their_way = FuturesUnordered::new();
    let (mut is_reading, mut begun) = (true, 0_usize);
    loop {
        while on_their_way.len() < usize::from(arguments.in_flight)
            && let Some(line) = import.queue.pop()
        {
            let connection = &connections[begun % connections.len()];
            begun += 1;
            on_their_way.push(append(connection, patience, line));
        }
        is_reading &= import.end.is_none();
        let has_room = import.queue.has_room(WAITING_LINES, WAITING_BYTES);
        if !is_reading && on_their_way.is_empty() {
            break;
        }
        tokio::select! {
            biased;
            // Order: what is done first, so that a full window empties before more comes in.
            Some((line, answer)) = on_their_way.next() => import.settle(&line, answer),
            _ = &mut interrupted, if import.end.is_none() => import.stop(Failure::Interrupted),
            batch = parsed.recv(), if is_reading && has_room => match batch {
                Some(Ok(lines)) => lines.into_iter().for_each(|line| import.take(line)),
                Some(Err(bad)) => import.end_at(&bad, &mut is_reading),
                None => is_reading = false,
            },
            () = clock.sleep(SHOW_EVERY) => {}
        }
        import.counts.repeats = connections.iter().map(Connection::repeats).sum();
        import.show(clock.monotonic(), taken.load(Ordering::Relaxed));
    }
    import.finish(session)
}

/// Reading, unpacking and parsing happen on a thread of their own: they block and compute.
fn parse_aside(mut source: Source, from_line: u64) -> mpsc::Receiver<Parsed> {
    let (sender, receiver) = mpsc::channel(BATCHES_WAITING);
    tokio::task::spawn_blocking(move || {
        loop {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            let end = loop {
                match source.next(from_line) {
                    Ok(Some(line)) => {
                        bytes += line.size();
                        batch.push(line);
                    }
                    Ok(None) => break Some(None),
                    Err(bad) => break Some(Some(bad)),
                }
                if batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES {
                    break None;
                }
            };
            if sender.blocking_send(Ok(batch)).is_err() {
                return;
            }
            match end {
                None => {}
                Some(None) => return,
                Some(Some(bad)) => {
                    _ = sender.blocking_send(Err(bad));
                    return;
                }
            }
        }
    });
    receiver
}

async fn append(
    connection: &Connection,
    patience: Patience,
    line: Line,
) -> (Line, Result<v1::AppendResponse, Box<Verdict>>) {
    let request = v1::AppendRequest {
        object: Some(line.object.clone()),
        events: vec![line.event.clone()],
        ..Default::default()
    };
    let answer = connection
        .call_patiently(patience, Effect::Writes, request, |request| {
            let mut client = connection.events();
            async move { client.append(request).await }
        })
        .await;
    (line, answer)
}

/// Where an import stands.
struct Import {
    queue: Queue,
    counts: Counts,
    display: Display,
    began: Duration,
    /// Why nothing more is sent.
    end: Option<Failure>,
    /// The last line that was read.
    read_to: u64,
    /// A line from which on nothing was sent.
    stopped_at: Option<u64>,
}

impl Import {
    fn new(session: &Session, source: &Source) -> Self {
        let began = session.runtime.clock.monotonic();
        Self {
            queue: Queue::default(),
            counts: Counts::default(),
            display: Display::new(source.size, began),
            began,
            end: None,
            read_to: 0,
            stopped_at: None,
        }
    }

    fn take(&mut self, line: Line) {
        self.read_to = line.number;
        self.queue.push(line);
    }

    fn settle(&mut self, line: &Line, answer: Result<v1::AppendResponse, Box<Verdict>>) {
        match answer {
            Ok(appended) => {
                match appended.replay {
                    true => self.counts.replayed += 1,
                    false => self.counts.appended += 1,
                }
                self.queue.done(line.number, object_of(line));
            }
            Err(verdict) => {
                self.counts.failed += 1;
                self.queue.lost(object_of(line));
                if self.counts.failed <= FAILURES_SHOWN {
                    self.display.note(&format!("line {}: {}", line.number, verdict.text()));
                }
                // Refusals are about one object. The rest is about the server, and patience for
                // it has just ended: trying every other line as long would take for ever.
                if verdict.may_be_repeated() || verdict.is_about_the_server() {
                    self.stop(Failure::Call(verdict));
                }
            }
        }
    }

    fn stop(&mut self, why: Failure) {
        self.queue.abandon();
        self.stopped_at.get_or_insert(self.read_to + 1);
        self.end.get_or_insert(why);
    }

    /// Whose line it is cannot be known, so nothing behind it can be sent in its right order.
    fn end_at(&mut self, bad: &BadLine, is_reading: &mut bool) {
        *is_reading = false;
        self.counts.failed += 1;
        self.stopped_at = Some(bad.number);
        let number = bad.number;
        self.display.note(&format!("line {number}: {}; nothing behind it was sent", bad.problem));
    }

    fn show(&mut self, now: Duration, taken: u64) {
        self.counts.held_back = self.queue.held_back();
        self.counts.elapsed_ms =
            u64::try_from(now.saturating_sub(self.began).as_millis()).unwrap_or(u64::MAX);
        self.display.show(&self.counts, taken, now);
    }

    fn finish(mut self, session: &Session) -> Result<(), Failure> {
        self.show(session.runtime.clock.monotonic(), 0);
        self.display.finish();
        let missing = [self.queue.first_missing(), self.stopped_at];
        self.counts.resume_at_line = missing.into_iter().flatten().min();
        answer(session.format(), &self.counts, || text_of(&self.counts))?;
        if let Some(line) = self.counts.resume_at_line {
            self.display.note(&format!(
                "Not everything is there. Run the import again, from the start or with \
                 --from-line {line}: lines that are there are recognised by their ids."
            ));
        }
        if let Some(end) = self.end {
            return Err(end);
        }
        match self.counts.failed + self.counts.held_back {
            0 => Ok(()),
            lines => Err(Failure::unsuccessful(format!("{lines} lines were not imported"))),
        }
    }
}
