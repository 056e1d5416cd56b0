//! A log of real events, imported while every object of it moves to a second store and then to a
//! third.

use std::sync::Arc;

use streamgate::runtime::SystemClock;

use crate::client::Client;
use crate::in_process::InProcess;
use crate::permits;

const CONNECTIONS: usize = 4;
const REDIRECTED_MIN: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn the_permit_log_is_imported_while_every_object_moves_twice() {
    let Some(permits) = permits::permits() else { return };
    let server = InProcess::start(Arc::new(SystemClock)).await;
    // Two proxies, each of which meets what the other has moved.
    let other = server.another().await;
    let of = |number| if number % 2 == 0 { server.client() } else { other.client() };
    let clients: Vec<Client> = (0..CONNECTIONS).map(of).collect();
    let imported = permits::import(&permits, &clients).await;
    let counter = "streamgate_appends_redirected_total";
    let redirected = server.counter(counter).await + other.counter(counter).await;
    println!("{imported}; {redirected} redirected in all");
    assert!(redirected >= REDIRECTED_MIN, "{redirected} appends redirected");
    other.stop().await;
    server.stop().await;
}
