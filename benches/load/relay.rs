//! What the relay into the audit log costs small uploads: a service with it, and one on which it is paused.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::scenarios::{AT_ONCE, SMALL};
use crate::server::free_address;
use crate::service;
use crate::table::{Row, own};

/// Turns of each, one after the other: the disk is not the same from one second to the next.
const TURNS: usize = 10;
/// Small files of one sender in a turn.
const EACH: usize = 40;

/// 100 KiB files by 32 at once, with the relay and without, by turns.
pub fn relay(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let running = Running::start(root, "index,sweep,relay");
    let paused = Running::start(root, "index,sweep");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // The first turn of each makes what is made once.
    running.turn(pattern);
    paused.turn(pattern);
    for _ in 0..TURNS {
        with.push(running.turn(pattern));
        without.push(paused.turn(pattern));
    }
    running.stop();
    paused.stop();
    let (with, without) = (median(with), median(without));
    vec![
        own("100 KiB up, the relay running, files/s", "", with),
        own("100 KiB up, the relay paused, files/s", "", without),
        own("the same: running beside paused", "≥ 0.9", with / without),
    ]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A service in this process.
struct Running {
    address: std::net::SocketAddr,
    token: String,
    runtime: Runtime,
    stop: CancellationToken,
    served: JoinHandle<Result<(), std::io::Error>>,
}

impl Running {
    fn start(root: &Path, workers: &str) -> Self {
        let dir = TempDir::new_in(root).unwrap().keep();
        let address = free_address();
        let runtime = service::runtime();
        let stop = CancellationToken::new();
        let (token, served) = runtime.block_on(async {
            let app = service::open(&dir, address, workers, &[]).await;
            let token = service::token(&app).await;
            let gate = app.service.gate.clone();
            let listener = app.bind().unwrap();
            let served = tokio::spawn(app.serve(listener, stop.clone()));
            if workers.contains("relay") {
                gate.opened().await;
            } else {
                // As if it had just been through: its events wait in the outbox.
                gate.working(0);
            }
            (token, served)
        });
        Self { address, token, runtime, stop, served }
    }

    /// Files a second.
    fn turn(&self, pattern: &[u8]) -> f64 {
        let begun = Instant::now();
        std::thread::scope(|scope| {
            for sender in 0..AT_ONCE {
                let mut client = Client::to(self.address, Some(&self.token), pattern);
                scope.spawn(move || {
                    for number in 0..EACH {
                        client.send(&format!("{sender}-{number}"), SMALL);
                    }
                });
            }
        });
        (AT_ONCE * EACH) as f64 / begun.elapsed().as_secs_f64()
    }

    fn stop(self) {
        self.stop.cancel();
        self.runtime.block_on(self.served).unwrap().unwrap();
    }
}
