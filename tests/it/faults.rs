//! Sixteen clients send, fetch and delete without end while faults strike at random. After it nothing that was
//! acknowledged is lost or wrong, no byte came after a deadline, and nothing is left that should be gone.
//!
//! `FAULTS_SEED` and `FAULTS_SECONDS` repeat a run or make it long:
//! `FAULTS_SECONDS=1800 cargo test --test it faults::three -- --nocapture`. The same seed gives the same faults; what they
//! meet differs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use self::clients::{Client, Ledger};
use self::strikes::Ground;
use crate::aftermath::{Lives, NOTHING, each_event_once, verify};
use crate::support::{noise, wait_for};
use crate::trail::{self, client, now};

mod clients;
mod strikes;

const CLIENTS: usize = 16;
/// After the last fault all must be quiet within this time: a claim of a process that was killed comes back after 30 s.
const QUIET: Duration = Duration::from_mins(2);

/// What a test is told from outside: a number.
fn told(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how a person repeats a run")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_on_embedded_stores_loses_nothing_and_leaves_nothing() {
    under_faults(Ground::embedded().await, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_on_redis_and_minio_loses_nothing_and_leaves_nothing() {
    under_faults(Ground::production(1).await, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_on_redis_and_minio_lose_nothing_and_leave_nothing() {
    under_faults(Ground::production(3).await, 30).await;
}

/// A run, of so many seconds unless it is told otherwise.
async fn under_faults(mut ground: Ground, seconds: u64) {
    let seed = told("FAULTS_SEED").unwrap_or_else(rand::random);
    let length = Duration::from_secs(told("FAULTS_SECONDS").unwrap_or(seconds));
    eprintln!("FAULTS_SEED={seed} FAULTS_SECONDS={}", length.as_secs());
    let mut random = StdRng::seed_from_u64(seed);
    let token = ground.instances[0].server.token.clone();
    let (ledger, stop) = (Arc::new(Ledger::default()), CancellationToken::new());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let client = Client {
                http: client(&format!("client-{n}")),
                ways: ground.ways(),
                token: token.clone(),
                random: StdRng::seed_from_u64(seed.wrapping_add(n as u64)),
                ledger: Arc::clone(&ledger),
            };
            tokio::spawn(client.work(stop.clone()))
        })
        .collect();
    let strikes = ground.strike(&mut random, length).await;
    stop.cancel();
    for client in join_all(clients).await {
        client.unwrap();
    }
    let done = *ledger.done.lock().unwrap();
    eprintln!("{strikes} faults, {done:?}");
    assert!(done.sent > 0 && done.fetched > 0 && strikes > 0);

    acknowledged_stands(&ground, &ledger, &mut random).await;
    quiet(&ground).await;
    let wrong = ledger.wrong.lock().unwrap().clone();
    let logs = || ground.instances.iter().map(|instance| instance.server.log()).collect::<String>();
    assert!(wrong.is_empty(), "FAULTS_SEED={seed}: {wrong:#?}\n{}", logs());
    let audit = ground.audit();
    for instance in &mut ground.instances {
        instance.server.stop().await;
    }
    each_event_once(&trail::lines(&audit));
    eprintln!("{}", verify(&ground.instances[0].server, &audit));
}

/// Every file that was acknowledged is there as it was sent, or over as it was asked for.
async fn acknowledged_stands(ground: &Ground, ledger: &Ledger, random: &mut StdRng) {
    let receiver = client("receiver");
    for instance in &ground.instances {
        let url = format!("{}/readyz", instance.server.url);
        let ready = || async { (receiver.get(&url).send().await.ok()?.status() == 200).then_some(()) };
        wait_for("all to be well again", ready).await;
    }
    let files = ledger.files.lock().unwrap().clone();
    let mut standing = 0;
    for file in &files {
        let instance = &ground.instances[random.random_range(0..ground.instances.len())].server;
        let url = format!("{}/d/{}", instance.url, file.link.url.rsplit('/').next().unwrap());
        let answer = match receiver.get(url).basic_auth("x", Some(&file.link.secret)).send().await {
            // Its deadline came while it was asked for: cut before its head.
            Err(_) if now() >= file.deadline => continue,
            answer => answer.unwrap(),
        };
        let (status, over) = (answer.status().as_u16(), now() >= file.deadline);
        let bytes = answer.bytes().await;
        match status {
            200 if file.deleted => ledger.wrong(format!("{} came back", file.link.transfer)),
            // Whether the deletion was carried out was not said.
            404 if over || file.deleting => {}
            // Its deadline came while it was read.
            200 if bytes.is_err() && now() >= file.deadline => {}
            200 if bytes.is_ok_and(|bytes| bytes[..] == noise(file.length, file.seed)) => standing += 1,
            _ => ledger.wrong(format!("{} gives {status} at the end", file.link.transfer)),
        }
    }
    eprintln!("{} acknowledged, {standing} stand", files.len());
    assert!(standing > 0);
}

/// Waits until no object, part or memory is left of what is over.
async fn quiet(ground: &Ground) {
    let begun = Instant::now();
    loop {
        let lives = Lives::of(&trail::lines(&ground.audit()));
        let objects = ground.with_objects().await;
        let with: BTreeSet<String> = objects.iter().cloned().collect();
        let under_way = ground.unfinished();
        let mut left = Vec::new();
        for instance in &ground.instances {
            let scrape = instance.shown.scrape().await;
            for gauge in NOTHING {
                let value = scrape.value(&format!("burnbag_{gauge}"));
                if value != Some(0.0) {
                    left.push(format!("{gauge} {value:?}"));
                }
            }
        }
        let settled = lives.are_settled() && with == lives.live && objects.len() == lives.live.len();
        if settled && under_way.is_empty() && left.is_empty() {
            eprintln!("quiet after {:?}", begun.elapsed());
            return;
        }
        assert!(
            begun.elapsed() < QUIET,
            "something is left: {left:?} {under_way:?} unknown {:?} missing {:?}\n{}",
            with.difference(&lives.live).collect::<Vec<_>>(),
            lives.live.difference(&with).collect::<Vec<_>>(),
            ground.instances.iter().map(|instance| instance.server.log()).collect::<String>()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
