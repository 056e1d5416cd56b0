//! `GetCapabilities` tells whether proxies hear of each other, and how soon.

use std::sync::Arc;

use prost_types::Duration;
use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::runtime::SystemClock;
use tonic::transport::Channel;

use super::own_server::OwnServer;
use crate::moves::in_process::InProcess;

const STORE: &str = "[[stores]]\nname = 'hot'\nkind = 'embedded'\n";

type Client = EventStoreServiceClient<Channel>;

async fn client(proxy: &InProcess) -> Client {
    EventStoreServiceClient::connect(format!("http://{}", proxy.address())).await.unwrap()
}

async fn hints(client: &mut Client) -> Option<v1::HintCapabilities> {
    let asked = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
    asked.unwrap().into_inner().hints
}

async fn once_heard_is(client: &mut Client, heard: bool) {
    while hints(client).await.unwrap().heard != heard {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn capabilities_tell_whether_proxies_hear_each_other_and_how_soon() {
    let alone = InProcess::over(STORE, Arc::new(SystemClock)).await;
    assert_eq!(hints(&mut client(&alone).await).await, None);
    alone.stop().await;

    let mut server = OwnServer::start().await;
    let settings = format!("[coordination.redis]\nurl = '{}'\n{STORE}", server.url());
    let proxy = InProcess::over(&settings, Arc::new(SystemClock)).await;
    let mut client = client(&proxy).await;
    once_heard_is(&mut client, true).await;
    let told = hints(&mut client).await.unwrap();
    assert_eq!(told.delay, Some(Duration { seconds: 0, nanos: 2_000_000 }));
    server.kill();
    once_heard_is(&mut client, false).await;
    server.start_again().await;
    once_heard_is(&mut client, true).await;
    proxy.stop().await;
}
