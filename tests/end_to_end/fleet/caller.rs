//! A client that knows every proxy of a fleet, and asks another when one does not answer.

use std::net::SocketAddr;
use std::time::Duration;

use streamgate::grpc::v1;
use streamgate::grpc::v1::expected_version::Kind as Expected;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock as _, Entropy, SystemClock};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::client::{Client, WITHIN, reason};

/// How long one proxy is given before another is asked.
const PATIENCE: Duration = Duration::from_secs(2);
/// The wait before another is asked, if the one before did not say how long.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) struct Caller {
    clients: Vec<Client>,
    entropy: SeededEntropy,
    /// Calls that were sent again.
    pub(super) repeated: u64,
}

impl Caller {
    pub(super) fn new(addresses: &[SocketAddr], seed: u64) -> Self {
        let clients = addresses.iter().copied().map(Client::to).collect();
        Self { clients, entropy: SeededEntropy::new(seed), repeated: 0 }
    }

    /// Asks any proxy, and then others, until one gives an answer that repeating does not change.
    pub(super) async fn ask<T>(
        &mut self,
        call: impl AsyncFn(Client) -> Result<T, Status>,
    ) -> Result<T, Status> {
        let asked = async {
            loop {
                let any = self.entropy.below(self.clients.len() as u64);
                let client = self.clients[usize::try_from(any).unwrap()].clone();
                let pause = match tokio::time::timeout(PATIENCE, call(client)).await {
                    Err(_) => PAUSE,
                    Ok(Err(status)) if may_be_repeated(&status) => delay_of(&status),
                    Ok(answer) => return answer,
                };
                self.repeated += 1;
                SystemClock.sleep(pause).await;
            }
        };
        let answer = tokio::time::timeout(WITHIN, asked).await;
        answer.unwrap_or_else(|_| panic!("no proxy gave an answer"))
    }

    pub(super) async fn append(
        &mut self,
        object: &v1::ObjectRef,
        expected: Option<Expected>,
        events: &[v1::NewEvent],
    ) -> v1::AppendResponse {
        let call = async |client: Client| client.append(object, expected, events.to_vec()).await;
        let answer = self.ask(call).await;
        answer.unwrap_or_else(|status| panic!("an append to {object:?} got {status:?}"))
    }
}

/// What the interface says may be repeated with the same ids: a broken connection, and whatever
/// passes.
fn may_be_repeated(status: &Status) -> bool {
    let passes = [
        Code::Unavailable,
        Code::Unknown,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::ResourceExhausted,
    ];
    reason(status).is_none() || passes.contains(&status.code())
}

fn delay_of(status: &Status) -> Duration {
    let details = status.get_error_details();
    details.retry_info().and_then(|info| info.retry_delay).unwrap_or(PAUSE).min(PATIENCE)
}
