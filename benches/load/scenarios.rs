//! What is measured. Each gives one round of named figures, on servers of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use crate::client::{BLOCK, Client, Link};
use crate::server::Server;

pub const GIB: u64 = 1 << 30;
/// Small files are of this size.
pub const SMALL: u64 = 100 << 10;
/// Small files are sent and fetched by so many at once.
const AT_ONCE: usize = 32;
/// Small files of one sender.
const EACH: usize = 150;
/// Big files at once.
pub const BIG_AT_ONCE: u64 = 64;
/// Big files are of this size.
pub const BIG: u64 = 256 << 20;

/// A figure: what it is, and how much.
pub type Figure = (&'static str, f64);

/// How long it takes to be ready, and what it holds when nothing happens.
pub fn start(root: &Path) -> Vec<Figure> {
    let server = Server::start(root);
    park_timeout(Duration::from_secs(2));
    vec![("start to ready, ms", server.ready.as_secs_f64() * 1e3), ("idle RSS, MiB", server.memory().0)]
}

/// One file of 1 GiB up and down, beside `cp` and `fsync` of the same bytes.
pub fn size(root: &Path, pattern: &[u8]) -> Vec<Figure> {
    let server = Server::start(root);
    let mut client = Client::connect(&server, pattern);
    let (up, up_cpu, link) = costs(&server, || client.send(GIB));
    let peak_up = server.memory().1;
    let (down, down_cpu, ()) = costs(&server, || client.fetch(&link, GIB));
    vec![
        ("1 GiB up, s", up),
        ("1 GiB up, CPU s", up_cpu),
        ("1 GiB up, peak RSS MiB", peak_up),
        ("1 GiB down, s", down),
        ("1 GiB down, CPU s", down_cpu),
        ("1 GiB up and down, peak RSS MiB", server.memory().1),
        ("1 GiB, cp and fsync, s", copied(server.dir(), pattern)),
    ]
}

/// 100 KiB files by 32 at once, beside 32 threads that write and sync such files.
pub fn small(root: &Path, pattern: &[u8]) -> Vec<Figure> {
    let server = Server::start(root);
    let files = (AT_ONCE * EACH) as f64;
    let mut links: Vec<Vec<Link>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    let (up, up_cpu, ()) = costs(&server, || {
        std::thread::scope(|scope| {
            for links in &mut links {
                let mut client = Client::connect(&server, pattern);
                scope.spawn(move || links.extend((0..EACH).map(|_| client.send(SMALL))));
            }
        });
    });
    let (down, down_cpu, ()) = costs(&server, || {
        std::thread::scope(|scope| {
            for links in &links {
                let mut client = Client::connect(&server, pattern);
                scope.spawn(move || links.iter().for_each(|link| client.fetch(link, SMALL)));
            }
        });
    });
    vec![
        ("100 KiB up, files/s", files / up),
        ("100 KiB up, CPU ms each", up_cpu * 1e3 / files),
        ("100 KiB down, files/s", files / down),
        ("100 KiB down, CPU ms each", down_cpu * 1e3 / files),
        ("100 KiB, peak RSS MiB", server.memory().1),
        ("100 KiB written and synced, files/s", written(server.dir(), pattern)),
    ]
}

/// 64 uploads of 256 MiB at once, then 64 downloads.
pub fn memory(root: &Path, pattern: &[u8]) -> Vec<Figure> {
    let server = Server::start(root);
    let begin = Barrier::new(usize::try_from(BIG_AT_ONCE).unwrap());
    let (up, up_cpu, links) = costs(&server, || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..BIG_AT_ONCE)
                .map(|_| {
                    let (server, begin) = (&server, &begin);
                    scope.spawn(move || {
                        let mut client = Client::connect(server, pattern);
                        begin.wait();
                        client.send(BIG)
                    })
                })
                .collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    });
    let peak_up = server.memory().1;
    let (down, down_cpu, ()) = costs(&server, || {
        std::thread::scope(|scope| {
            for link in &links {
                let mut client = Client::connect(&server, pattern);
                scope.spawn(move || client.fetch(link, BIG));
            }
        });
    });
    park_timeout(Duration::from_secs(2));
    let (after, peak) = server.memory();
    let gib = (BIG_AT_ONCE * BIG / GIB) as f64;
    vec![
        ("64 x 256 MiB up, MiB/s", gib * 1024.0 / up),
        ("64 x 256 MiB up, CPU s a GiB", up_cpu / gib),
        ("64 x 256 MiB up, peak RSS MiB", peak_up),
        ("64 x 256 MiB down, MiB/s", gib * 1024.0 / down),
        ("64 x 256 MiB down, CPU s a GiB", down_cpu / gib),
        ("64 x 256 MiB up and down, peak RSS MiB", peak),
        ("RSS afterwards, MiB", after),
    ]
}

/// Seconds, and CPU seconds of the server.
fn costs<T>(server: &Server, work: impl FnOnce() -> T) -> (f64, f64, T) {
    let (begun, cpu) = (Instant::now(), server.cpu());
    let done = work();
    (begun.elapsed().as_secs_f64(), server.cpu() - cpu, done)
}

/// Seconds that `cp` and `fsync` take for 1 GiB that is in the page cache.
fn copied(dir: &Path, pattern: &[u8]) -> f64 {
    let (from, to) = (dir.join("from"), dir.join("to"));
    let mut file = File::create(&from).unwrap();
    for _ in 0..GIB / BLOCK as u64 {
        file.write_all(pattern).unwrap();
    }
    file.sync_all().unwrap();
    let begun = Instant::now();
    let copied = Command::new("cp").arg("--reflink=never").args([&from, &to]).status().unwrap();
    assert!(copied.success(), "cp failed");
    File::open(&to).unwrap().sync_all().unwrap();
    begun.elapsed().as_secs_f64()
}

/// Files a second that as many threads write and sync, without names that last.
fn written(dir: &Path, pattern: &[u8]) -> f64 {
    let begun = Instant::now();
    let bytes = &pattern[..usize::try_from(SMALL).unwrap()];
    std::thread::scope(|scope| {
        for thread in 0..AT_ONCE {
            scope.spawn(move || {
                for number in 0..EACH {
                    let mut file = File::create(dir.join(format!("{thread}-{number}"))).unwrap();
                    file.write_all(bytes).unwrap();
                    file.sync_all().unwrap();
                }
            });
        }
    });
    (AT_ONCE * EACH) as f64 / begun.elapsed().as_secs_f64()
}
