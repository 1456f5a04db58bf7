//! Time, CPU time and memory of transfers, side by side with nginx on the same disk.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use crate::client::{Client, Link};
use crate::server::{Server, children_cpu};
use crate::table::{Row, own};

pub const GIB: u64 = 1 << 30;
/// Small files are of this size.
pub const SMALL: u64 = 100 << 10;
/// Small files are sent and fetched by so many at once.
pub const AT_ONCE: usize = 32;
/// Small files of one sender.
pub const EACH: usize = 150;
/// Big files at once.
pub const BIG_AT_ONCE: u64 = 64;
/// Big files are of this size.
pub const BIG: u64 = 256 << 20;

/// How long it takes to be ready, and what it holds when nothing happens.
pub fn start(root: &Path) -> Vec<Row> {
    let server = Server::burnbag(root);
    park_timeout(Duration::from_secs(2));
    vec![
        own("start to ready, ms", "≤ 100", server.ready.as_secs_f64() * 1e3),
        own("idle RSS, MiB", "≤ 25", server.memory().0),
    ]
}

/// What one file of 1 GiB took of one server.
pub struct Big {
    pub up: Cost,
    /// The upload and the sync of what it left.
    pub synced: Option<Cost>,
    /// The first download after the upload.
    pub first: Cost,
    pub again: Cost,
    pub peak: f64,
}

pub fn one_big(server: &Server, pattern: &[u8]) -> Big {
    let mut client = Client::connect(server, pattern);
    let (up, link) = cost(server, || client.send("plain", GIB));
    let synced = server.keeps_files().then(|| {
        let before = children_cpu();
        let (mut synced, ()) = cost(server, || {
            let link = client.send("synced", GIB);
            let done = Command::new("sync").arg(server.file(&link.path)).status().unwrap();
            assert!(done.success(), "sync failed");
        });
        synced.cpu += children_cpu() - before;
        synced
    });
    let peak_up = server.memory().1;
    let (first, ()) = cost(server, || client.verify(&link, GIB));
    let (again, ()) = cost(server, || client.fetch(&link, GIB));
    Big { up, synced, first, again, peak: peak_up.max(server.memory().1) }
}

/// One file of 1 GiB up and down.
pub fn big(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let ours = one_big(&Server::burnbag(root), pattern);
    let peer = one_big(&Server::nginx(root), pattern);
    let row = |name: &str, aim, of: fn(&Big) -> f64, synced: Option<f64>| Row {
        name: name.to_owned(),
        aim,
        cells: [Some(of(&ours)), Some(of(&peer)), synced, None],
    };
    let synced = peer.synced.as_ref();
    let beside = |peer: f64, ours: f64| Some(peer / ours);
    vec![
        row("1 GiB up, s", "", |big| big.up.seconds, synced.map(|up| up.seconds)),
        Row {
            name: "the same: speed of burnbag beside it".to_owned(),
            aim: "≥ 0.8 of the synced",
            cells: [
                None,
                beside(peer.up.seconds, ours.up.seconds),
                synced.and_then(|up| beside(up.seconds, ours.up.seconds)),
                None,
            ],
        },
        row("1 GiB up, CPU s", "≤ 1.5", |big| big.up.cpu, synced.map(|up| up.cpu)),
        row("the same: in user space", "", |big| big.up.user, None),
        row("1 GiB down, the first time, s", "", |big| big.first.seconds, None),
        row("1 GiB down, the first time, CPU s", "", |big| big.first.cpu, None),
        row("1 GiB down, again, s", "", |big| big.again.seconds, None),
        Row {
            name: "the same: speed of burnbag beside it".to_owned(),
            aim: "≥ 0.8",
            cells: [None, beside(peer.again.seconds, ours.again.seconds), None, None],
        },
        row("1 GiB down, again, CPU s", "≤ 0.8", |big| big.again.cpu, None),
        row("the same: in user space", "", |big| big.again.user, None),
        row("1 GiB up and down, peak RSS MiB", "", |big| big.peak, None),
    ]
}

/// What many small files took of one server.
pub struct Many {
    pub up: Cost,
    pub down: Cost,
    pub peak: f64,
}

pub fn many_small(server: &Server, pattern: &[u8], sync: bool) -> Many {
    let mut links: Vec<Vec<Link>> = (0..AT_ONCE).map(|_| Vec::new()).collect();
    let (up, ()) = cost(server, || {
        std::thread::scope(|scope| {
            for (sender, links) in links.iter_mut().enumerate() {
                let mut client = Client::connect(server, pattern);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let link = client.send(&format!("{sender}-{number}"), SMALL);
                        if sync {
                            File::open(server.file(&link.path)).unwrap().sync_all().unwrap();
                        }
                        links.push(link);
                    }
                });
            }
        });
    });
    let (down, ()) = cost(server, || {
        std::thread::scope(|scope| {
            for links in &links {
                let mut client = Client::connect(server, pattern);
                scope.spawn(move || links.iter().for_each(|link| client.verify(link, SMALL)));
            }
        });
    });
    Many { up, down, peak: server.memory().1 }
}

/// 100 KiB files by 32 at once.
pub fn small(root: &Path, pattern: &[u8]) -> Vec<Row> {
    let ours = many_small(&Server::burnbag(root), pattern, false);
    let peer = many_small(&Server::nginx(root), pattern, false);
    let synced = many_small(&Server::nginx(root), pattern, true);
    let files = (AT_ONCE * EACH) as f64;
    let row = |name: &str, aim, of: &dyn Fn(&Many) -> f64| Row {
        name: name.to_owned(),
        aim,
        cells: [Some(of(&ours)), Some(of(&peer)), Some(of(&synced)), None],
    };
    vec![
        row("100 KiB up, 32 at once, files/s", "≥ 1,500", &|many| files / many.up.seconds),
        row("the same: CPU ms each", "", &|many| many.up.cpu * 1e3 / files),
        row("100 KiB down, 32 at once, files/s", "", &|many| files / many.down.seconds),
        row("the same: CPU ms each", "", &|many| many.down.cpu * 1e3 / files),
        row("100 KiB up and down, peak RSS MiB", "", &|many| many.peak),
    ]
}

/// 64 uploads of 256 MiB at once, then 64 downloads.
pub fn memory(root: &Path, pattern: &[u8]) -> Vec<Row> {
    many_big(&Server::burnbag(root), BIG, pattern)
}

/// 64 uploads of this size at once, then 64 downloads.
pub fn many_big(server: &Server, size: u64, pattern: &[u8]) -> Vec<Row> {
    let begin = Barrier::new(usize::try_from(BIG_AT_ONCE).unwrap());
    let (up, links) = cost(server, || {
        std::thread::scope(|scope| {
            let senders: Vec<_> = (0..BIG_AT_ONCE)
                .map(|_| {
                    let begin = &begin;
                    scope.spawn(move || {
                        let mut client = Client::connect(server, pattern);
                        begin.wait();
                        client.send("load.bin", size)
                    })
                })
                .collect();
            senders.into_iter().map(|sender| sender.join().unwrap()).collect::<Vec<_>>()
        })
    });
    let peak_up = server.memory().1;
    let (down, ()) = cost(server, || {
        std::thread::scope(|scope| {
            for link in &links {
                let mut client = Client::connect(server, pattern);
                scope.spawn(move || client.verify(link, size));
            }
        });
    });
    park_timeout(Duration::from_secs(2));
    let (after, peak) = server.memory();
    let gib = (BIG_AT_ONCE * size / GIB) as f64;
    let name = |what: &str| format!("64 x {} MiB {what}", size >> 20);
    vec![
        own(name("up, MiB/s"), "", gib * 1024.0 / up.seconds),
        own(name("up, CPU s a GiB"), "", up.cpu / gib),
        own(name("up, peak RSS MiB"), "≤ 400", peak_up),
        own(name("down, MiB/s"), "", gib * 1024.0 / down.seconds),
        own(name("down, CPU s a GiB"), "", down.cpu / gib),
        own(name("up and down, peak RSS MiB"), "≤ 400", peak),
        own("RSS afterwards, MiB", "", after),
    ]
}

/// Seconds, and CPU seconds of a server.
pub struct Cost {
    pub seconds: f64,
    /// In user space and in the kernel.
    pub cpu: f64,
    pub user: f64,
}

fn cost<T>(server: &Server, work: impl FnOnce() -> T) -> (Cost, T) {
    let (begun, before) = (Instant::now(), server.cpu());
    let done = work();
    let seconds = begun.elapsed().as_secs_f64();
    let now = server.cpu();
    let user = now.user - before.user;
    (Cost { seconds, cpu: user + now.system - before.system, user }, done)
}
