//! What silent and slow clients cost another one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::client::{Client, basic, pattern};
use crate::minio;
use crate::redis::Redis;
use crate::server::Server;

const MIB: u64 = 1 << 20;
const QUIET: usize = 300;
/// All must be cut by then: a slow body has a minute.
const PATIENCE: Duration = Duration::from_secs(100);
/// Connections that are being made at once.
const CONNECTING: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    Head,
    Body,
}

/// How one ended: what it was told, if anything, and after how long.
type Ended = (Kind, Duration, Option<u16>);

pub fn run(root: &Path, on_minio: bool) {
    let production = on_minio.then(|| {
        let dir = tempfile::TempDir::new_in(root).unwrap().keep();
        (minio::start(root), Redis::start(&dir))
    });
    let server = match &production {
        Some((minio, redis)) => minio::production(root, minio, redis),
        None => Server::burnbag(root),
    };
    let pattern = pattern();
    let round_trip = || {
        let begun = Instant::now();
        let mut client = Client::connect(&server, &pattern);
        let link = client.send("a", MIB);
        client.fetch(&link, MIB);
        begun.elapsed()
    };
    for _ in 0..20 {
        round_trip();
    }
    let quiet: Vec<_> = (0..QUIET).map(|_| round_trip()).collect();
    let idle = server.memory().0;

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cut: Arc<Mutex<Vec<Ended>>> = Arc::default();
    let gate = Arc::new(Semaphore::new(CONNECTING));
    let kinds = [(Kind::Silent, 10_000), (Kind::Head, 500), (Kind::Body, 200)];
    let auth = basic(server.token.as_deref().unwrap());
    // Bodies first: a head that came whole cannot be turned away any more, one that did not can.
    for (kind, count) in kinds.into_iter().rev() {
        for _ in 0..count {
            let (cut, gate, auth, address) =
                (Arc::clone(&cut), Arc::clone(&gate), auth.clone(), server.address);
            runtime.spawn(async move {
                let connected = gate.acquire().await.unwrap();
                let stream = TcpStream::connect(address).await.unwrap();
                drop(connected);
                let begun = Instant::now();
                let told = attack(kind, stream, &auth, address).await;
                cut.lock().unwrap().push((kind, begun.elapsed(), told));
            });
        }
    }
    let all = kinds.iter().map(|(_, count)| count).sum::<usize>();
    let done = AtomicBool::new(false);
    let begun = Instant::now();
    let mut hostile = Vec::new();
    while !done.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE {
        hostile.push(round_trip());
        done.store(cut.lock().unwrap().len() == all, Ordering::Relaxed);
    }
    let peak = server.memory().1;
    println!("slow and silent clients");
    println!("  idle {idle:.1} MiB, peak {peak:.1} MiB, {:.1} MiB more", peak - idle);
    for (name, taken) in [("quiet", quiet), ("hostile", hostile)] {
        let (count, p50, p99) = percentiles(taken);
        println!("  1 MiB up and down, {name}: {count} times, p50 {p50:.1} ms, p99 {p99:.1} ms");
    }
    let cut = cut.lock().unwrap();
    for (kind, name) in [
        (Kind::Silent, "say nothing"),
        (Kind::Head, "a byte of a head at a time"),
        (Kind::Body, "slow bodies"),
    ] {
        let mut times: Vec<f64> =
            cut.iter().filter(|(of, ..)| *of == kind).map(|(_, time, _)| time.as_secs_f64()).collect();
        times.sort_by(f64::total_cmp);
        let wanted = kinds.iter().find(|(of, _)| *of == kind).unwrap().1;
        let (first, last) = (times.first().unwrap_or(&0.0), times.last().unwrap_or(&0.0));
        println!("  {name}: {} of {wanted} cut, after {first:.1} to {last:.1} s", times.len());
        let mut told: BTreeMap<u16, usize> = BTreeMap::new();
        for (.., status) in cut.iter().filter(|(of, _, status)| *of == kind && status.is_some()) {
            *told.entry(status.unwrap_or_default()).or_default() += 1;
        }
        for (status, count) in told {
            println!("    {count} were told {status}");
        }
    }
}

/// Until it is cut: the status that it was told.
async fn attack(kind: Kind, mut stream: TcpStream, auth: &str, address: SocketAddr) -> Option<u16> {
    let head = format!(
        "PUT /slow HTTP/1.1\r\nHost: {address}\r\nAuthorization: {auth}\r\nContent-Length: 100000\r\n"
    );
    let (bytes, every) = match kind {
        Kind::Silent => (Vec::new(), Duration::from_secs(1)),
        Kind::Head => (head.into_bytes(), Duration::from_millis(250)),
        Kind::Body => {
            if stream.write_all(format!("{head}\r\n").as_bytes()).await.is_err() {
                return None;
            }
            (vec![b'x'; 1000], Duration::from_secs(1))
        }
    };
    let (mut reader, mut writer) = stream.split();
    let mut told = Vec::new();
    // A reset after the answer is no matter.
    let ended = async { drop(reader.read_to_end(&mut told).await) };
    let trickle = async {
        for byte in bytes {
            if writer.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(every).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = ended => {}
        () = trickle => {}
    }
    let status = told.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

pub fn percentiles(mut taken: Vec<Duration>) -> (usize, f64, f64) {
    taken.sort();
    let at = |part: usize| taken[(taken.len() * part / 100).min(taken.len() - 1)].as_secs_f64() * 1000.0;
    (taken.len(), at(50), at(99))
}
