//! What the relay into the audit log costs small uploads: the same service with it, and with it paused.

use std::path::Path;
use std::time::Instant;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::scenarios::{AT_ONCE, EACH, SMALL};
use crate::server::free_address;
use crate::service;
use crate::table::{Row, own};

/// 100 KiB files by 32 at once, with the relay and without.
pub fn relay(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let running = rate(root, "index,sweep,relay", pattern);
    let paused = rate(root, "index,sweep", pattern);
    vec![
        own("100 KiB up, the relay running, files/s", "", running),
        own("100 KiB up, the relay paused, files/s", "", paused),
        own("the same: running beside paused", "≥ 0.9", running / paused),
    ]
}

fn rate(root: &Path, workers: &str, pattern: &[u8]) -> f64 {
    let dir = TempDir::new_in(root).unwrap().keep();
    let address = free_address();
    let runtime = service::runtime();
    let stop = CancellationToken::new();
    let (token, served) = runtime.block_on(async {
        let app = service::open(&dir, address, workers).await;
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
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for sender in 0..AT_ONCE {
            let mut client = Client::to(address, Some(&token), pattern);
            scope.spawn(move || {
                for number in 0..EACH {
                    client.send(&format!("{sender}-{number}"), SMALL);
                }
            });
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    stop.cancel();
    runtime.block_on(served).unwrap().unwrap();
    (AT_ONCE * EACH) as f64 / seconds
}
