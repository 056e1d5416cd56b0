//! A log of real events, written through three proxies while every object of it moves twice.

use super::proxies::{Fleet, Patience};
use crate::client::Client;
use crate::permits;

const PROXIES: usize = 3;
/// Of each proxy, so that appends of one object come over many connections.
const CONNECTIONS: usize = 2;
const REDIRECTED_MIN: u64 = 200;

#[tokio::test(flavor = "multi_thread")]
async fn the_permit_log_is_imported_through_a_fleet_while_every_object_moves_twice() {
    let Some(permits) = permits::permits() else { return };
    let mut fleet = Fleet::start(PROXIES, Patience::Usual).await;
    let clients: Vec<Client> =
        fleet.proxies.iter().cycle().take(PROXIES * CONNECTIONS).map(|one| one.client()).collect();
    let imported = permits::import(&permits, &clients).await;
    let (mut redirected, mut lost) = (Vec::new(), Vec::new());
    for proxy in &mut fleet.proxies {
        lost.push(proxy.leases_lost().await);
        redirected.push(proxy.counter("streamgate_appends_redirected_total").await);
    }
    println!("{imported}; {redirected:?} redirected by each proxy; leases lost: {lost:?}");
    let all: u64 = redirected.iter().sum();
    assert!(all >= REDIRECTED_MIN, "{redirected:?} appends redirected");
    fleet.stop().await;
}
