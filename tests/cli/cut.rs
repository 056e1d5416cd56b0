//! A forwarder in front of a server that cuts its first connections in the middle of things.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// So many connections are cut, each after a little more.
const CUTS: u32 = 8;
const BYTES_OF_FIRST: u64 = 2_000;

pub(crate) struct CuttingProxy {
    pub(crate) address: String,
    cuts: Arc<AtomicU32>,
}

impl CuttingProxy {
    pub(crate) fn start(server: &str) -> Self {
        let server = server.strip_prefix("http://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let cuts = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&cuts);
        std::thread::spawn(move || {
            for (number, client) in (0..).zip(listener.incoming().flatten()) {
                let Ok(upstream) = TcpStream::connect(&server) else { return };
                // The answers are what is cut: requests before them have arrived.
                let allowed = if number < CUTS {
                    BYTES_OF_FIRST * u64::from(number + 1) / 2
                } else {
                    u64::MAX
                };
                forward(client.try_clone().unwrap(), upstream.try_clone().unwrap(), u64::MAX, None);
                forward(upstream, client, allowed, Some(Arc::clone(&counted)));
            }
        });
        Self { address, cuts }
    }

    pub(crate) fn cuts(&self) -> u32 {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Copies up to so many bytes and then closes both sides.
fn forward(from: TcpStream, mut to: TcpStream, allowed: u64, cuts: Option<Arc<AtomicU32>>) {
    std::thread::spawn(move || {
        let mut limited = (&from).take(allowed);
        let mut buffer = [0; 4096];
        while let Ok(bytes) = limited.read(&mut buffer)
            && bytes > 0
            && to.write_all(&buffer[..bytes]).is_ok()
        {}
        if limited.limit() == 0
            && let Some(cuts) = cuts
        {
            cuts.fetch_add(1, Ordering::Relaxed);
        }
        _ = from.shutdown(Shutdown::Both);
        _ = to.shutdown(Shutdown::Both);
    });
}
