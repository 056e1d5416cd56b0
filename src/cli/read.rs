//! `read`: the history of one object, as JSON lines that `import` takes, or for people.

use clap::Args;

use super::connection::{Connection, Patience, Retry};
use super::event_line::EventLine;
use super::failure::Failure;
use super::object_path::parse_object;
use super::output::{Format, Output};
use super::session::Session;
use super::values::{moment_text, parse_moment};
use super::verdict::{Effect, Verdict};
use crate::grpc::v1;
use crate::grpc::v1::read_request::Start;
use crate::grpc::v1::read_response::Message;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The object, as order/42.
    #[arg(value_parser = parse_object)]
    object: v1::ObjectRef,
    /// The first version to read.
    #[arg(long, value_name = "VERSION", group = "start")]
    from_version: Option<u64>,
    /// Start at the first event recorded at this moment or later; with --backward at the last one
    /// recorded at this moment or before.
    #[arg(long, value_name = "TIME", group = "start", value_parser = parse_moment)]
    from_time: Option<prost_types::Timestamp>,
    /// Start behind the last event: with --follow, read only what comes.
    #[arg(long, group = "start")]
    from_end: bool,
    /// From the newest event to the oldest.
    #[arg(long, conflicts_with = "follow")]
    backward: bool,
    /// Only events of this type; may be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events whose type begins like this; may be given several times.
    #[arg(long = "type-prefix", value_name = "PREFIX")]
    type_prefixes: Vec<String>,
    /// Stay, and print what comes, until interrupted.
    #[arg(long, short)]
    follow: bool,
    /// The most events to read; 0 means no limit.
    #[arg(long, value_name = "N", default_value_t = 0)]
    events_max: u64,
    /// End after this many bytes of payload and metadata; 0 means no limit.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    bytes_max: u64,
}

/// The longest silence of a follow that is asked for: less than any timeout that makes sense.
const HEARTBEAT_INTERVAL: prost_types::Duration = prost_types::Duration { seconds: 1, nanos: 0 };

impl Arguments {
    fn start(&self) -> Option<Start> {
        if self.from_end {
            return Some(Start::FromEnd(()));
        }
        let from_version = self.from_version.map(Start::FromVersion);
        from_version.or(self.from_time.map(Start::FromTime))
    }

    /// The request that goes on where `printer` stands.
    fn request(&self, printer: &Printer) -> v1::ReadRequest {
        let direction = match self.backward {
            true => v1::Direction::Backward,
            false => v1::Direction::Forward,
        };
        let filter = v1::EventFilter {
            event_types: self.types.clone(),
            event_type_prefixes: self.type_prefixes.clone(),
        };
        let follow = v1::FollowOptions { heartbeat_interval: Some(HEARTBEAT_INTERVAL) };
        v1::ReadRequest {
            object: Some(self.object.clone()),
            start: printer.resume_token.clone().map(Start::ResumeToken).or_else(|| self.start()),
            events_max: match self.events_max {
                0 => 0,
                limit => limit - printer.printed,
            },
            bytes_max: self.bytes_max,
            direction: direction.into(),
            filter: Some(filter),
            follow: self.follow.then_some(follow),
            raw: None,
            checkpoints: true,
        }
    }
}

/// Reads on after a broken connection where it stood.
pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    let clock = &session.runtime.clock;
    let mut output = Output::stdout();
    let mut printer = Printer {
        format: session.format_or(Format::Json),
        object: arguments.object.clone(),
        resume_token: None,
        printed: 0,
        heard: 0,
    };
    // The timeout bounds the silence, for a history may be longer than any one call should take.
    let patience = Patience::brief(session.timeout);
    let mut began = clock.monotonic();
    let mut retry = Retry::new(patience);
    loop {
        let request = arguments.request(&printer);
        let heard_before = printer.heard;
        let verdict =
            match read_once(session, &connection, request, &mut printer, &mut output).await {
                Ok(()) => return output.flush(),
                Err(Failure::Call(verdict)) => *verdict,
                Err(other) => return Err(other),
            };
        output.flush()?;
        let is_complete = arguments.events_max != 0 && printer.printed >= arguments.events_max;
        if is_complete {
            return Ok(());
        }
        if printer.heard > heard_before {
            // A limit of bytes is the server's to count: half of it cannot be asked for again.
            if arguments.bytes_max != 0 {
                return Err(verdict.into());
            }
            (began, retry) = (clock.monotonic(), Retry::new(patience));
        }
        let spent = clock.monotonic().saturating_sub(began);
        let wait = retry.wait_after(verdict, spent, &session.runtime)?;
        clock.sleep(wait).await;
    }
}

async fn read_once(
    session: &Session,
    connection: &Connection,
    request: v1::ReadRequest,
    printer: &mut Printer,
    output: &mut Output,
) -> Result<(), Failure> {
    let silence = || Verdict::out_of_time(session.timeout, Effect::Reads, None);
    let clock = &session.runtime.clock;
    let refused = |status: tonic::Status| Failure::from(Verdict::of(&status, Effect::Reads));
    let mut client = connection.events();
    let mut stream = tokio::select! {
        biased;
        answer = client.read(request) => answer.map_err(refused)?.into_inner(),
        () = clock.sleep(session.timeout) => return Err(silence().into()),
    };
    loop {
        let message = tokio::select! {
            biased;
            message = stream.message() => message.map_err(refused)?,
            () = clock.sleep(session.timeout) => return Err(silence().into()),
        };
        let Some(v1::ReadResponse { message, resume_token }) = message else { return Ok(()) };
        match message {
            Some(Message::Batch(batch)) => {
                for event in &batch.events {
                    printer.print(event, output)?;
                }
                output.flush()?;
            }
            // Where the read stands is all that these say here.
            Some(
                Message::Header(_)
                | Message::CaughtUp(_)
                | Message::FellBehind(_)
                | Message::Heartbeat(_)
                | Message::Checkpoint(_)
                | Message::CloseEvent(_),
            ) => {}
            // What a newer server adds is for those who ask for it.
            None => {}
        }
        if !resume_token.is_empty() {
            printer.resume_token = Some(resume_token);
            printer.heard += 1;
        }
    }
}

struct Printer {
    format: Format,
    object: v1::ObjectRef,
    /// Behind the last message that was heard.
    resume_token: Option<bytes::Bytes>,
    printed: u64,
    /// Messages that told how far the read is.
    heard: u64,
}

impl Printer {
    fn print(&mut self, event: &v1::RecordedEvent, output: &mut Output) -> Result<(), Failure> {
        match self.format {
            Format::Json => output.json(&EventLine::of(&self.object, event))?,
            Format::Text => output.line(&text_of(event))?,
        }
        self.printed += 1;
        Ok(())
    }
}

/// `   3  2026-01-02T03:04:05Z  OrderPlaced  {"a":1}`.
fn text_of(event: &v1::RecordedEvent) -> String {
    let recorded = event.recorded_at.as_ref().map(moment_text).unwrap_or_default();
    let payload = match std::str::from_utf8(&event.payload) {
        Ok(text) if !text.contains(char::is_control) => text.to_owned(),
        Ok(text) => format!("{text:?}"),
        Err(_) => format!("({} bytes, not text)", event.payload.len()),
    };
    format!("{:>6}  {recorded:<30}  {}  {payload}", event.version, event.event_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_breaks_its_line_or_the_terminal() {
        for payload in [&b"a\nb"[..], b"\x1b[2J", b"\xff\n"] {
            let event = v1::RecordedEvent { payload: payload.into(), ..Default::default() };
            assert!(!text_of(&event).contains(char::is_control), "{payload:?}");
        }
    }
}
