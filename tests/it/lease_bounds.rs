//! How much a client gets that takes and takes and never finishes, over HTTP: what DESIGN §10 allows and no byte more.
//!
//! Of a file of `n` bytes a lease sends at most `3 × n`. A stream that breaks off counts as a unit of 64 KiB more than
//! was wholly written, so what left within a unit is in that. A link of one download has one lease at a time. A lease
//! that ends with nothing whole delivered gives its count back, at most 3 times: so there are at most `1 + 3` of them,
//! and the last of these uses the count. In all that is `(1 + 3) × 3 × n = 12 × n` bytes, whatever is asked for, and by
//! however many receivers.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use burnbag::clock::ManualClock;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::deadline::InProcess;
use crate::support::{Link, basic, noise, wait_for};
use crate::trail::{client, counts, lines, now};

const SIZE: u64 = 1_000_003;
const OF_A_LEASE: u64 = 3 * SIZE;
const LEASES: u64 = 1 + 3;
const IN_ALL: u64 = LEASES * OF_A_LEASE;
/// `BURNBAG_LEASE_IDLE` as it is by itself.
const IDLE: Duration = Duration::from_mins(15);
const MOMENT: Duration = Duration::from_millis(1);

/// A server on a clock that is turned by hand, and a link that is good for one download.
struct Victim {
    running: InProcess,
    clock: ManualClock,
    link: Link,
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Given {
    /// So many bytes of the file came.
    Bytes(u64),
    /// Refused for now.
    Busy,
    /// Refused for good.
    Gone,
}

impl Victim {
    async fn new() -> Self {
        let clock = ManualClock::new(now());
        let running = InProcess::start(Arc::new(clock.clone())).await;
        let sent = client("sender")
            .put(format!("{}/f?downloads=1", running.url))
            .basic_auth("", Some(&running.token))
            .body(noise(usize::try_from(SIZE).unwrap(), 1));
        let answer = sent.send().await.unwrap();
        let id = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
        let link = Link::parse(answer.text().await.unwrap().trim_end(), &id);
        Self { running, clock, link }
    }

    /// Takes `[from, to)` to its end.
    async fn take(&self, name: &str, from: u64, to: u64) -> Given {
        let range = format!("bytes={from}-{}", to - 1);
        let answer = self.link.get(&client(name)).header("range", range).send().await.unwrap();
        match answer.status().as_u16() {
            206 => Given::Bytes(answer.bytes().await.unwrap().len() as u64),
            503 => Given::Busy,
            404 => Given::Gone,
            other => panic!("{other}"),
        }
    }

    /// Waits while the stream before is settled, and takes `[from, to)`.
    async fn take_all(&self, from: u64, to: u64) {
        self.is_settled().await;
        assert_eq!(self.take("greedy", from, to).await, Given::Bytes(to - from), "{from}..{to}");
    }

    /// Asks, and lets the lease end when it gives nothing more, until the link is gone. What came in all.
    async fn drain(&self, mut ask: impl AsyncFnMut() -> Given) -> u64 {
        let (mut taken, mut refused) = (0, 0);
        loop {
            match ask().await {
                Given::Bytes(bytes) => {
                    taken += bytes;
                    refused = 0;
                    assert!(taken <= IN_ALL, "{taken} bytes of {SIZE}");
                }
                // Perhaps another range is short enough for what is left.
                Given::Busy if refused < 10 => {
                    refused += 1;
                    self.is_settled().await;
                }
                Given::Busy => {
                    refused = 0;
                    self.idle().await;
                }
                Given::Gone => return taken,
            }
        }
    }

    /// Turns the clock until the only lease is idle for too long, and waits for its end.
    async fn idle(&self) {
        self.is_settled().await;
        self.clock.advance(IDLE.checked_sub(MOMENT).unwrap());
        assert_eq!(self.leases().len(), 1, "idle for less than {IDLE:?}");
        self.clock.advance(MOMENT);
        wait_for("the end of the lease", async || {
            // The reaper may have looked a moment before, and looks again a moment later.
            self.clock.advance(Duration::from_millis(10));
            self.leases().is_empty().then_some(())
        })
        .await;
    }

    /// Waits until no stream runs. No answer tells, so the record is looked at.
    async fn is_settled(&self) {
        let none_runs = async || self.leases().iter().all(|body| !body.contains("streams")).then_some(());
        wait_for("the streams to be settled", none_runs).await;
    }

    /// The open leases, as stored.
    fn leases(&self) -> Vec<String> {
        let database = self.running.dir.path().join("burnbag.db");
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(database, flags).unwrap();
        let mut asked = database.prepare("SELECT body FROM leases").unwrap();
        let bodies = asked.query_map([], |row| row.get(0)).unwrap();
        bodies.map(Result::unwrap).collect()
    }

    async fn events(&self, kind: &str, exactly: u64) {
        let counted = || {
            let counts = counts(&lines(&self.running.dir.path().join("audit")), &self.link.transfer);
            counts.get(kind).map_or(0, |count| *count as u64)
        };
        wait_for(kind, async || (counted() >= exactly).then_some(())).await;
        assert_eq!(counted(), exactly, "{kind}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_a_byte_again_and_again_comes_twelve_times_and_no_more() {
    // Once from the beginning, which a lease allows three times; once from behind it, which it does not count.
    for (from, to) in [(0, SIZE - 1), (1, SIZE)] {
        let victim = Victim::new().await;
        let mut taken = 0;
        for lease in 1..=LEASES {
            for _ in 0..3 {
                victim.take_all(from, to).await;
                taken += to - from;
            }
            // Three bytes are left of three times the size.
            assert_eq!(victim.take("greedy", 1, 5).await, Given::Busy, "a byte too much");
            if from == 0 {
                assert_eq!(victim.take("greedy", 0, 1).await, Given::Busy, "a fourth start");
            }
            victim.take_all(1, 4).await;
            taken += 3;
            assert_eq!(taken, lease * OF_A_LEASE);
            assert_eq!(victim.take("greedy", 1, 2).await, Given::Busy, "a byte too much");
            assert_eq!(victim.take("another", 0, SIZE).await, Given::Busy, "one lease at a time");
            victim.idle().await;
            victim.events("download.interrupted", lease).await;
        }
        assert_eq!(taken, IN_ALL, "the bound is reached");
        for (from, to) in [(0, SIZE), (0, 1), (1, 2)] {
            assert_eq!(victim.take("greedy", from, to).await, Given::Gone);
            assert_eq!(victim.take("another", from, to).await, Given::Gone);
        }
        victim.events("download.started", LEASES).await;
        victim.events("download.completed", 0).await;
        victim.events("transfer.exhausted", 1).await;
        drop(victim.running.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finishes_at_last_has_had_no_more() {
    let victim = Victim::new().await;
    for lease in 1..LEASES {
        victim.take_all(1, SIZE).await;
        victim.idle().await;
        victim.events("download.interrupted", lease).await;
    }
    // Whole, and whole again within the time for a retry: its three starts.
    for _ in 0..3 {
        victim.take_all(0, SIZE).await;
    }
    for name in ["greedy", "another"] {
        assert_eq!(victim.take(name, 0, SIZE).await, Given::Gone);
        assert_eq!(victim.take(name, 1, 2).await, Given::Gone);
    }
    victim.events("download.started", LEASES).await;
    victim.events("download.completed", 1).await;
    victim.events("download.interrupted", LEASES - 1).await;
    drop(victim.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn overlapping_ranges_at_once_by_several_receivers_keep_to_the_bound() {
    let victim = Victim::new().await;
    let mut random = StdRng::seed_from_u64(1);
    let taken = victim.drain(async || {
        let ranges: [_; 8] = std::array::from_fn(|n| {
            let from = random.random_range(0..SIZE - 2);
            (["one", "two", "three"][n % 3], from, random.random_range(from + 1..SIZE))
        });
        let asked = ranges.map(|(name, from, to)| victim.take(name, from, to));
        let given = futures_util::future::join_all(asked).await;
        let bytes = given.iter().map(|given| if let Given::Bytes(bytes) = given { *bytes } else { 0 }).sum();
        match bytes {
            0 if given.contains(&Given::Gone) => Given::Gone,
            0 => Given::Busy,
            bytes => Given::Bytes(bytes),
        }
    });
    // The last byte is never asked for, so nothing is ever whole.
    assert!(taken.await > 4 * SIZE, "it was to take much");
    victim.events("download.completed", 0).await;
    victim.events("download.started", LEASES).await;
    drop(victim.running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_off_within_each_unit_keeps_to_the_bound() {
    let victim = Victim::new().await;
    let mut random = StdRng::seed_from_u64(1);
    let taken = victim.drain(async || {
        let from = random.random_range(1..SIZE - 1);
        // Mostly less than the unit that is then under way, and so was not wholly written.
        let most = random.random_range(1..80_000);
        let link = victim.link.clone();
        tokio::task::spawn_blocking(move || break_off(&link, from, most)).await.unwrap()
    });
    assert!(taken.await > SIZE, "it was to take much");
    victim.events("download.completed", 0).await;
    victim.events("download.started", LEASES).await;
    drop(victim.running.stop().await);
}

/// Asks for all from a byte on, takes so many bytes and resets the connection. A small receive buffer leaves
/// the server little room, so that not much more is written than is taken.
fn break_off(link: &Link, from: u64, most: usize) -> Given {
    let (host, path) = link.url.trim_start_matches("http://").split_once('/').unwrap();
    let address: SocketAddr = host.parse().unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(64 * 1024).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    let mut socket: TcpStream = socket.into();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let proof = basic("x", &link.secret);
    let ask = format!(
        "GET /{path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {proof}\r\nRange: bytes={from}-\r\n\
         Connection: close\r\n\r\n"
    );
    socket.write_all(ask.as_bytes()).unwrap();
    let (mut got, mut buffer) = (Vec::new(), [0; 2048]);
    loop {
        let read = socket.read(&mut buffer).unwrap_or_else(|error| panic!("{error} after {}", got.len()));
        got.extend_from_slice(&buffer[..read]);
        let Some(head) = got.windows(4).position(|four| four == b"\r\n\r\n") else {
            assert!(read > 0, "no answer: {}", String::from_utf8_lossy(&got));
            continue;
        };
        match &got[..12] {
            b"HTTP/1.1 206" => {}
            b"HTTP/1.1 503" => return Given::Busy,
            b"HTTP/1.1 404" => return Given::Gone,
            _ => panic!("{}", String::from_utf8_lossy(&got[..head])),
        }
        let body = got.len() - head - 4;
        if body >= most || read == 0 {
            return Given::Bytes(body as u64);
        }
    }
}
