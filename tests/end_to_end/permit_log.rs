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
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.client()).collect();
    let imported = permits::import(&permits, &clients).await;
    let redirected = server.counter("streamgate_appends_redirected_total").await;
    println!("{imported}; {redirected} redirected in all");
    assert!(redirected >= REDIRECTED_MIN, "{redirected} appends redirected");
    server.stop().await;
}
