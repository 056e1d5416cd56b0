//! The crash matrix over real stores: a process dies at each of its calls, and a fresh one goes on.

use std::time::Duration;

use streamgate::domain::close_event::MigrationKind;
use streamgate::runtime::Runtime;
use streamgate::testing::deployment::store_name;
use streamgate::testing::faulty::Fate;

use super::Kind;
use super::kinds::open_in;
use super::kit::{Kit, STORES};
use super::survival::{Story, survive};

/// Real time passes here.
const LEASE_TTL: Duration = Duration::from_millis(300);
const LEASE_AND_MORE: Duration = Duration::from_millis(400);
const SCAN_INTERVAL: Duration = Duration::from_secs(1);
/// Crash points that are tried beside each other: most of a run is waiting for a lease.
const ABREAST: u64 = 4;
/// The server has a hundred connections for all tests of a run.
const FEW_CONNECTIONS: &str = "connections_max = 4\nappend_connections = 1\n";

/// New stores behind the wrappers that a process puts around them.
async fn kit(hot: Kind, cold: Kind, number: u64, runtime: &Runtime) -> Kit {
    let mut settings = String::new();
    for (kind, name) in [hot, cold, Kind::Memory].into_iter().zip(STORES) {
        settings += &kind.settings_in_pieces(name).await;
        if kind == Kind::Postgres {
            settings += FEW_CONNECTIONS;
        }
    }
    let resources = open_in(&settings, runtime).await;
    let stores = STORES.map(|name| resources.stores.get(&store_name(name)).unwrap().clone());
    let mut kit = Kit::over(number, stores, resources.documents);
    kit.deployment.migration_settings.lease_ttl = LEASE_TTL;
    kit.deployment.migration_settings.scan_interval = SCAN_INTERVAL;
    kit
}

async fn matrix(hot: Kind, cold: Kind, story: Story, fate: Fate) {
    for first in (1..).step_by(ABREAST as usize) {
        let runs = (first..first + ABREAST).map(|number| async move {
            println!("{story:?}, {fate:?} at call {number}");
            let runtime = Runtime::system();
            let kit = kit(hot, cold, number, &runtime).await;
            let what = (MigrationKind::Copy, story);
            let untouched = survive(kit, what, (number, fate), LEASE_AND_MORE).await;
            runtime.shutdown.begin();
            untouched
        });
        let untouched = futures::future::join_all(runs).await;
        if let Some(place) = untouched.iter().position(|untouched| *untouched) {
            let survived = first + place as u64 - 1;
            println!("{survived} crash points survived");
            assert!(survived > 12, "the matrix has to reach every call of a migration");
            return;
        }
    }
}

macro_rules! crash_matrix {
    ($($hot:ident, $cold:ident as $pair:ident;)*) => {
        $(
            mod $pair {
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                async fn a_lost_request_and_a_stale_writer() {
                    let story = Story::WriterBetween;
                    matrix(Kind::$hot, Kind::$cold, story, Fate::LoseRequest).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn a_lost_answer_and_a_stale_writer() {
                    let story = Story::WriterBetween;
                    matrix(Kind::$hot, Kind::$cold, story, Fate::LoseAnswer).await;
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn a_lost_answer_and_a_cancellation() {
                    let story = Story::Cancel;
                    matrix(Kind::$hot, Kind::$cold, story, Fate::LoseAnswer).await;
                }
            }
        )*
    };
}

crash_matrix! {
    Postgres, AzureBlob as postgres_to_azure_blob;
    AzureBlob, Cosmos as azure_blob_to_cosmos;
}
