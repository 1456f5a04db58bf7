//! What a thousand guesses at the password of a link cost other receivers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::client::{Client, Link, basic, pattern};
use crate::redis::Redis;
use crate::server::Server;
use crate::slow::percentiles;

const MIB: u64 = 1 << 20;
const QUIET: usize = 1000;
const LINKS: usize = 64;
const GUESSES: u16 = 1000;
const ROUNDS: usize = 20;

/// Three instances on one Redis and one directory; each round has a link of its own.
pub fn run(root: &Path) {
    let fresh = || TempDir::new_in(root).unwrap().keep();
    let redis = Redis::start(&fresh());
    let data = fresh().join("data").display().to_string();
    let settings = [("REDIS_URL", redis.url().to_owned()), ("DATA_DIR", data)];
    let first = Server::burnbag_with(root, &settings);
    let token = first.token.clone().unwrap();
    let beside = || Server::burnbag_on(fresh(), token.clone(), &settings);
    let servers = [first, beside(), beside()];
    let pattern = pattern();
    let mut client = Client::connect(&servers[0], &pattern);
    // By turns: a receiver has so many leases of one link at once, and each starts a file three times.
    let links: Vec<_> = (0..LINKS).map(|n| client.send(&format!("a{n}"), MIB)).collect();
    let mut turns = links.iter().cycle();
    let mut fetch = || {
        let begun = Instant::now();
        turns.by_ref().take(1).for_each(|link| client.fetch(link, MIB));
        begun.elapsed()
    };
    for _ in 0..50 {
        fetch();
    }
    let quiet: Vec<_> = (0..QUIET).map(|_| fetch()).collect();
    let idle = servers.each_ref().map(|server| server.memory().0);

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let told: Arc<Mutex<BTreeMap<u16, usize>>> = Arc::default();
    let (mut beset, mut longest) = (Vec::new(), Duration::ZERO);
    for _ in 0..ROUNDS {
        let locked = send_locked(servers[0].address, &token);
        let left = Arc::new(AtomicUsize::new(usize::from(GUESSES)));
        let begun = Instant::now();
        for n in 0..GUESSES {
            let address = servers[usize::from(n % 3)].address;
            let (told, left, locked) = (Arc::clone(&told), Arc::clone(&left), locked.clone());
            runtime.spawn(async move {
                let status = guess(n, address, &locked).await.unwrap_or_default();
                *told.lock().unwrap().entry(status).or_default() += 1;
                left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        while left.load(Ordering::Relaxed) > 0 {
            beset.push(fetch());
        }
        longest = longest.max(begun.elapsed());
    }
    println!(
        "wrong passwords: {GUESSES} at once, from as many addresses, over three instances; {ROUNDS} times"
    );
    for (idle, server) in idle.iter().zip(&servers) {
        let peak = server.memory().1;
        println!("  idle {idle:.1} MiB, peak {peak:.1} MiB, {:.1} MiB more", peak - idle);
    }
    println!("  all were answered within {longest:.1?}");
    for (status, count) in told.lock().unwrap().iter() {
        println!("    {count} were told {status}");
    }
    let mut tails = [0.0; 2];
    for (tail, (name, taken)) in tails.iter_mut().zip([("quiet", quiet), ("beset", beset)]) {
        let (count, p50, p99) = percentiles(taken);
        println!("  another download of 1 MiB, {name}: {count} times, p50 {p50:.1} ms, p99 {p99:.1} ms");
        *tail = p99;
    }
    println!("  p99 {:.2} times that of quiet", tails[1] / tails[0]);
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
