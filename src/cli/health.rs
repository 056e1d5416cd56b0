//! `health`: whether a server serves, for people and for container health checks.

use clap::Args;
use serde::Serialize;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connection::Connection;
use super::failure::Failure;
use super::output::answer;
use super::session::Session;
use super::verdict::{Effect, Verdict};

#[derive(Args)]
pub(crate) struct Arguments {
    /// One service or store, as streamgate.v1.EventStoreService [default: the whole server].
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
}

#[derive(Serialize)]
struct Health<'a> {
    service: &'a str,
    status: &'a str,
}

/// Asks once: who checks health wants to know what is, not what may be soon.
pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    let mut client = HealthClient::new(connection.line());
    let mut request =
        tonic::Request::new(HealthCheckRequest { service: arguments.service.clone() });
    request.set_timeout(session.timeout);
    let answered = tokio::select! {
        biased;
        answered = client.check(request) => answered,
        () = session.runtime.clock.sleep(session.timeout) => {
            return Err(Verdict::out_of_time(session.timeout, Effect::Reads, None).into());
        }
    };
    let response =
        answered.map_err(|status| Failure::from(Verdict::of(&status, Effect::Reads)))?.into_inner();
    let status = response.status();
    let health = Health { service: &arguments.service, status: status.as_str_name() };
    answer(session.format(), &health, || health.status.to_owned())?;
    match status {
        ServingStatus::Serving => Ok(()),
        ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
            Err(Failure::unsuccessful("The server answers and does not serve."))
        }
    }
}
