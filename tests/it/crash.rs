//! What was acknowledged holds, what was not leaves nothing: through `kill -9`, and without an audit log.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burnbag::crypto::Layout;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;

use crate::aftermath::{Lives, each_event_once, verify};
use crate::stores::Stored;
use crate::support::{Link, files_below, noise, wait_for};
use crate::trail::{self, client};

const KILLS: usize = 10;
const OPERATIONS: u64 = 200;

/// A file whose upload was acknowledged.
#[derive(Clone)]
struct Acknowledged {
    link: Link,
    seed: u64,
    length: usize,
    /// A deletion was asked for.
    deleting: bool,
    /// And acknowledged.
    deleted: bool,
}

/// What the clients know.
#[derive(Default)]
struct Known {
    files: Mutex<Vec<Acknowledged>>,
    operations: AtomicU64,
    broken: AtomicU64,
}

fn length(random: &mut StdRng) -> usize {
    match random.random_range(0..10) {
        0 => 1,
        1..=5 => random.random_range(1..200_000),
        6..=8 => random.random_range(200_000..2 << 20),
        _ => random.random_range(2 << 20..=8 << 20),
    }
}

/// Sends and deletes until the server is gone.
async fn work(url: String, token: String, seed: u64, known: Arc<Known>) {
    let mut random = StdRng::seed_from_u64(seed);
    let client = reqwest::Client::new();
    loop {
        known.operations.fetch_add(1, Ordering::Relaxed);
        let done = if random.random_bool(0.3) {
            delete(&client, &token, &mut random, &known).await
        } else {
            send(&client, &url, &token, &mut random, &known).await
        };
        if done.is_err() {
            known.broken.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}

async fn send(
    client: &reqwest::Client,
    url: &str,
    token: &str,
    random: &mut StdRng,
    known: &Known,
) -> reqwest::Result<()> {
    let (seed, length, pause) = (random.random(), length(random), random.random_range(0..4));
    let body = Bytes::from(noise(length, seed));
    let chunks: Vec<Bytes> =
        (0..length).step_by(128 * 1024).map(|at| body.slice(at..length.min(at + 128 * 1024))).collect();
    // Some senders are slow, so that a kill finds uploads half-way.
    let body = stream::iter(chunks).then(move |chunk| async move {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        Ok::<_, std::io::Error>(chunk)
    });
    let request = client.put(format!("{url}/f")).basic_auth("", Some(token));
    let answer = request.body(reqwest::Body::wrap_stream(body)).send().await?;
    assert_eq!(answer.status(), 201);
    let transfer = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
    let link = Link::parse(answer.text().await?.trim_end(), &transfer);
    let file = Acknowledged { link, seed, length, deleting: false, deleted: false };
    known.files.lock().unwrap().push(file);
    Ok(())
}

async fn delete(
    client: &reqwest::Client,
    token: &str,
    random: &mut StdRng,
    known: &Known,
) -> reqwest::Result<()> {
    let (place, url) = {
        let mut files = known.files.lock().unwrap();
        let standing: Vec<usize> = (0..files.len()).filter(|n| !files[*n].deleting).collect();
        if standing.is_empty() {
            return Ok(());
        }
        let place = standing[random.random_range(0..standing.len())];
        files[place].deleting = true;
        (place, files[place].link.url.clone())
    };
    let answer = client.delete(url).basic_auth("", Some(token)).send().await?;
    assert_eq!(answer.status(), 204);
    known.files.lock().unwrap()[place].deleted = true;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_it_keeps_what_it_acknowledged_and_leaves_nothing_else() {
    let seed = rand::random::<u64>();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut server = super::serve(&[
        ("BURNBAG_UPLOAD_IDLE", "5s"),
        ("BURNBAG_SWEEP_EVERY", "5s"),
        ("BURNBAG_SWEEP_MIN_AGE", "20s"),
        ("BURNBAG_LOG", "warn,burnbag::workers=info"),
    ])
    .await;
    let known = Arc::new(Known::default());
    let mut kills = 0;
    while kills < KILLS || known.operations.load(Ordering::Relaxed) < OPERATIONS {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let (url, token) = (server.url.clone(), server.token.clone());
                tokio::spawn(work(url, token, random.random(), Arc::clone(&known)))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(random.random_range(50..900))).await;
        server.kill();
        kills += 1;
        for worker in workers {
            worker.await.unwrap();
        }
        server.start_again().await;
    }
    let last_kill = Instant::now();
    let files = known.files.lock().unwrap().clone();
    let (operations, broken) =
        (known.operations.load(Ordering::Relaxed), known.broken.load(Ordering::Relaxed));
    let deleted = files.iter().filter(|file| file.deleted).count();
    eprintln!(
        "{kills} kills, {operations} operations, {broken} cut, {} acknowledged, {deleted} deleted",
        files.len()
    );
    assert!(broken > 0 && deleted > 0);

    let mut standing = HashMap::new();
    let receiver = client("receiver");
    for file in &files {
        let answer = file.link.get(&receiver).send().await.unwrap();
        let status = answer.status();
        if file.deleted {
            assert_eq!(status, 404, "an acknowledged deletion was forgotten");
        } else if !file.deleting || status != 404 {
            assert_eq!(status, 200, "an acknowledged file is gone");
            let bytes = answer.bytes().await.unwrap();
            assert!(bytes == noise(file.length, file.seed), "an acknowledged file is not whole");
            standing.insert(file.link.transfer.clone(), file.length);
        }
    }

    // Uploads that were cut end by themselves; what they wrote goes with them, or with the sweep.
    let audit = server.data().join("audit");
    let clean = || async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let lines = trail::lines(&audit);
        let known = Lives::of(&lines);
        // What had ended before a kill is purged when the claim of the one that was killed runs out, after 30 s.
        let objects: BTreeSet<String> = server.stored().await.iter().map(Stored::transfer).collect();
        let settled = known.are_settled() && objects == known.live;
        (settled && files_below(&server.data().join("tmp")).is_empty()).then_some(lines)
    };
    let give_up = last_kill + Duration::from_secs(45);
    let lines = loop {
        if let Some(lines) = clean().await {
            break lines;
        }
        assert!(Instant::now() < give_up, "orphans are left: {:?}\n{}", server.stored().await, server.log());
    };
    eprintln!("clean {:?} after the last start", last_kill.elapsed());

    // What is left is whole: each object has the size that its file needs.
    for object in server.stored().await {
        let transfer = server.transfer(&object.transfer()).await;
        assert_eq!(transfer["state"], "available");
        let size = transfer["files"][0]["size"].as_u64().unwrap();
        assert_eq!(object.size, Layout::of_plaintext(size).unwrap().ciphertext());
        if let Some(length) = standing.remove(transfer["id"].as_str().unwrap()) {
            assert_eq!(size, length as u64);
        }
    }
    assert!(standing.is_empty(), "acknowledged files without an object: {standing:?}");
    lives_as_acknowledged(&lines, &files);
    server.stop().await;
    eprintln!("{}", verify(&server, &audit));
}

fn lives_as_acknowledged(lines: &[Value], files: &[Acknowledged]) {
    let life = each_event_once(lines);
    let has = |transfer: &str, kind: &str| life.contains_key(&(transfer, kind));
    for file in files {
        assert!(has(&file.link.transfer, "transfer.available"));
        assert!(!file.deleted || has(&file.link.transfer, "transfer.deleted"));
        assert!(file.deleting || !has(&file.link.transfer, "transfer.deleted"));
    }
}

#[tokio::test]
async fn without_an_audit_log_nothing_is_sent_or_fetched_but_all_can_be_ended() {
    let mut server = super::serve(&[]).await;
    let (kept, ended) = (server.send("a", "hello", "").await, server.send("b", "hello", "").await);
    let (audit, away) = (server.data().join("audit"), server.data().join("audit.away"));
    std::fs::rename(&audit, &away).unwrap();
    std::fs::write(&audit, "no directory").unwrap();
    let client = client("receiver");
    let refused = wait_for("downloads to be refused", || async {
        let answer = kept.get(&client).header("accept", "application/json").send().await.unwrap();
        (answer.status() != 200).then_some(answer)
    })
    .await;
    assert_refused(refused).await;
    let put = client.put(format!("{}/c", server.url)).basic_auth("", Some(&server.token));
    assert_refused(put.header("accept", "application/json").body("hello").send().await.unwrap()).await;
    assert_eq!(client.get(format!("{}/readyz", server.url)).send().await.unwrap().status(), 503);
    assert_eq!(client.get(format!("{}/livez", server.url)).send().await.unwrap().status(), 200);
    let delete = client.delete(&ended.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(delete.status(), 204);
    assert_eq!(server.transfer(&ended.transfer).await["reason"], "deleted");
    wait_for("the object to go", || async { (server.stored().await.len() == 1).then_some(()) }).await;

    std::fs::remove_file(&audit).unwrap();
    std::fs::rename(&away, &audit).unwrap();
    wait_for("recovery", || async {
        (kept.get(&client).send().await.unwrap().status() == 200).then_some(())
    })
    .await;
    let again = server.send("c", "hello", "").await;
    assert_eq!(again.get(&client).send().await.unwrap().status(), 200);
    server.stop().await;
    let lines = trail::lines(&audit);
    assert_eq!(trail::counts(&lines, &ended.transfer)["transfer.deleted"], 1);
    assert_eq!(trail::counts(&lines, &kept.transfer)["transfer.available"], 1);
    let verified = server.burnbag(&["audit", "verify", audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}

async fn assert_refused(answer: reqwest::Response) {
    assert_eq!(answer.status(), 503);
    let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait));
    let problem: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!(problem["code"], "audit_unavailable");
}
