//! `AppendSession`: requests in, answers out in their order, each at its own pace. A client that
//! does not read its answers is not listened to either once its session is full.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::{FutureExt, StreamExt};
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::codegen::BoxStream;
use tonic::{Status, Streaming};
use tracing::Instrument;

use super::convert::session::{self as convert, Tag};
use super::envelope::panic_text;
use super::load::{Exceeded, Kind};
use super::metrics::Outcome;
use super::scope::Scope;
use super::status::{
    InvalidRequest, Refusal, ServerRefusal, moving_on, refuse, refuse_one, stopping,
};
use super::v1;
use crate::domain::{InvalidValue, Reason};
use crate::proxy::{Proxy, Session, SessionAnswer, SessionError};
use crate::runtime::{Entropy, Shutdown};

/// Answers that wait for the transport beside those that the session holds.
const ANSWERS_WAITING_MAX: usize = 256;

/// Objects of one session that failed and were not taken up again. One more ends the session: a
/// client that never says `after_failure` would otherwise fill the memory.
const OBJECTS_MAX: usize = 100_000;

type Answer = Result<v1::AppendSessionResponse, Status>;

/// One session and its transport.
pub(super) struct Driver {
    session: Session<Tag>,
    incoming: Streaming<v1::AppendSessionRequest>,
    answers: mpsc::Sender<Answer>,
    scope: Scope,
    shutdown: Shutdown,
    ending: Pin<Box<WaitForCancellationFutureOwned>>,
    entropy: Arc<dyn Entropy>,
    last_sequence: Option<u64>,
    /// A request for which there is no room while others are in flight here.
    parked: Option<v1::AppendSessionRequest>,
}

/// What ends the intake.
enum Intake {
    Open,
    /// The client has sent everything.
    Ended,
    /// What is on its way is finished, then this is said.
    Broken(Status),
}

/// What happened next.
enum Happened {
    Stop,
    ConnectionEnds,
    CanAnswer,
    Settled,
    Gone,
    Came(Result<Option<v1::AppendSessionRequest>, Status>),
}

/// Starts a session in a task of its own: what was sent to a store is settled there, also when the
/// client goes away in the middle.
pub(super) fn start(
    proxy: Arc<Proxy>,
    incoming: Streaming<v1::AppendSessionRequest>,
    scope: Scope,
    shutdown: Shutdown,
    entropy: Arc<dyn Entropy>,
) -> BoxStream<v1::AppendSessionResponse> {
    let (answers, outgoing) = mpsc::channel(ANSWERS_WAITING_MAX);
    let session = Session::new(proxy);
    let span = scope.span().clone();
    let (told, last_words) = (scope.clone(), answers.clone());
    let driver = Driver {
        session,
        incoming,
        answers,
        ending: Box::pin(scope.connection_ending()),
        scope,
        shutdown: shutdown.clone(),
        entropy,
        last_sequence: None,
        parked: None,
    };
    let drive = async move {
        if let Err(panic) = AssertUnwindSafe(driver.run()).catch_unwind().await {
            let detail = panic_text(&*panic).to_owned();
            let status = refuse(&told, &ServerRefusal::Bug { detail });
            // Nobody hears it if the client is gone.
            let _ = last_words.send(Err(status)).await;
        }
    };
    shutdown.spawn(drive.instrument(span));
    ReceiverStream::new(outgoing).boxed()
}

impl Driver {
    async fn run(mut self) {
        let mut intake = Intake::Open;
        loop {
            if let Some(parked) = self.parked.take() {
                self.submit(parked);
            }
            let is_open = matches!(intake, Intake::Open);
            if !is_open && self.session.is_idle() {
                break;
            }
            match self.next(is_open).await {
                Happened::Stop => intake = Intake::Broken(stopping(&self.scope)),
                Happened::ConnectionEnds => intake = Intake::Broken(moving_on(&self.scope)),
                Happened::CanAnswer => self.send_answers(),
                Happened::Settled => {}
                Happened::Gone => return self.finish_for_nobody().await,
                Happened::Came(Ok(Some(request))) => intake = self.take(request),
                Happened::Came(Ok(None)) => intake = Intake::Ended,
                Happened::Came(Err(status)) => intake = Intake::Broken(status),
            }
        }
        match intake {
            Intake::Open | Intake::Ended => self.scope.settle(Outcome::Ok),
            Intake::Broken(status) => {
                // Nobody hears it if the client is gone.
                let _ = self.answers.send(Err(status)).await;
            }
        }
    }

    async fn next(&mut self, is_open: bool) -> Happened {
        let Self { session, incoming, answers, shutdown, ending, parked, .. } = self;
        let has_answer = session.has_answer();
        let has_room = parked.is_none() && session.has_room();
        tokio::select! {
            biased;
            () = shutdown.begun(), if is_open => Happened::Stop,
            () = ending.as_mut(), if is_open => Happened::ConnectionEnds,
            permit = answers.reserve(), if has_answer => match permit {
                Ok(_) => Happened::CanAnswer,
                Err(_) => Happened::Gone,
            },
            () = session.progress(), if session.is_busy() => Happened::Settled,
            came = incoming.message(), if is_open && has_room => Happened::Came(came),
            () = answers.closed() => Happened::Gone,
        }
    }

    fn take(&mut self, request: v1::AppendSessionRequest) -> Intake {
        let sequence = request.sequence;
        let expected = self.last_sequence.map(|last| last.wrapping_add(1));
        if expected.is_some_and(|expected| expected != sequence) {
            let problem = format!(
                "must be one more than that of the request before, {}",
                self.last_sequence.unwrap_or_default()
            );
            let invalid = InvalidRequest(vec![InvalidValue::new("sequence", problem)]);
            return Intake::Broken(refuse(&self.scope, &invalid));
        }
        self.last_sequence = Some(sequence);
        if self.session.objects() >= OBJECTS_MAX {
            let exceeded = Exceeded { setting: "session_objects_max", max: OBJECTS_MAX };
            return Intake::Broken(refuse(&self.scope, &ServerRefusal::TooManyInFlight(exceeded)));
        }
        self.submit(request);
        Intake::Open
    }

    /// Hands a request over if there is room for its bytes. Otherwise it waits for what is in
    /// flight here, and is refused when nothing is: the room is taken by others then.
    fn submit(&mut self, request: v1::AppendSessionRequest) {
        let room = self.scope.take(Kind::Received, request.encoded_len());
        match room {
            Err(_) if !self.session.is_idle() => self.parked = Some(request),
            room => self.session.submit(convert::request(request, room, &*self.entropy)),
        }
    }

    /// As many answers as the transport takes now.
    fn send_answers(&mut self) {
        while self.session.has_answer() {
            let Ok(permit) = self.answers.try_reserve() else { return };
            if let Some(answer) = self.session.next_answer() {
                permit.send(Ok(self.answer(answer)));
            }
        }
    }

    fn answer(&self, answer: SessionAnswer<Tag>) -> v1::AppendSessionResponse {
        let SessionAnswer { tag, outcome } = answer;
        let sequence = tag.sequence;
        self.scope.note_session_request(match &outcome {
            Ok(_) => Outcome::Ok,
            Err(error) => Outcome::Error(error.reason().class()),
        });
        match (outcome, &tag.refused) {
            (Ok(outcome), _) => convert::to_appended(tag, outcome),
            (Err(_), Some(refused)) => {
                convert::to_error(sequence, &refuse_one(&self.scope, &**refused))
            }
            (Err(error), None) => convert::to_error(sequence, &refuse_one(&self.scope, &error)),
        }
    }

    /// The client is gone: what was sent is settled, what was not is given up.
    async fn finish_for_nobody(mut self) {
        self.session.give_up_waiting();
        while self.session.is_busy() {
            self.session.progress().await;
        }
    }
}

impl Refusal for SessionError {
    fn reason(&self) -> Reason {
        self.reason()
    }

    fn retry_after(&self) -> Option<std::time::Duration> {
        match self {
            Self::Append(error) => error.retry_after(),
            Self::NotTaken | Self::PredecessorFailed { .. } => None,
        }
    }

    fn values(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Append(error) => Refusal::values(error),
            Self::PredecessorFailed { object } => {
                vec![("object_name", object.name.to_string()), ("object_id", object.id.to_string())]
            }
            Self::NotTaken => Vec::new(),
        }
    }

    fn violations(&self) -> Vec<InvalidValue> {
        match self {
            Self::Append(error) => Refusal::violations(error),
            Self::NotTaken | Self::PredecessorFailed { .. } => Vec::new(),
        }
    }
}
