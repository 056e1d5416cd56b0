//! A client in another language that appends over one session and follows objects, as it is told:
//! `tests/clients/worker.*`, which say what the lines between it and us are.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use prost::Message;
use streamgate::grpc::v1;
use streamgate::grpc::v1::expected_version::Kind;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tonic_types::Status;

use super::language::Language;
use crate::client::soon;

pub(super) type Answer = Result<v1::AppendResponse, Status>;

pub(super) struct Worker {
    language: Language,
    child: Mutex<Child>,
    orders: Mutex<Orders>,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// Numbers are given in the order in which the orders leave.
struct Orders {
    lines: mpsc::UnboundedSender<String>,
    appends: u64,
    follows: usize,
}

/// What it told.
struct Seen {
    answers: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
    follows: Mutex<Vec<Followed>>,
    /// Each time that something was told of a follow.
    news: watch::Sender<u64>,
    sessions_resumed: Mutex<u64>,
}

/// What a follower saw.
#[derive(Clone, Default)]
pub(super) struct Followed {
    pub(super) events: Vec<v1::RecordedEvent>,
    pub(super) resumed: u64,
    /// The head at the heartbeat that ended it.
    pub(super) settled: Option<u64>,
}

impl Worker {
    pub(super) fn start(language: Language, server: SocketAddr) -> Self {
        let mut command = language.program("worker");
        command.env("STREAMGATE_SERVER", format!("http://{server}"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the client can be started");
        let (lines, waiting) = mpsc::unbounded_channel();
        let seen = Arc::new(Seen {
            answers: Mutex::default(),
            follows: Mutex::default(),
            news: watch::Sender::new(0),
            sessions_resumed: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(write(child.stdin.take().unwrap(), waiting));
        tasks.spawn(read(child.stdout.take().unwrap(), Arc::clone(&seen)));
        let orders = Mutex::new(Orders { lines, appends: 0, follows: 0 });
        Self { language, child: Mutex::new(child), orders, seen, _tasks: tasks }
    }

    /// Sends an append behind all that were sent before it; what is given waits for its answer.
    pub(super) fn append(&self, request: &v1::AppendRequest) -> BoxFuture<'static, Answer> {
        let (told, answer) = oneshot::channel();
        let mut orders = self.orders.lock().unwrap();
        orders.appends += 1;
        let number = orders.appends;
        self.seen.answers.lock().unwrap().insert(number, told);
        orders.send(format!("append {number} {}", encoded(request)));
        let language = self.language;
        let answer = async move {
            let answer = soon("an answer in a session", answer).await;
            answer.unwrap_or_else(|_| panic!("the client in {language:?} ended"))
        };
        answer.boxed()
    }

    /// Follows an object from its first event; gives the number of the follow.
    pub(super) fn follow(&self, object: &v1::ObjectRef) -> usize {
        let mut orders = self.orders.lock().unwrap();
        let number = orders.follows;
        orders.follows += 1;
        self.seen.follows.lock().unwrap().push(Followed::default());
        orders.send(format!("follow {number} {}", encoded(object)));
        number
    }

    pub(super) fn followed(&self, number: usize) -> Followed {
        self.seen.follows.lock().unwrap()[number].clone()
    }

    /// Waits until what a follower saw is as wanted.
    pub(super) async fn until(&self, number: usize, wanted: impl Fn(&Followed) -> bool) {
        let mut news = self.seen.news.subscribe();
        let reached = news.wait_for(|_| wanted(&self.seen.follows.lock().unwrap()[number]));
        soon("what a follower shall see", reached).await.expect("the client goes on");
    }

    /// Lets each follow go on until its next heartbeat, which tells that nothing more came.
    pub(super) async fn settle(&self) {
        self.orders.lock().unwrap().send("settle".into());
        let count = self.seen.follows.lock().unwrap().len();
        for number in 0..count {
            self.until(number, |followed| followed.settled.is_some()).await;
        }
    }

    /// How often its session broke.
    pub(super) fn sessions_resumed(&self) -> u64 {
        *self.seen.sessions_resumed.lock().unwrap()
    }

    /// Ends it; it must have come to no harm.
    pub(super) async fn end(self) {
        drop(self.orders);
        let mut child = self.child.into_inner().unwrap();
        let status = soon("the client ends", child.wait()).await.unwrap();
        assert!(status.success(), "the client in {:?} ended with {status}", self.language);
    }
}

impl Orders {
    fn send(&self, line: String) {
        self.lines.send(line).expect("the client takes orders");
    }
}

/// Ends with the last one who could give an order, and closes the client's stdin then.
async fn write(mut stdin: ChildStdin, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(mut line) = lines.recv().await {
        line.push('\n');
        if stdin.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read(stdout: ChildStdout, seen: Arc<Seen>) {
    let mut lines = BufReader::new(stdout).lines();
    while let Some(line) = lines.next_line().await.expect("it writes text") {
        seen.take(&line);
    }
    // Whoever still waits learns that nothing more comes.
    seen.answers.lock().unwrap().clear();
}

impl Seen {
    fn take(&self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["appended", number, answer] => self.answer(number, Ok(decoded(answer))),
            ["refused", number, status] => {
                let status: Status = decoded(status);
                self.answer(number, Err(status));
            }
            ["resumed", "session"] => *self.sessions_resumed.lock().unwrap() += 1,
            ["resumed", follow] => self.tell(follow, |followed| followed.resumed += 1),
            ["event", follow, event] => {
                self.tell(follow, |followed| followed.events.push(decoded(event)));
            }
            ["settled", follow, head] => {
                self.tell(follow, |followed| followed.settled = head.parse().ok());
            }
            _ => panic!("a client said {line:?}"),
        }
    }

    fn answer(&self, number: &str, answer: Answer) {
        let waiting = self.answers.lock().unwrap().remove(&number.parse().unwrap());
        let waiting = waiting.unwrap_or_else(|| panic!("append {number} was answered twice"));
        // Who asked may be gone.
        let _ = waiting.send(answer);
    }

    fn tell(&self, follow: &str, change: impl FnOnce(&mut Followed)) {
        let number: usize = follow.parse().unwrap();
        change(&mut self.follows.lock().unwrap()[number]);
        self.news.send_modify(|count| *count += 1);
    }
}

/// That an object has exactly the versions before this one.
pub(super) fn expected(next_version: u64) -> Option<v1::ExpectedVersion> {
    let kind = match next_version.checked_sub(1) {
        None => Kind::NoStream(()),
        Some(head) => Kind::Exact(head),
    };
    Some(v1::ExpectedVersion { kind: Some(kind) })
}

fn encoded(message: &impl Message) -> String {
    BASE64.encode(message.encode_to_vec())
}

fn decoded<M: Message + Default>(text: &str) -> M {
    M::decode(&BASE64.decode(text).unwrap()[..]).expect("it is the message that it should be")
}
