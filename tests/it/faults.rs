//! Sixteen clients send, fetch and delete without end while faults strike at random. After it nothing that was
//! acknowledged is lost or wrong, no byte came after a deadline, and nothing is left that should be gone.
//!
//! `FAULTS_SEED` and `FAULTS_SECONDS` repeat a run or make it long:
//! `FAULTS_SECONDS=1800 cargo test --test it faults -- --nocapture`. The same seed gives the same faults; what they meet
//! differs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burnbag::clock::Timestamp;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio_util::sync::CancellationToken;

use crate::aftermath::{Lives, NOTHING, each_event_once, verify, with_objects};
use crate::metrics_support::Shown;
use crate::support::{Link, Server, files_below, noise};
use crate::toxiproxy::{Proxy, Toxic, Toxiproxy};
use crate::trail::{self, client, now};

const CLIENTS: usize = 16;
/// A request that takes longer hangs. Nothing that strikes lasts nearly as long.
const HANGS: Duration = Duration::from_mins(1);
/// A byte that was on its way when the deadline came may arrive a little later.
const ON_ITS_WAY: Duration = Duration::from_secs(5);
/// After the last fault all must be quiet within this time: a claim of a process that was killed comes back after 30 s.
const QUIET: Duration = Duration::from_mins(2);

/// A file whose upload was acknowledged.
#[derive(Clone, Debug)]
struct File {
    link: Link,
    seed: u64,
    length: usize,
    deadline: Timestamp,
    /// A deletion was asked for.
    deleting: bool,
    /// And acknowledged.
    deleted: bool,
}

/// What the clients know, and what they saw that must not be.
#[derive(Default)]
struct Ledger {
    files: Mutex<Vec<File>>,
    wrong: Mutex<Vec<String>>,
    done: Mutex<Done>,
}

#[derive(Clone, Copy, Default, Debug)]
struct Done {
    sent: u32,
    fetched: u32,
    deleted: u32,
    late: u32,
    broken: u32,
    unavailable: u32,
}

impl Ledger {
    fn wrong(&self, what: String) {
        eprintln!("WRONG: {what}");
        self.wrong.lock().unwrap().push(what);
    }

    fn count(&self, count: impl FnOnce(&mut Done)) {
        count(&mut self.done.lock().unwrap());
    }

    fn pick(&self, random: &mut StdRng, fits: impl Fn(&File) -> bool) -> Option<(usize, File)> {
        let files = self.files.lock().unwrap();
        let fitting: Vec<usize> = (0..files.len()).filter(|n| fits(&files[*n])).collect();
        let place = *fitting.get(random.random_range(0..fitting.len().max(1)))?;
        Some((place, files[place].clone()))
    }

    fn is_deleting(&self, place: usize) -> bool {
        self.files.lock().unwrap()[place].deleting
    }
}

/// Where the instances can be reached: straight, and through what spoils the way.
#[derive(Clone, Debug)]
struct Way {
    url: String,
    straight: bool,
}

struct Client {
    http: reqwest::Client,
    ways: Vec<Way>,
    token: String,
    random: StdRng,
    ledger: Arc<Ledger>,
}

impl Client {
    async fn work(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let way = self.ways[self.random.random_range(0..self.ways.len())].clone();
            let what = self.random.random_range(0..10);
            let done = tokio::time::timeout(HANGS, async {
                match what {
                    0..=3 => self.send(&way).await,
                    4..=8 => self.fetch(&way).await,
                    _ => self.delete(&way).await,
                }
            })
            .await;
            match done {
                Ok(Ok(())) => {}
                Ok(Err(_)) => {
                    self.ledger.count(|done| done.broken += 1);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(_) => self.ledger.wrong(format!("request {what} over {way:?} hangs")),
            }
        }
    }

    /// Whether a store was away, which is no fault if it is said as it should be.
    async fn is_unavailable(&self, answer: reqwest::Response, asked: &str) -> bool {
        let status = answer.status().as_u16();
        let retry = answer.headers().contains_key("retry-after");
        let text = answer.text().await.unwrap_or_default();
        if status == 503 && retry {
            self.ledger.count(|done| done.unavailable += 1);
            tokio::time::sleep(Duration::from_millis(100)).await;
            return true;
        }
        self.ledger.wrong(format!("{asked}: {status} {text}"));
        false
    }

    async fn send(&mut self, way: &Way) -> reqwest::Result<()> {
        let random = &mut self.random;
        let (seed, pause) = (random.random(), random.random_range(0..3));
        let length = match random.random_range(0..10) {
            0 => random.random_range(0..2),
            1..=6 => random.random_range(1..300_000),
            _ => random.random_range(300_000..12 << 20),
        };
        let expires = if random.random_bool(0.5) {
            format!("{}s", random.random_range(2..12))
        } else {
            "1h".to_owned()
        };
        let bytes = Bytes::from(noise(length, seed));
        let chunks: Vec<Bytes> =
            (0..length).step_by(256 << 10).map(|at| bytes.slice(at..length.min(at + (256 << 10)))).collect();
        let body = stream::iter(chunks).then(move |chunk| async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            Ok::<_, std::io::Error>(chunk)
        });
        let put = self.http.put(format!("{}/f?expires={expires}", way.url)).basic_auth("", Some(&self.token));
        let answer = put.body(reqwest::Body::wrap_stream(body)).send().await?;
        if answer.status() != 201 {
            self.is_unavailable(answer, "PUT").await;
            return Ok(());
        }
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        let (transfer, deadline) = (header("burnbag-transfer"), header("burnbag-deadline").parse().unwrap());
        let link = Link::parse(answer.text().await?.trim_end(), &transfer);
        let file = File { link, seed, length, deadline, deleting: false, deleted: false };
        self.ledger.files.lock().unwrap().push(file);
        self.ledger.count(|done| done.sent += 1);
        Ok(())
    }

    async fn fetch(&mut self, way: &Way) -> reqwest::Result<()> {
        // Those past their deadline too.
        let Some((place, file)) = self.ledger.pick(&mut self.random, |_| true) else { return Ok(()) };
        let from =
            if self.random.random_bool(0.3) { self.random.random_range(0..=file.length / 2) } else { 0 };
        let was_over = now() >= file.deadline || file.deleted;
        let url = format!("{}/d/{}", way.url, file.link.url.rsplit('/').next().unwrap());
        let mut get = self.http.get(url).basic_auth("x", Some(&file.link.secret));
        if from > 0 {
            get = get.header("range", format!("bytes={from}-"));
        }
        let answer = get.send().await?;
        let whose = &file.link.transfer;
        match answer.status().as_u16() {
            200 | 206 if was_over => {
                self.ledger.wrong(format!("{whose} was served after its end, {}", file.deadline));
                Ok(())
            }
            200 | 206 => self.read(answer, &file, from, way.straight).await,
            404 => {
                if now() < file.deadline && !self.ledger.is_deleting(place) {
                    self.ledger.wrong(format!("{whose} is lost, its deadline is {}", file.deadline));
                }
                self.ledger.count(|done| done.late += u32::from(was_over));
                Ok(())
            }
            _ => {
                self.is_unavailable(answer, &format!("GET of {whose}")).await;
                Ok(())
            }
        }
    }

    async fn read(
        &self,
        mut answer: reqwest::Response,
        file: &File,
        from: usize,
        straight: bool,
    ) -> reqwest::Result<()> {
        let expected = noise(file.length, file.seed);
        let mut at = from;
        while let Some(chunk) = answer.chunk().await? {
            let end = at + chunk.len();
            if expected.get(at..end) != Some(&chunk[..]) {
                self.ledger.wrong(format!("{} has other bytes from {at} on", file.link.transfer));
                return Ok(());
            }
            at = end;
            if straight && now() >= file.deadline.after(ON_ITS_WAY) {
                self.ledger.wrong(format!("{} was served on after {}", file.link.transfer, file.deadline));
                return Ok(());
            }
        }
        if at != file.length {
            self.ledger.wrong(format!("{} ended at {at} of {}", file.link.transfer, file.length));
        }
        self.ledger.count(|done| done.fetched += 1);
        Ok(())
    }

    async fn delete(&mut self, way: &Way) -> reqwest::Result<()> {
        let standing = |file: &File| !file.deleting && now() < file.deadline;
        let Some((place, file)) = self.ledger.pick(&mut self.random, standing) else { return Ok(()) };
        self.ledger.files.lock().unwrap()[place].deleting = true;
        let url = format!("{}/d/{}", way.url, file.link.url.rsplit('/').next().unwrap());
        let answer = self.http.delete(url).basic_auth("", Some(&self.token)).send().await?;
        if answer.status() == 204 {
            self.ledger.files.lock().unwrap()[place].deleted = true;
            self.ledger.count(|done| done.deleted += 1);
        } else {
            self.is_unavailable(answer, "DELETE").await;
        }
        Ok(())
    }
}

/// An instance and the way to it.
struct Instance {
    server: Server,
    shown: Shown,
    way: Proxy,
}

/// What strikes, one after the other, until the time is over; all is well again after each.
async fn strike(instances: &mut [Instance], random: &mut StdRng, length: Duration) -> u32 {
    let begun = Instant::now();
    let mut strikes = 0;
    while begun.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        let instance = random.random_range(0..instances.len());
        let instance = &mut instances[instance];
        strikes += 1;
        if random.random_bool(0.4) {
            eprintln!("{:>8.1?} kill -9", begun.elapsed());
            instance.server.kill();
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1000))).await;
            instance.server.start_again().await;
        } else {
            let toxic = Toxic::random(random);
            eprintln!("{:>8.1?} {toxic:?} between client and server", begun.elapsed());
            instance.way.spoil(toxic).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(300..3000))).await;
            instance.way.heal().await;
        }
    }
    strikes
}

/// What a test is told from outside: a number.
fn told(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "how a person repeats a run")]
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} takes a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_faults_nothing_acknowledged_is_lost_and_nothing_is_left() {
    let seed = told("FAULTS_SEED").unwrap_or_else(rand::random);
    let length = Duration::from_secs(told("FAULTS_SECONDS").unwrap_or(20));
    eprintln!("FAULTS_SEED={seed} FAULTS_SECONDS={}", length.as_secs());
    let mut random = StdRng::seed_from_u64(seed);
    let toxiproxy = Toxiproxy::start().await;
    let shown = Shown::new();
    let server = shown
        .server(&[
            ("BURNBAG_UPLOAD_IDLE", "5s"),
            ("BURNBAG_SWEEP_EVERY", "5s"),
            ("BURNBAG_SWEEP_MIN_AGE", "20s"),
            ("BURNBAG_LOG", "warn"),
        ])
        .await;
    let way = toxiproxy.proxy("instance-0", server.address()).await;
    let mut instances = vec![Instance { server, shown, way }];
    let token = instances[0].server.token.clone();
    let ways: Vec<Way> = instances
        .iter()
        .flat_map(|instance| {
            let through = Way { url: format!("http://{}", instance.way.address), straight: false };
            [Way { url: instance.server.url.clone(), straight: true }, through]
        })
        .collect();
    let (ledger, stop) = (Arc::new(Ledger::default()), CancellationToken::new());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let client = Client {
                http: client(&format!("client-{n}")),
                ways: ways.clone(),
                token: token.clone(),
                random: StdRng::seed_from_u64(seed.wrapping_add(n as u64)),
                ledger: Arc::clone(&ledger),
            };
            tokio::spawn(client.work(stop.clone()))
        })
        .collect();
    let strikes = strike(&mut instances, &mut random, length).await;
    stop.cancel();
    for client in join_all(clients).await {
        client.unwrap();
    }
    let done = *ledger.done.lock().unwrap();
    eprintln!("{strikes} faults, {done:?}");
    assert!(done.sent > 0 && done.fetched > 0 && strikes > 0);

    acknowledged_stands(&ledger).await;
    quiet(&instances).await;
    let wrong = ledger.wrong.lock().unwrap().clone();
    assert!(wrong.is_empty(), "FAULTS_SEED={seed}: {wrong:#?}");
    let audit = instances[0].server.data().join("audit");
    for instance in &mut instances {
        instance.server.stop().await;
    }
    each_event_once(&trail::lines(&audit));
    eprintln!("{}", verify(&instances[0].server, &audit));
}

/// Every file that was acknowledged is there as it was sent, or over as it was asked for.
async fn acknowledged_stands(ledger: &Ledger) {
    let receiver = client("receiver");
    let files = ledger.files.lock().unwrap().clone();
    let mut standing = 0;
    for file in &files {
        let answer = file.link.get(&receiver).send().await.unwrap();
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
async fn quiet(instances: &[Instance]) {
    let begun = Instant::now();
    let server = &instances[0].server;
    loop {
        let lives = Lives::of(&trail::lines(&server.data().join("audit")));
        let objects: Vec<String> = with_objects(server);
        let with: BTreeSet<String> = objects.iter().cloned().collect();
        let under_way = files_below(&server.data().join("tmp"));
        let mut left = Vec::new();
        for instance in instances {
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
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
