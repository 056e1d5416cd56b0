//! Hears what other processes append, and wakes the followers of this one.
//!
//! What it hears is a hint. Whatever it may have missed, because it was not connected or because
//! a transaction named no streams, wakes everybody, who then look for themselves.

use std::future::poll_fn;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::address::Address;
use super::error::{Cause, Failure, OpenError};
use super::options::PostgresOptions;
use crate::domain::StreamId;
use crate::runtime::{Backoff, Runtime};
use crate::store::StoreWakeups;

/// How often everybody looks although nothing was heard, lest a lost connection go unnoticed.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
const WAIT_FIRST: Duration = Duration::from_millis(50);

/// Ends its task when it is dropped.
pub(super) struct Listener {
    _alive: oneshot::Sender<()>,
}

type Guarded = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
type Connection = tokio_postgres::Connection<Socket, Guarded>;

struct Ears {
    address: Address,
    channel: String,
    poll_interval: Duration,
    wakeups: StoreWakeups,
    runtime: Runtime,
}

impl Listener {
    /// Listens before it returns.
    pub(super) async fn start(
        address: Address,
        options: &PostgresOptions,
        runtime: &Runtime,
        wakeups: StoreWakeups,
    ) -> Result<Self, OpenError> {
        let place = address.to_string();
        let ears = Ears {
            address,
            channel: options.schema.clone(),
            poll_interval: options.poll_interval,
            wakeups,
            runtime: runtime.clone(),
        };
        let listening = ears.connect().await;
        let listening = listening.map_err(|cause| OpenError::of(&place, Failure::Lost(cause)))?;
        let (alive, mut dropped) = oneshot::channel();
        let told = runtime.shutdown.clone();
        runtime.shutdown.spawn(async move {
            tokio::select! {
                biased;
                () = told.begun() => {}
                _ = &mut dropped => {}
                () = ears.listen(listening) => {}
            }
        });
        Ok(Self { _alive: alive })
    }
}

impl Ears {
    async fn connect(&self) -> Result<(Client, Connection), Cause> {
        let (client, mut connection) =
            self.address.config().connect(self.address.tls.clone()).await?;
        let listen = format!("LISTEN {}", self.channel);
        let mut asked = Box::pin(client.batch_execute(&listen));
        // A connection does nothing unless it is polled.
        loop {
            tokio::select! {
                biased;
                done = &mut asked => {
                    done?;
                    break;
                }
                message = poll_fn(|context| connection.poll_message(context)) => {
                    message.ok_or("the connection ended")??;
                }
            }
        }
        drop(asked);
        // Whoever began to wait meanwhile was not told.
        self.wakeups.all_changed();
        Ok((client, connection))
    }

    async fn listen(self, mut listening: (Client, Connection)) {
        loop {
            let error = self.hear(&mut listening.1).await;
            tracing::warn!(place = %self.address, %error, "nobody hears of appends by others");
            listening = self.connect_again().await;
            tracing::info!(place = %self.address, "appends by others are heard again");
        }
    }

    /// Answers why it hears no more.
    async fn hear(&self, connection: &mut Connection) -> Cause {
        loop {
            tokio::select! {
                biased;
                message = poll_fn(|context| connection.poll_message(context)) => match message {
                    Some(Ok(AsyncMessage::Notification(heard))) => self.wake(heard.payload()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return error.into(),
                    None => return "the connection ended".into(),
                },
                () = self.runtime.clock.sleep(LOOK_INTERVAL) => self.wakeups.all_changed(),
            }
        }
    }

    /// Until it succeeds, followers are woken as often as they would poll.
    async fn connect_again(&self) -> (Client, Connection) {
        let mut waits = Backoff::new(WAIT_FIRST.min(self.poll_interval), self.poll_interval);
        loop {
            self.wakeups.all_changed();
            self.runtime.clock.sleep(waits.next_wait(&*self.runtime.entropy)).await;
            match self.connect().await {
                Ok(listening) => return listening,
                Err(error) => tracing::debug!(place = %self.address, %error, "still not there"),
            }
        }
    }

    fn wake(&self, heard: &str) {
        if heard.is_empty() {
            self.wakeups.all_changed();
        }
        for stream in heard.split('\n').filter_map(|line| StreamId::new(line).ok()) {
            self.wakeups.changed(&stream);
        }
    }
}
