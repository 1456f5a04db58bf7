//! The clients of a fault run, and what they know.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use burnbag::clock::Timestamp;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;

use crate::support::{Link, noise};
use crate::trail::now;

/// A request that takes longer hangs. An upload or a download that is under way waits for a part for 75 s at the most, for the
/// next byte for 60 s, and then for what settles it.
const HANGS: Duration = Duration::from_mins(3);
/// Who asks while a store is away is told so within this time. A call to a frozen bucket takes 15 s, and what became of a
/// write is asked for 5 s more; the machine may be busy.
const TOLD: Duration = Duration::from_secs(35);
/// What takes longer is shown.
const SLOW: Duration = Duration::from_secs(10);
/// What is longer may be under way when a store goes away, and is not told at once.
const SHORT: usize = 300_000;
/// A byte that was on its way when the deadline came may arrive a little later.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

/// A file whose upload was acknowledged.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) link: Link,
    pub(super) seed: u64,
    pub(super) length: usize,
    pub(super) deadline: Timestamp,
    /// A deletion was asked for.
    pub(super) deleting: bool,
    /// And acknowledged.
    pub(super) deleted: bool,
}

/// What the clients know, and what they saw that must not be.
#[derive(Default)]
pub(super) struct Ledger {
    pub(super) files: Mutex<Vec<File>>,
    pub(super) wrong: Mutex<Vec<String>>,
    pub(super) done: Mutex<Done>,
}

#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Done {
    pub(super) sent: u32,
    pub(super) fetched: u32,
    deleted: u32,
    late: u32,
    broken: u32,
    /// Uploads that were ended because a store was away for longer than they may be idle.
    ended: u32,
    unavailable: u32,
    /// How long it took to tell somebody that a store is away, at the most.
    told_after: Duration,
}

impl Ledger {
    pub(super) fn wrong(&self, what: String) {
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
pub(super) struct Way {
    pub(super) url: String,
    pub(super) straight: bool,
}

pub(super) struct Client {
    pub(super) http: reqwest::Client,
    pub(super) ways: Vec<Way>,
    pub(super) token: String,
    pub(super) random: StdRng,
    pub(super) ledger: Arc<Ledger>,
}

impl Client {
    pub(super) async fn work(mut self, stop: CancellationToken) {
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

    /// Whether a store was away, which is no fault if it is said as it should be, and, where the request is `short`, soon.
    async fn unavailable(&self, answer: reqwest::Response, asked: &str, short: Option<Instant>) {
        let status = answer.status().as_u16();
        let retry = answer.headers().contains_key("retry-after");
        let text = answer.text().await.unwrap_or_default();
        if status == 503 && retry {
            let after = short.map(|since| since.elapsed()).unwrap_or_default();
            if after > SLOW {
                eprintln!("{asked}: 503 after {after:.1?}");
            }
            if after > TOLD {
                self.ledger.wrong(format!("{asked}: {status} {text} came after {after:?}"));
            }
            self.ledger.count(|done| {
                done.unavailable += 1;
                done.told_after = done.told_after.max(after);
            });
            tokio::time::sleep(Duration::from_millis(100)).await;
        } else if status == 409 && text.contains("transfer_ended") && asked == "PUT" {
            self.ledger.count(|done| done.ended += 1);
        } else {
            self.ledger.wrong(format!("{asked}: {status} {text}"));
        }
    }

    async fn send(&mut self, way: &Way) -> reqwest::Result<()> {
        let random = &mut self.random;
        let (seed, pause) = (random.random(), random.random_range(0..3));
        let length = match random.random_range(0..10) {
            0 => random.random_range(0..2),
            1..=6 => random.random_range(1..SHORT),
            _ => random.random_range(SHORT..12 << 20),
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
        let began = Instant::now();
        let put = self.http.put(format!("{}/f?expires={expires}", way.url)).basic_auth("", Some(&self.token));
        let answer = put.body(reqwest::Body::wrap_stream(body)).send().await?;
        if answer.status() != 201 {
            self.unavailable(answer, "PUT", (length < SHORT).then_some(began)).await;
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
        let began = Instant::now();
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
                self.unavailable(answer, &format!("GET of {whose}"), Some(began)).await;
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
        let began = Instant::now();
        let answer = self.http.delete(url).basic_auth("", Some(&self.token)).send().await?;
        if answer.status() == 204 {
            self.ledger.files.lock().unwrap()[place].deleted = true;
            self.ledger.count(|done| done.deleted += 1);
        } else {
            self.unavailable(answer, "DELETE", Some(began)).await;
        }
        Ok(())
    }
}
