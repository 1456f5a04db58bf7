//! A link that is good for so many downloads gives so many, over three instances on one Redis and one bucket, whatever its
//! receivers do, and whatever becomes of Redis.
//!
//! Each receiver has an address of its own, so each is an owner of leases by itself (DESIGN §10). They speak over bare
//! sockets; who breaks off has a small receive buffer, so that what is broken off half-way was not written to its end.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use burnbag::storage::RecordStore as _;
use burnbag::transfer::lease::Counts;
use burnbag::transfer::{LinkId, TransferId};
use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Link, Server, basic, noise, wait_for};
use crate::trail::{lines, now, until};

const RECEIVERS: usize = 200;
/// `BURNBAG_LEASE_IDLE` where receivers break off, so that what they held comes back at once.
const IDLE: &str = "1s";
/// Where nobody does: longer than a store may be silent on a machine that has too much to do.
const LONG_IDLE: &str = "60s";
/// More than a third of it is never under way between two sockets.
const LARGE: usize = 6 << 20;
/// No wait is longer. It takes a moment each time, or 30 s for a stream of which nobody knows.
const LONGEST: Duration = Duration::from_secs(100);

/// Three instances side by side.
struct Fleet {
    instances: Vec<Server>,
    redis: RedisServer,
}

/// Somebody with an address of their own, and the instance that they ask.
#[derive(Clone)]
struct Receiver {
    address: Ipv4Addr,
    server: SocketAddr,
    path: String,
    proof: String,
}

/// What somebody got.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Got {
    /// Every byte.
    Whole,
    /// They broke it off.
    Broken,
    /// Refused: others hold what is left.
    Busy,
    /// Refused: a store does not answer.
    Unavailable,
    /// The server broke it off.
    Cut,
    /// Refused for good.
    Gone,
}

/// An answer whose head has come.
struct Answer {
    status: u16,
    head: String,
    length: usize,
    body: Vec<u8>,
    socket: TcpStream,
}

impl Fleet {
    async fn start(idle: &str) -> Self {
        let redis = RedisServer::start().await;
        let stores = Stores::minio().await.by(redis.url());
        let settings = [("BURNBAG_LEASE_IDLE", idle), ("BURNBAG_LEASE_RETRY", "1s")];
        let first = Server::on(stores, &settings).await;
        let (second, third) = tokio::join!(first.beside(&settings), first.beside(&settings));
        Self { instances: vec![first, second, third], redis }
    }

    async fn send(&self, content: &[u8], downloads: u32) -> Link {
        self.instances[0].send("f", content.to_vec(), &format!("downloads={downloads}")).await
    }

    /// The `n`th of many receivers. They spread over the instances.
    fn receiver(&self, link: &Link, n: usize) -> Receiver {
        let [high, low] = u16::try_from(n + 1).unwrap().to_be_bytes();
        let (_, path) = link.url.trim_start_matches("http://").split_once('/').unwrap();
        Receiver {
            address: Ipv4Addr::new(127, 0, 1 + high, low),
            server: self.instances[n % self.instances.len()].address().parse().unwrap(),
            path: format!("/{path}"),
            proof: basic("x", &link.secret),
        }
    }

    fn receivers(&self, link: &Link) -> Vec<Receiver> {
        (0..RECEIVERS).map(|n| self.receiver(link, n)).collect()
    }

    /// What the record says of the link, and how many leases are open.
    async fn counts(&self, link: &Link) -> (Counts, u64) {
        let records = self.redis.records().await;
        let id: TransferId = link.transfer.parse().unwrap();
        let (team, id) = records.teams(&[id]).await.unwrap()[0];
        let record = records.transfer(team, id).await.unwrap().unwrap();
        let link: LinkId = link.url.rsplit('/').next().unwrap().parse().unwrap();
        // When one was last taken is no count.
        (Counts { last: None, ..record.counts_of(link) }, record.leases.open)
    }

    /// Waits until no lease is open, and says what the link's counts are then.
    async fn settled(&self, link: &Link) -> Counts {
        let settled = async {
            loop {
                let (counts, open) = self.counts(link).await;
                if open == 0 {
                    return counts;
                }
                until(now().after(Duration::from_millis(20))).await;
            }
        };
        let counts = tokio::time::timeout(LONGEST, settled).await.expect("a lease stays open");
        assert_eq!(counts.held, 0);
        counts
    }

    /// Nothing is left of it: the API says so on each instance, and each of these is told so.
    async fn is_exhausted(&self, link: &Link, downloads: u32, receivers: &[Receiver]) {
        assert_eq!(self.settled(link).await.used, downloads);
        for server in &self.instances {
            let ended = wait_for("the transfer to be exhausted", async || {
                let transfer = server.transfer(&link.transfer).await;
                (transfer["reason"] == "exhausted").then_some(transfer)
            });
            assert_eq!(ended.await["links"][0]["used"], downloads);
        }
        for got in join_all(receivers.iter().map(|receiver| receiver.fetch(&[], None))).await {
            assert_eq!(got, Got::Gone);
        }
    }

    /// The log tells of each lease that it began, and once how it ended; by which address, of those that began and of
    /// those that were completed.
    async fn trail(&self, link: &Link) -> (Vec<String>, Vec<String>) {
        let of = |kind: &str| -> Vec<Value> {
            let lines = lines(&self.instances[0].data().join("audit"));
            let is = |line: &Value| line["transfer"] == *link.transfer && line["type"] == kind;
            lines.into_iter().filter(is).collect()
        };
        wait_for("the last of it in the log", async || (of("transfer.purged").len() == 1).then_some(()))
            .await;
        assert_eq!(of("transfer.exhausted").len(), 1);
        let [started, completed, interrupted] =
            ["download.started", "download.completed", "download.interrupted"].map(of);
        // Each is told under the stream that opened the lease, which is the only one here.
        let operations = |lines: &[Value]| -> Vec<String> {
            let id = |line: &Value| line["id"].as_str().unwrap().split_once('.').unwrap().0.to_owned();
            let mut ids: Vec<_> = lines.iter().map(id).collect();
            ids.sort();
            ids
        };
        let began = operations(&started);
        assert!(began.windows(2).all(|pair| pair[0] != pair[1]), "a lease began twice: {began:?}");
        let ended = operations(&[completed.clone(), interrupted].concat());
        assert_eq!(began, ended, "each ends once");
        let clients = |lines: &[Value]| -> Vec<String> {
            let client = |line: &Value| line["client"].as_str().unwrap().to_owned();
            let mut clients: Vec<_> = lines.iter().map(client).collect();
            clients.sort();
            clients
        };
        (clients(&started), clients(&completed))
    }
}

impl Receiver {
    /// Asks, with a small receive buffer or the usual one. None if the connection was broken before an answer came.
    async fn ask(&self, headers: &str, small: bool) -> Option<Answer> {
        let socket = TcpSocket::new_v4().unwrap();
        if small {
            socket.set_recv_buffer_size(64 * 1024).unwrap();
        }
        socket.bind((self.address, 0).into()).unwrap();
        let mut socket = socket.connect(self.server).await.unwrap();
        let Self { path, proof, server, .. } = self;
        let ask = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUser-Agent: receiver\r\nAuthorization: {proof}\r\n\
             Connection: close\r\n{headers}\r\n"
        );
        socket.write_all(ask.as_bytes()).await.unwrap();
        let (mut got, end) = (Vec::new(), b"\r\n\r\n");
        let at = loop {
            if let Some(at) = got.windows(end.len()).position(|four| four == end) {
                break at;
            }
            if !matches!(socket.read_buf(&mut got).await, Ok(1..)) {
                return None;
            }
        };
        let body = got.split_off(at + end.len());
        let head = String::from_utf8(got).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap_or_else(|| panic!("no length: {head}"));
        let length = length.split("\r\n").next().unwrap().parse().unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, head, length, body, socket })
    }

    /// Asks for the file, and breaks off after so many bytes.
    async fn fetch(&self, content: &[u8], cut: Option<usize>) -> Got {
        let asked = async {
            match self.ask("", cut.is_some()).await {
                Some(answer) => answer.end(content, cut).await,
                None => Got::Cut,
            }
        };
        tokio::time::timeout(LONGEST, asked).await.expect("no end of an answer")
    }
}

impl Answer {
    /// Reads until so many bytes of the body are there; whether they are.
    async fn has(&mut self, bytes: usize) -> bool {
        while self.body.len() < bytes {
            if !matches!(self.socket.read_buf(&mut self.body).await, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// Takes all of it, or so many bytes. A refusal is whole and says which; nobody gets something in between.
    async fn end(mut self, content: &[u8], cut: Option<usize>) -> Got {
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        match self.status {
            200 => {
                assert_eq!(self.length, content.len());
                if let Some(cut) = cut {
                    return if self.has(cut).await { Got::Broken } else { Got::Cut };
                }
                if !self.has(self.length).await {
                    return Got::Cut;
                }
                assert!(self.body == content);
                Got::Whole
            }
            status @ (404 | 503) => {
                assert!(self.has(self.length).await, "{}", self.head);
                let said = text(&self.body);
                assert!(said.starts_with("burnbag: ") && said.ends_with(")\n"), "{said}");
                assert_eq!(self.head.contains("\r\nretry-after: "), status == 503, "{}", self.head);
                let code = said.trim_end().rsplit('(').next().unwrap();
                match (status, code) {
                    (404, "link_not_found)") => Got::Gone,
                    (503, "link_busy)") => Got::Busy,
                    (503, "store_unavailable)") => Got::Unavailable,
                    other => panic!("{other:?}"),
                }
            }
            other => panic!("{other}: {}", text(&self.body)),
        }
    }
}

/// All of them at once, each to the end of what they get; those of whom it is said break off.
async fn wave(
    receivers: Vec<Receiver>,
    content: &[u8],
    cuts: &BTreeMap<Ipv4Addr, usize>,
) -> Vec<(Receiver, Got)> {
    let fetches = receivers.into_iter().map(async |receiver| {
        let got = receiver.fetch(content, cuts.get(&receiver.address).copied()).await;
        (receiver, got)
    });
    join_all(fetches).await
}

/// Who got this.
fn who(got: &[(Receiver, Got)], what: Got) -> Vec<Receiver> {
    got.iter().filter(|(_, got)| *got == what).map(|(receiver, _)| receiver.clone()).collect()
}

fn addresses(receivers: &[Receiver]) -> Vec<String> {
    let mut addresses: Vec<_> = receivers.iter().map(|receiver| receiver.address.to_string()).collect();
    addresses.sort();
    addresses
}

/// Who is to come back: others held what was left, or a store did not answer.
fn to_come_back(got: &[(Receiver, Got)]) -> Vec<Receiver> {
    [Got::Busy, Got::Unavailable, Got::Cut].iter().flat_map(|what| who(got, *what)).collect()
}

async fn race(downloads: u32) {
    let fleet = Fleet::start(LONG_IDLE).await;
    let content = noise(100_000, 1);
    let link = fleet.send(&content, downloads).await;
    let all = fleet.receivers(&link);
    let got = wave(all.clone(), &content, &BTreeMap::new()).await;
    let refused = [Got::Busy, Got::Gone, Got::Unavailable].map(|refusal| who(&got, refusal).len());
    let mut whole = who(&got, Got::Whole);
    eprintln!("whole: {}; busy, gone, unavailable: {refused:?}", whole.len());
    assert_eq!(whole.len() + refused.iter().sum::<usize>(), RECEIVERS);
    assert!(whole.len() <= downloads as usize);
    // On a machine with too much to do a store may not have answered.
    let mut waiting = to_come_back(&got);
    while !waiting.is_empty() {
        fleet.settled(&link).await;
        let got = wave(waiting, &content, &BTreeMap::new()).await;
        whole.extend(who(&got, Got::Whole));
        waiting = to_come_back(&got);
    }
    assert_eq!(whole.len(), downloads as usize);
    let Counts { used, held, returned, .. } = fleet.settled(&link).await;
    assert_eq!((used, held), (downloads, 0));
    fleet.is_exhausted(&link, downloads, &all).await;
    let (started, completed) = fleet.trail(&link).await;
    assert_eq!(completed, addresses(&whole));
    assert_eq!(started.len(), whole.len() + returned as usize);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_at_once_over_three_instances_exactly_one_gets_the_only_download() {
    race(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_hundred_at_once_over_three_instances_exactly_ten_get_ten_downloads() {
    race(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_receivers_that_break_off_anywhere_the_count_ends_where_the_rules_say() {
    const DOWNLOADS: u32 = 10;
    let seed = rand::random();
    eprintln!("seed: {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let fleet = Fleet::start(IDLE).await;
    let content = noise(LARGE, 2);
    let link = fleet.send(&content, DOWNLOADS).await;
    let mut waiting = fleet.receivers(&link);
    let breaks_off = |receiver: &Receiver| {
        random.random_bool(0.5).then(|| (receiver.address, random.random_range(0..LARGE / 4)))
    };
    let cuts: BTreeMap<_, _> = waiting.iter().filter_map(breaks_off).collect();
    let (mut whole, mut broken, mut unanswered) = (Vec::new(), Vec::new(), 0);
    // Who is told to come back does, once nothing is held any more.
    while !waiting.is_empty() {
        let got = wave(waiting, &content, &cuts).await;
        whole.extend(who(&got, Got::Whole));
        broken.extend(who(&got, Got::Broken));
        waiting = to_come_back(&got);
        unanswered += waiting.len() - who(&got, Got::Busy).len();
        let counts = fleet.settled(&link).await;
        // Where a store did not answer, a lease may have been taken of which nobody was told.
        if unanswered == 0 {
            let given_up = u32::try_from(broken.len()).unwrap();
            let used = u32::try_from(whole.len()).unwrap() + given_up.saturating_sub(3);
            assert_eq!(counts, Counts { used, held: 0, returned: given_up.min(3), last: None });
        }
    }
    eprintln!("whole: {}, broken off: {}, unanswered: {unanswered}", whole.len(), broken.len());
    let counts = fleet.settled(&link).await;
    fleet.is_exhausted(&link, DOWNLOADS, &fleet.receivers(&link)).await;
    let (started, completed) = fleet.trail(&link).await;
    assert_eq!(completed, addresses(&whole));
    let given_up = u32::try_from(started.len() - completed.len()).unwrap();
    let used = u32::try_from(completed.len()).unwrap() + given_up.saturating_sub(3);
    assert_eq!(counts, Counts { used, held: 0, returned: given_up.min(3), last: None });
    assert_eq!(used, DOWNLOADS);
    if unanswered == 0 {
        assert_eq!(started, addresses(&[whole, broken].concat()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_the_last_byte_again_and_again_comes_no_more_than_twelve_times() {
    // A lease starts a file 3 times; it is the only one at a time; and 3 times its count comes back.
    const LEASES: usize = 1 + 3;
    const SIZE: usize = 300_000;
    let fleet = Fleet::start(IDLE).await;
    let content = noise(SIZE, 3);
    let link = fleet.send(&content, 1).await;
    let greedy = fleet.receiver(&link, 0);
    let range = format!("Range: bytes=0-{}\r\n", SIZE - 2);
    let mut taken = 0;
    for instance in (0..fleet.instances.len()).cycle() {
        let server = fleet.receiver(&link, instance).server;
        let greedy = Receiver { server, ..greedy.clone() };
        // Busy while the one before is not settled yet, or until the lease that gives nothing more has ended.
        let mut answer = wait_for("a start, or the end", async || {
            greedy.ask(&range, false).await.filter(|answer| answer.status != 503)
        })
        .await;
        if answer.status == 404 {
            break;
        }
        assert_eq!((answer.status, answer.length), (206, SIZE - 1));
        assert!(answer.has(SIZE - 1).await);
        taken += SIZE - 1;
        assert!(taken <= LEASES * 3 * (SIZE - 1), "{taken} bytes of {SIZE}");
    }
    // Each lease gave something; on a machine that stood still for a second perhaps not all.
    assert!(taken >= LEASES * (SIZE - 1), "{taken} bytes of {SIZE}");
    eprintln!("{} times", taken / (SIZE - 1));
    fleet.is_exhausted(&link, 1, &fleet.receivers(&link)).await;
    assert_eq!(fleet.counts(&link).await.0, Counts { used: 1, held: 0, returned: 3, last: None });
    let (started, completed) = fleet.trail(&link).await;
    assert_eq!(started, vec![greedy.address.to_string(); LEASES]);
    assert_eq!(completed, Vec::<String>::new());
}

/// Where the record store is, for receivers who go on by it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Redis {
    Runs,
    IsDead,
    IsBack,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_redis_killed_and_started_again_in_the_middle_exactly_ten_get_ten_downloads() {
    const DOWNLOADS: u32 = 10;
    let mut fleet = Fleet::start(IDLE).await;
    let content = noise(LARGE, 4);
    let link = fleet.send(&content, DOWNLOADS).await;
    let all = fleet.receivers(&link);
    let (redis, says) = watch::channel(Redis::Runs);
    let (let_in, mut are_in) = watch::channel(0);
    let (through, mut are_through) = watch::channel(0);
    // The first three of those who are let in go on while Redis is dead, the others when it is back.
    let fetch = async |receiver: Receiver| {
        let Some(answer) = receiver.ask("", false).await else { return (receiver, Got::Cut) };
        if answer.status == 200 {
            let goes_on = if *let_in.borrow() < 3 { Redis::IsDead } else { Redis::IsBack };
            let_in.send_modify(|count| *count += 1);
            let mut says = says.clone();
            says.wait_for(|now| *now >= goes_on).await.unwrap();
        }
        let got = answer.end(&content, None).await;
        // Cut too where the machine has so much to do that they are not through within 20 s.
        through.send_modify(|count| *count += usize::from(matches!(got, Got::Whole | Got::Cut)));
        (receiver, got)
    };
    let strike = async {
        are_in.wait_for(|count| *count >= 5).await.unwrap();
        fleet.redis.kill();
        redis.send(Redis::IsDead).unwrap();
        are_through.wait_for(|count| *count >= 3).await.unwrap();
        // Longer than a lease may be idle: what they got is to be known all the same.
        until(now().after(Duration::from_secs(2))).await;
        fleet.redis.start_again().await;
        redis.send(Redis::IsBack).unwrap();
    };
    let asked = join_all(all.iter().cloned().map(fetch));
    let (mut got, ()) = tokio::time::timeout(LONGEST, async { tokio::join!(asked, strike) }).await.unwrap();
    let mut whole = who(&got, Got::Whole);
    let mut waiting = to_come_back(&got);
    eprintln!("whole: {}, to come back: {}", whole.len(), waiting.len());
    while !waiting.is_empty() {
        fleet.settled(&link).await;
        got = wave(waiting, &content, &BTreeMap::new()).await;
        whole.extend(who(&got, Got::Whole));
        waiting = to_come_back(&got);
    }
    let counts = fleet.settled(&link).await;
    fleet.is_exhausted(&link, DOWNLOADS, &all).await;
    let (started, completed) = fleet.trail(&link).await;
    assert_eq!(completed, addresses(&whole));
    // One of which nobody was told, since Redis died with the answer, or that was cut since Redis was dead for 20 s.
    let given_up = u32::try_from(started.len() - completed.len()).unwrap();
    eprintln!("whole: {}, unheard of or cut: {given_up}", whole.len());
    let used = u32::try_from(whole.len()).unwrap() + given_up.saturating_sub(3);
    assert_eq!(counts, Counts { used, held: 0, returned: given_up.min(3), last: None });
    assert_eq!(used, DOWNLOADS);
    assert!(given_up > 3 || whole.len() == DOWNLOADS as usize);
}
