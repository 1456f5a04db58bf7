//! What a thousand guesses at the password of a link cost other receivers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::iter::Cycle;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::client::{Client, Link, basic, pattern};
use crate::redis::Redis;
use crate::server::Server;
use crate::slow::percentiles;

const MIB: u64 = 1 << 20;
/// What each of them fetches before each time that the guesses come.
const QUIET: usize = 100;
/// And before that, uncounted.
const SETTLED: usize = 50;
/// By turns: a receiver has so many leases of one link at once, and each starts a file three times.
const LINKS: usize = 64;
const GUESSES: u16 = 1000;
const ROUNDS: usize = 20;

/// Instances on one Redis and one directory; the downloads are those of the first. Each round has a link of its own.
pub fn run(root: &Path, instances: usize, receivers: usize) {
    let fresh = || TempDir::new_in(root).unwrap().keep();
    let redis = Redis::start(&fresh());
    let data = fresh().join("data").display().to_string();
    let settings = [("REDIS_URL", redis.url().to_owned()), ("DATA_DIR", data)];
    let mut servers = vec![Server::burnbag_with(root, &settings)];
    let token = servers[0].token.clone().unwrap();
    servers.resize_with(instances, || Server::burnbag_on(fresh(), token.clone(), &settings));
    let pattern = pattern();
    let mut receivers: Vec<_> = (0..receivers).map(|_| Receiver::new(&servers[0], &pattern)).collect();
    // The first time a file comes from the disk, and each link gets leases, which its record holds.
    fetch_by_all(&mut receivers, |fetched| fetched < 12 * LINKS);
    let idle: Vec<_> = servers.iter().map(|server| server.memory().0).collect();

    let told: Mutex<BTreeMap<u16, usize>> = Mutex::default();
    let (mut quiet, mut beset, mut longest) = (Vec::new(), Vec::new(), Duration::ZERO);
    // As often as by turns, so that it meets the pauses of the disk as often.
    let first = fetch_by_all(&mut receivers, |fetched| fetched < ROUNDS * QUIET);
    // By turns, since the speed of the disk changes.
    for _ in 0..ROUNDS {
        // What the guesses before left to be done is over by then.
        fetch_by_all(&mut receivers, |fetched| fetched < SETTLED);
        quiet.extend(fetch_by_all(&mut receivers, |fetched| fetched < QUIET));
        let locked = send_locked(servers[0].address, &token);
        let over = AtomicBool::new(false);
        let downloads = thread::scope(|scope| {
            let fetching = scope.spawn(|| fetch_by_all(&mut receivers, |_| !over.load(Ordering::Relaxed)));
            let guessing = scope.spawn(|| {
                // What a thousand clients take of the processors is not what is measured.
                rustix::process::nice(10).unwrap();
                let begun = Instant::now();
                guess_at_once(&servers, &locked, &told);
                begun.elapsed()
            });
            longest = longest.max(guessing.join().unwrap());
            over.store(true, Ordering::Relaxed);
            fetching.join().unwrap()
        });
        beset.extend(downloads);
    }
    println!(
        "wrong passwords: {GUESSES} at once, from as many addresses, over {instances} instances; {ROUNDS} times; others: {}",
        receivers.len()
    );
    for (idle, server) in idle.iter().zip(&servers) {
        let peak = server.memory().1;
        println!("  idle {idle:.1} MiB, peak {peak:.1} MiB, {:.1} MiB more", peak - idle);
    }
    println!("  all were answered within {longest:.1?}");
    for (status, count) in told.lock().unwrap().iter() {
        println!("    {count} were told {status}");
    }
    let series = [("quiet, before all guesses", first), ("quiet, by turns", quiet), ("beset", beset)];
    let [first, quiet, beset] = series.map(|(name, taken)| {
        let (count, p50, p99) = percentiles(taken);
        println!("  a download of 1 MiB, {name}: {count} times, p50 {p50:.1} ms, p99 {p99:.1} ms");
        p99
    });
    println!(
        "  p99 {:.2} times that of quiet by turns, {:.2} times that before",
        beset / quiet,
        beset / first
    );
}

/// Another one's downloads.
struct Receiver<'a> {
    client: Client<'a>,
    links: Cycle<IntoIter<Link>>,
}

impl<'a> Receiver<'a> {
    fn new(server: &Server, pattern: &'a [u8]) -> Self {
        let mut client = Client::connect(server, pattern);
        let links: Vec<_> = (0..LINKS).map(|n| client.send(&format!("a{n}"), MIB)).collect();
        Self { client, links: links.into_iter().cycle() }
    }

    /// How long each took.
    fn fetch_while(&mut self, go_on: impl Fn(usize) -> bool) -> Vec<Duration> {
        let mut taken = Vec::new();
        while go_on(taken.len()) {
            let link = self.links.next().unwrap();
            let begun = Instant::now();
            self.client.fetch(&link, MIB);
            taken.push(begun.elapsed());
        }
        taken
    }
}

fn fetch_by_all(receivers: &mut [Receiver], go_on: impl Fn(usize) -> bool + Sync) -> Vec<Duration> {
    thread::scope(|scope| {
        let go_on = &go_on;
        let all: Vec<_> =
            receivers.iter_mut().map(|one| scope.spawn(move || one.fetch_while(go_on))).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    })
}

/// Returns when the last one is answered.
fn guess_at_once(servers: &[Server], locked: &Link, told: &Mutex<BTreeMap<u16, usize>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let guesses = (0..GUESSES).map(|n| guess(n, servers[usize::from(n) % servers.len()].address, locked));
    for status in runtime.block_on(join_all(guesses)) {
        *told.lock().unwrap().entry(status.unwrap_or_default()).or_default() += 1;
    }
}

/// A link under a password that nobody guesses.
fn send_locked(address: SocketAddr, token: &str) -> Link {
    let mut stream = TcpStream::connect(address).unwrap();
    let auth = basic(token);
    let head = format!(
        "PUT /locked HTTP/1.1\r\nhost: bench\r\nauthorization: {auth}\r\nburnbag-password: correct horse\r\n\
         content-length: 1\r\nconnection: close\r\n\r\nx"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (url, secret) = answer.trim_end().rsplit('\n').next().unwrap().split_once('#').unwrap();
    let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
    Link { path, secret: Some(secret.to_owned()), transfer: String::new() }
}

/// From an address of its own: what status it was told.
async fn guess(n: u16, address: SocketAddr, link: &Link) -> Option<u16> {
    let [high, low] = n.to_be_bytes();
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(SocketAddr::new(IpAddr::from([127, 0, 1 + high, low.max(1)]), 0)).ok()?;
    let mut stream = socket.connect(address).await.ok()?;
    let auth = basic(&format!("{}:guess {n}", link.secret.as_deref()?));
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: bench\r\nauthorization: {auth}\r\nconnection: close\r\n\r\n",
        link.path
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    std::str::from_utf8(answer.strip_prefix(b"HTTP/1.1 ")?.get(..3)?).ok()?.parse().ok()
}
