//! Who sends: clients over TCP, and loops that keep so many appends in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use streamgate::grpc::v1;
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::grpc::v1::migration_service_client::MigrationServiceClient;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::Failure;

/// Connections that a load is spread over.
const CONNECTIONS_MAX: usize = 4;
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
pub(crate) const PAYLOAD_BYTES: usize = 256;
/// Events of a batch while histories are prepared.
const BATCH: u64 = 500;

#[derive(Clone)]
pub(crate) struct Clients {
    channels: Arc<Vec<Channel>>,
}

impl Clients {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self, Failure> {
        Self::over(address, CONNECTIONS_MAX).await
    }

    /// Over so many connections.
    pub(crate) async fn over(address: SocketAddr, connections: usize) -> Result<Self, Failure> {
        let mut channels = Vec::new();
        for _ in 0..connections {
            let endpoint = Endpoint::try_from(format!("http://{address}"))?;
            channels.push(endpoint.tcp_nodelay(true).connect().await?);
        }
        Ok(Self { channels: Arc::new(channels) })
    }

    pub(crate) fn events(&self, task: usize) -> EventStoreServiceClient<Channel> {
        let channel = self.channels[task % self.channels.len()].clone();
        EventStoreServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    pub(crate) fn migrations(&self, task: usize) -> MigrationServiceClient<Channel> {
        MigrationServiceClient::new(self.channels[task % self.channels.len()].clone())
    }
}

pub(crate) fn object(name: &str, number: usize) -> v1::ObjectRef {
    v1::ObjectRef { object_name: name.into(), object_id: format!("{number:07}") }
}

pub(crate) fn event(payload: &bytes::Bytes) -> v1::NewEvent {
    v1::NewEvent {
        event_id: Uuid::new_v4().to_string(),
        event_type: "SomethingHappened".into(),
        content_type: "application/octet-stream".into(),
        payload: payload.clone(),
        ..v1::NewEvent::default()
    }
}

pub(crate) fn payload() -> bytes::Bytes {
    (0..PAYLOAD_BYTES).map(|place| (place * 131) as u8).collect::<Vec<u8>>().into()
}

pub(crate) fn append(object: v1::ObjectRef, events: Vec<v1::NewEvent>) -> v1::AppendRequest {
    v1::AppendRequest { object: Some(object), events, ..v1::AppendRequest::default() }
}

/// What a load measured.
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    pub(crate) latencies: Histogram<u64>,
    /// Of the whole process: clients, server and store.
    pub(crate) cpu: Duration,
}

impl Sample {
    pub(crate) fn at(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latencies.value_at_quantile(quantile))
    }

    pub(crate) fn count(&self) -> u64 {
        self.latencies.len()
    }

    pub(crate) fn of(took: Duration, latencies: Histogram<u64>) -> Self {
        let per_second = latencies.len() as f64 / took.as_secs_f64();
        Self { per_second, latencies, cpu: Duration::ZERO }
    }

    /// What one call kept the processors busy for. A busy machine moves this much less than it
    /// moves rates.
    pub(crate) fn cpu(&self) -> Duration {
        self.cpu.div_f64(self.count().max(1) as f64)
    }

    /// All turns as one: the middle rate, so that one disturbed turn does not count.
    pub(crate) fn together(samples: Vec<Self>) -> Self {
        let mut rates: Vec<f64> = samples.iter().map(|sample| sample.per_second).collect();
        rates.sort_by(f64::total_cmp);
        let mut latencies = histogram();
        for sample in &samples {
            latencies.add(&sample.latencies).expect("the histograms have the same bounds");
        }
        let cpu = samples.iter().map(|sample| sample.cpu).sum();
        Self { per_second: rates[rates.len() / 2], latencies, cpu }
    }
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are sound")
}

pub(crate) fn note(latencies: &mut Histogram<u64>, took: Duration) {
    latencies.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
}

/// Keeps `in_flight` calls on their way until `time` has passed. `call` is told which of the
/// loops asks, and how often it asked before.
pub(crate) async fn closed_loops<C, F>(
    in_flight: usize,
    time: Duration,
    call: C,
) -> Result<Sample, Failure>
where
    C: Fn(usize, usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let mut loops = JoinSet::new();
    let (began, cpu) = (Instant::now(), cpu_time()?);
    for task in 0..in_flight {
        let call = call.clone();
        loops.spawn(async move {
            let mut latencies = histogram();
            let mut asked = 0;
            // No timer: calls that never wait would keep one from going off.
            while began.elapsed() < time {
                let sent = Instant::now();
                call(task, asked).await?;
                note(&mut latencies, sent.elapsed());
                asked += 1;
            }
            Ok::<_, Failure>(latencies)
        });
    }
    let mut latencies = histogram();
    while let Some(ended) = loops.join_next().await {
        latencies.add(ended??).expect("the histograms have the same bounds");
    }
    let sample = Sample::of(began.elapsed(), latencies);
    Ok(Sample { cpu: cpu_time()? - cpu, ..sample })
}

/// What this process kept the processors busy for, in hundredths of a second.
pub(crate) fn cpu_time() -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program stands in parentheses and may hold anything.
    let (_, fields) = stat.rsplit_once(')').ok_or("/proc/self/stat has no name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(10 * ticks))
}

/// Bytes that this process has in memory now.
pub(crate) fn memory() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or("/proc/self/status tells no memory")?.parse::<f64>()? * 1024.0)
}

/// Appends of one event to one object after the other, `in_flight` at a time.
pub(crate) async fn appends(
    clients: &Clients,
    name: &'static str,
    objects: usize,
    in_flight: usize,
    time: Duration,
) -> Result<Sample, Failure> {
    let (clients, payload) = (clients.clone(), payload());
    let call = move |task: usize, asked: usize| {
        let mut client = clients.events(task);
        // A large odd step visits every object in an order that looks like none.
        let number = (task * 7_919 + asked * 104_729) % objects;
        let request = append(object(name, number), vec![event(&payload)]);
        async move {
            client.append(request).await?;
            Ok(())
        }
    };
    closed_loops(in_flight, time, call).await
}

/// Gives each of `objects` objects so many events.
pub(crate) async fn fill(
    clients: &Clients,
    name: &'static str,
    objects: usize,
    events: u64,
) -> Result<(), Failure> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..objects.min(256) {
        let (clients, next) = (clients.clone(), Arc::clone(&next));
        tasks.spawn(async move {
            let (mut client, payload) = (clients.events(task), payload());
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= objects {
                    return Ok::<_, Failure>(());
                }
                let mut left = events;
                while left > 0 {
                    let batch = (0..left.min(BATCH)).map(|_| event(&payload)).collect();
                    client.append(append(object(name, number), batch)).await?;
                    left -= left.min(BATCH);
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}
