//! The examples do what their READMEs say: the commands are run as they stand there, and print
//! what stands there.

use std::net::SocketAddr;
use std::process::Stdio;

use serde_json::{Value, json};
use streamgate::grpc::v1;

use super::GRACE_PERIOD;
use super::language::Language;
use crate::client::{Client, soon};
use crate::process::{Folder, Tracing};
use crate::relay::Relay;

/// Connections that break under an example, each after so many more bytes of answers than the one
/// before: in the middle of any answer.
const CONNECTIONS_BROKEN: usize = 8;
const ANSWER_BYTES_STEP: usize = 60;

/// The nth block of a README that is fenced as this.
fn block(readme: &str, fence: &str, number: usize) -> String {
    let opening = format!("```{fence}\n");
    let blocks = readme.split(opening.as_str()).skip(1);
    let block = blocks.filter_map(|rest| rest.split_once("```\n")).nth(number);
    block.unwrap_or_else(|| panic!("there is no block {number} of {fence}")).0.to_owned()
}

/// Runs the last commands of the README, which print what stands there.
async fn run(language: Language, address: SocketAddr) {
    let readme = std::fs::read_to_string(language.folder().join("README.md")).unwrap();
    let mut command = language.shell(&block(&readme, "sh", 2));
    command.env("STREAMGATE_SERVER", format!("http://{address}"));
    let ended = soon("the example ends", command.stdin(Stdio::null()).output()).await.unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{language:?}: {}\n{errors}", ended.status);
    let printed = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(printed, block(&readme, "text", 0), "{language:?}");
}

/// The only show that there is holds each booking once.
async fn check(client: &Client) {
    let request = v1::ListObjectsRequest { object_name: "show".into(), ..Default::default() };
    let page = client.events().list_objects(request).await.unwrap().into_inner();
    let [show] = &page.objects[..] else { panic!("{page:?}") };
    let history = client.read(show.object.as_ref().unwrap()).await.unwrap();
    let bookings = history.events.iter().map(|event| {
        assert_eq!(event.event_type, "SeatBooked");
        serde_json::from_slice::<Value>(&event.payload).unwrap()
    });
    let booked = |seat: &str, name: &str| json!({ "seat": seat, "name": name });
    let all = [booked("A1", "Ada"), booked("A2", "Bob"), booked("A3", "Cyd"), booked("A4", "Dan")];
    assert_eq!(bookings.collect::<Vec<_>>(), all);
}

async fn does_what_its_readme_says(language: Language) {
    let folder = Folder::new(GRACE_PERIOD);
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    run(language, address).await;
    check(&Client::to(address)).await;
}

async fn rides_over_broken_connections(language: Language) {
    let folder = Folder::new(GRACE_PERIOD);
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    let relay = Relay::to(address).await;
    relay.break_after((1..=CONNECTIONS_BROKEN).map(|number| number * ANSWER_BYTES_STEP));
    run(language, relay.address()).await;
    check(&Client::to(address)).await;
    assert_eq!(relay.broken(), CONNECTIONS_BROKEN, "connections that broke");
}

#[tokio::test]
async fn the_example_in_python_does_what_its_readme_says() {
    does_what_its_readme_says(Language::Python).await;
}

#[tokio::test]
async fn the_example_in_typescript_does_what_its_readme_says() {
    does_what_its_readme_says(Language::TypeScript).await;
}

#[tokio::test]
async fn the_example_in_go_does_what_its_readme_says() {
    does_what_its_readme_says(Language::Go).await;
}

#[tokio::test]
async fn the_example_in_python_rides_over_broken_connections() {
    rides_over_broken_connections(Language::Python).await;
}

#[tokio::test]
async fn the_example_in_typescript_rides_over_broken_connections() {
    rides_over_broken_connections(Language::TypeScript).await;
}

#[tokio::test]
async fn the_example_in_go_rides_over_broken_connections() {
    rides_over_broken_connections(Language::Go).await;
}
