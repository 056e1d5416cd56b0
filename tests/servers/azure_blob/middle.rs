//! A middleman between a store and the service: it counts, holds, loses and answers requests.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// What becomes of one request.
#[derive(Clone)]
pub(super) enum Fate {
    Pass,
    /// It does not reach the service, and is not answered.
    LoseRequest,
    /// The service does it, and the answer does not come back.
    LoseAnswer,
    /// It waits for a permit before it goes on.
    Hold(Arc<Semaphore>),
    /// It does not reach the service; this is the answer.
    Answer(&'static str),
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// With the query.
    pub(super) target: String,
}

impl Request {
    pub(super) fn appends(&self) -> bool {
        self.target.contains("comp=appendblock")
    }

    /// Whether an append blob is made.
    pub(super) fn makes_blob(&self) -> bool {
        self.method == "PUT" && self.target.contains("-") && !self.target.contains('?')
    }
}

type Decide = Box<dyn FnMut(&Request) -> Fate + Send>;

/// It listens as long as the test's runtime lives.
#[derive(Clone)]
pub(super) struct Middle {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    decide: Mutex<Decide>,
    /// What was asked.
    seen: Mutex<Vec<Request>>,
    /// Bytes that the service answered.
    answered: AtomicU64,
    /// Requests that are held now.
    held: AtomicU64,
}

impl Middle {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            decide: Mutex::new(Box::new(|_| Fate::Pass)),
            seen: Mutex::new(Vec::new()),
            answered: AtomicU64::new(0),
            held: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&shared);
        // It ends with the runtime of the test.
        tokio::task::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::task::spawn(serve(client, Arc::clone(&accepting)));
            }
        });
        Self { address, shared }
    }

    pub(super) fn endpoint(&self) -> String {
        format!("http://{}/devstoreaccount1", self.address)
    }

    pub(super) fn decide(&self, decide: impl FnMut(&Request) -> Fate + Send + 'static) {
        *self.shared.decide.lock().unwrap() = Box::new(decide);
    }

    /// What was asked since the last time.
    pub(super) fn seen(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }

    /// Bytes answered since the last time.
    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.swap(0, Ordering::Relaxed)
    }

    /// Waits until a request is held.
    pub(super) async fn is_held(&self) {
        while self.shared.held.load(Ordering::Acquire) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// One request of one connection. What the client misses it takes for a lost connection.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) {
    let Some((head, body)) = request(&mut client).await else { return };
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let asked = Request { method, target: words.next().unwrap_or_default().to_owned() };
    shared.seen.lock().unwrap().push(asked.clone());
    let fate = (shared.decide.lock().unwrap())(&asked);
    let loses_answer = matches!(fate, Fate::LoseAnswer);
    match fate {
        Fate::Pass | Fate::LoseAnswer => {}
        Fate::LoseRequest => return,
        Fate::Answer(answer) => {
            let text = format!("HTTP/1.1 {answer}content-length: 0\r\nconnection: close\r\n\r\n");
            let _ = client.write_all(text.as_bytes()).await;
            return;
        }
        Fate::Hold(gate) => {
            shared.held.fetch_add(1, Ordering::Release);
            let permit = gate.acquire().await;
            shared.held.fetch_sub(1, Ordering::Release);
            permit.expect("nobody closes it").forget();
        }
    }
    let service = super::endpoint();
    let host = service.trim_start_matches("http://").split('/').next().unwrap_or_default();
    let Ok(mut service) = TcpStream::connect(host).await else { return };
    let head = head.trim_end().to_owned() + "\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let sent = async {
        service.write_all(head.as_bytes()).await?;
        service.write_all(&body).await?;
        service.read_to_end(&mut answer).await
    };
    if sent.await.is_err() || loses_answer {
        return;
    }
    shared.answered.fetch_add(answer.len() as u64, Ordering::Relaxed);
    let _ = client.write_all(&answer).await;
    let _ = client.shutdown().await;
}

/// Head and body.
async fn request(client: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if client.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let mut body = bytes.split_off(end);
    while body.len() < length.unwrap_or(0) {
        if client.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}
