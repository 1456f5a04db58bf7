//! A million live records: what a request takes beside them, and how late a hundred thousand of them are ended.
//! In the production form by three instances, out of a bucket.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, park_timeout};
use std::time::{Duration, Instant};

use burnbag::clock::{Clock as _, SystemClock, Timestamp};
use burnbag::crypto::{
    FileMeta, Header, LinkSecret, OWNER, PasswordBlock, PasswordKey, Run, TransferKey, seal_runs, seal_slot,
};
use burnbag::service::Service;
use burnbag::storage::Part;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{
    AccountId, BlobKey, Change, Context, FileId, InstanceId, LinkId, NewFile, NewLink, NewTransfer, Object,
    TeamId, Transfer, TransferId, WholeFile,
};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rand::RngExt as _;
use tempfile::TempDir;

use crate::client::{Client, Link};
use crate::minio;
use crate::redis::Redis;
use crate::server::{Server, free_address};
use crate::service;
use crate::table::{Row, beside_minio, own};

/// Live records that the many are compared with.
const FEW: usize = 10_000;
/// One commit of the seed.
const BATCH: usize = 500;
/// Requests of each kind.
const REQUESTS: usize = 1000;
/// What is sent and fetched beside the records.
const SIZE: u64 = 1024;
/// For each of what is due: its seed must be through, and its events in the log, by its deadline.
const PREPARATION: Duration = Duration::from_millis(4);
/// Objects that are put at once.
const PUTS: usize = 32;
/// Instances that share the ends in the production form.
const INSTANCES: usize = 3;
/// Between two requests for what is over.
const PAUSE: Duration = Duration::from_millis(20);
/// Objects whose deletion without burnbag is timed.
const STRAIGHT: usize = 20_000;

/// Requests with few and with `live` records, then `due` more due at once.
pub fn records(root: &Path, pattern: &[u8], live: usize, due: usize, production: bool) -> Vec<Row> {
    let dir = TempDir::new_in(root).unwrap().keep();
    let stores = production.then(|| Stores { redis: Redis::start(&dir), minio: minio::start(root) });
    let mut seed = Seed { dir: dir.clone(), stores, token: String::new(), links: Vec::new() };
    let far = || SystemClock.now().after(Duration::from_secs(rand::rng().random_range(86_400..6 * 86_400)));
    seed.grow(FEW, &far, false);
    let server = seed.serve();
    let few_bytes = seed.database();
    let few = Requests::run(&server, &seed.links, pattern);
    drop(server);
    seed.grow(live - FEW, &far, false);
    let server = seed.serve();
    let many_bytes = seed.database();
    let many = Requests::run(&server, &seed.links, pattern);
    drop(server);
    let straight = seed.stores.as_ref().map(|stores| minio::delete_rate(&stores.minio, STRAIGHT));
    let preparation = Duration::from_secs(20) + PREPARATION * u32::try_from(due).unwrap();
    let deadline = SystemClock.now().after(preparation);
    seed.grow(due, &|| deadline, true);
    let mut servers = vec![seed.serve()];
    for _ in 1..if production { INSTANCES } else { 1 } {
        servers.push(seed.serve_beside());
    }
    assert!(SystemClock.now() < deadline, "the preparation took longer than {preparation:?}");
    let (late, asked) = flood(&servers, &seed, deadline, due, pattern);
    let memory = servers.iter().map(|server| server.memory().1).fold(0.0, f64::max);
    let beside = |kind: &str, of: fn(&Requests) -> f64, aim| {
        own(format!("{kind}: beside {live} live records, of that beside {FEW}"), aim, of(&many) / of(&few))
    };
    let mut rows = vec![
        own(format!("median request beside {FEW} live records, ms"), "", few.all()),
        own(format!("median request beside {live}, ms"), "", many.all()),
        beside("the same", Requests::all, "≤ 1.2"),
        beside("HEAD of a random file", |of| median(&of.look), ""),
        beside("PUT of 1 KiB", |of| median(&of.send), ""),
        beside("GET of 1 KiB", |of| median(&of.fetch), ""),
        beside("DELETE", |of| median(&of.delete), ""),
        own(format!("bytes of the record store a live record, {FEW}"), "", few_bytes / FEW as f64),
        own(format!("bytes of the record store a live record, {live}"), "", many_bytes / live as f64),
        own(format!("{due} due at once: ended − deadline, p50 s"), "", late.ended(50)),
        own(
            format!("{due} due at once: ended − deadline, p99 s"),
            if due > 10_000 { "≤ 5" } else { "≤ 1" },
            late.ended(99),
        ),
        own("the same: requests meanwhile, all refused", "", asked as f64),
        own("the same: last object gone after, s", "", late.gone),
        own("the same: peak RSS MiB", "", memory),
    ];
    if let Some(straight) = straight {
        let rate = due as f64 / (late.gone - late.begun);
        rows.push(beside_minio(
            "objects deleted a second, from the first to the last",
            "",
            [Some(rate), Some(straight)],
        ));
        rows.push(own("the same: burnbag beside the straight", "≥ 0.8", rate / straight));
    }
    rows
}

/// What the production form stands on.
struct Stores {
    redis: Redis,
    minio: Server,
}

impl Stores {
    /// The settings that lead there, by the names that a configuration file has.
    fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = minio::settings(&self.minio);
        settings.push(("REDIS_URL", self.redis.url().to_owned()));
        settings
    }
}

/// A directory that records are put into while nothing serves from it.
struct Seed {
    dir: PathBuf,
    /// Absent: `SQLite` and the directory.
    stores: Option<Stores>,
    token: String,
    links: Vec<Link>,
}

impl Seed {
    /// Puts `count` more transfers of one file there, as an upload leaves them; with their objects, or without.
    fn grow(&mut self, count: usize, deadline: &dyn Fn() -> Timestamp, objects: bool) {
        let runtime = service::runtime();
        runtime.block_on(async {
            let app = service::open(&self.dir, free_address(), "", &self.settings()).await;
            if self.token.is_empty() {
                self.token = service::token(&app).await;
            }
            let account = app.service.account("admin").await.unwrap();
            for done in (0..count).step_by(BATCH) {
                let mut changes = Vec::with_capacity(BATCH);
                for _ in done..count.min(done + BATCH) {
                    let (change, link) = available(&app.service, account.team, account.id, deadline());
                    changes.push(change);
                    self.links.push(link);
                }
                if objects {
                    let keys = changes.iter().flat_map(|change| change.record().blob_keys()).cloned();
                    stream::iter(keys.collect::<Vec<_>>())
                        .map(|key| {
                            let blobs = Arc::clone(&app.service.blobs);
                            async move {
                                blobs.put(&key, Part::from_filled(b"sealed".to_vec(), 0)).await.map(drop)
                            }
                        })
                        .buffer_unordered(PUTS)
                        .try_collect::<()>()
                        .await
                        .unwrap();
                }
                for answer in app.service.records.commit_all(changes).await {
                    answer.unwrap();
                }
            }
        });
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        self.stores.as_ref().map(Stores::settings).unwrap_or_default()
    }

    /// Bytes of the database that are in use; in Redis, of its memory.
    fn database(&self) -> f64 {
        if let Some(stores) = &self.stores {
            return stores.redis.bytes();
        }
        let db = rusqlite::Connection::open(self.dir.join("data/burnbag.db")).unwrap();
        let pragma = |name| db.pragma_query_value(None, name, |row| row.get::<_, f64>(0)).unwrap();
        (pragma("page_count") - pragma("freelist_count")) * pragma("page_size")
    }

    /// Events that wait for the log.
    fn waiting(&self) -> u64 {
        if let Some(stores) = &self.stores {
            return stores.redis.waiting();
        }
        let db = rusqlite::Connection::open(self.dir.join("data/burnbag.db")).unwrap();
        db.query_row("SELECT count(*) FROM outbox", [], |row| row.get(0)).unwrap()
    }

    /// Serves from it, with all events of the seed in the log.
    fn serve(&self) -> Server {
        let server = Server::burnbag_on(self.dir.clone(), self.token.clone(), &self.settings());
        let end = Instant::now() + Duration::from_mins(20);
        while self.waiting() > 0 {
            assert!(Instant::now() < end, "the relay is not through");
            park_timeout(Duration::from_millis(200));
        }
        server
    }

    /// One more on the same stores, with the same key and log.
    fn serve_beside(&self) -> Server {
        let mut settings = self.settings();
        settings.push(("DATA_DIR", self.dir.join("data").display().to_string()));
        let dir = TempDir::new_in(&self.dir).unwrap().keep();
        Server::burnbag_on(dir, self.token.clone(), &settings)
    }
}

/// A transfer with one file and one link, sealed as the service seals it.
fn available(service: &Service, team: TeamId, owner: AccountId, deadline: Timestamp) -> (Change, Link) {
    let context = Context::system(InstanceId::from_bytes([1; 16]), SystemClock.now());
    let (id, file) = (TransferId::generate(context.now), FileId::generate(context.now));
    let (key, secret) = (TransferKey::generate(), LinkSecret::generate());
    let link = LinkId::from_bytes(secret.link_id(0));
    let (password, block) = (PasswordKey::none(), PasswordBlock::none());
    let slot = |of: &[u8; 16]| {
        let deadline = deadline.as_millis();
        seal_slot(&service.keks, &secret, &password, &block, id.as_bytes(), of, deadline, &key)
            .as_bytes()
            .to_vec()
    };
    let name = format!("report-{}.pdf", rand::random::<u32>());
    let meta_key = key.meta_key(id.as_bytes());
    let meta = |size: Option<u64>| {
        let meta = FileMeta {
            name: name.clone(),
            r#type: Some("application/pdf".to_owned()),
            size,
            sha256: size.map(|_| hex::encode(rand::random::<[u8; 32]>())),
            runs: size.map(|_| 1),
        };
        meta.seal(&meta_key, id.as_bytes(), file.as_bytes())
    };
    let object = BlobKey::generate(0, id, file, 0);
    let runs = [Run { header: Header::generate().to_bytes(), length: SIZE, object: 0 }];
    let runs = seal_runs(&meta_key, id.as_bytes(), file.as_bytes(), 0, &runs).unwrap();
    let new = NewTransfer {
        id,
        team,
        owner,
        expires: Expires::At(deadline),
        commitment: key.commitment(id.as_bytes()),
        owner_slot: slot(&OWNER),
        upload_deadline: deadline,
    };
    let begun = NewFile { id: file, object: object.clone(), sealed: meta(None), upload_deadline: deadline };
    let whole = WholeFile {
        id: file,
        objects: vec![Object { key: object, size: Some(SIZE + 56) }],
        sealed: meta(Some(SIZE)),
        runs: vec![runs],
        size: SIZE,
        content_mac: rand::random(),
    };
    let minted = NewLink {
        id: link,
        n: Some(0),
        downloads: Some(1),
        deadline: None,
        label: None,
        password: None,
        slot: slot(link.as_bytes()),
    };
    let change = Transfer::create(new, &context)
        .and_then(|transfer, context| transfer.start_file(begun, context))
        .and_then(|change| change.and_then(|transfer, context| transfer.finish_file(whole, context)))
        .and_then(|change| {
            change.and_then(|transfer, context| transfer.complete(vec![minted], slot(&OWNER), context))
        })
        .unwrap();
    let path = format!("/d/{link}/{name}");
    (change, Link { path, secret: Some(secret.to_text().to_string()), transfer: id.to_string() })
}

/// Milliseconds of each request, by kind.
#[derive(Default)]
struct Requests {
    look: Vec<f64>,
    send: Vec<f64>,
    fetch: Vec<f64>,
    delete: Vec<f64>,
}

impl Requests {
    /// One after another over one connection, the kinds by turns.
    fn run(server: &Server, links: &[Link], pattern: &[u8]) -> Self {
        let mut client = Client::connect(server, pattern);
        let mut requests = Self::default();
        for _ in 0..REQUESTS {
            let link = &links[rand::rng().random_range(0..links.len())];
            timed(&mut requests.look, || client.look(link));
            let link = timed(&mut requests.send, || client.send("beside", SIZE));
            timed(&mut requests.fetch, || client.fetch(&link, SIZE));
            timed(&mut requests.delete, || client.delete(&link));
        }
        requests
    }

    /// The median of all kinds, each with the same weight.
    fn all(&self) -> f64 {
        [&self.look, &self.send, &self.fetch, &self.delete].map(|kind| median(kind)).iter().sum::<f64>() / 4.0
    }
}

fn timed<T>(times: &mut Vec<f64>, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    times.push(begun.elapsed().as_secs_f64() * 1e3);
    done
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// What became of what was due, while it is asked for again and again: nothing is served any more. Says how often.
fn flood(
    servers: &[Server],
    seed: &Seed,
    deadline: Timestamp,
    due: usize,
    pattern: &[u8],
) -> (Lateness, usize) {
    let links = &seed.links[seed.links.len() - due..];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while SystemClock.now() < deadline {
                park_timeout(deadline.since(SystemClock.now()));
            }
            let mut clients: Vec<Client<'_>> =
                servers.iter().map(|server| Client::connect(server, pattern)).collect();
            let mut asked = 0;
            while !over.load(Ordering::Relaxed) {
                let link = &links[rand::rng().random_range(0..links.len())];
                clients[asked % servers.len()].miss(link);
                asked += 1;
                park_timeout(PAUSE);
            }
            asked
        });
        let late = lateness(&seed.dir, deadline, due);
        over.store(true, Ordering::Relaxed);
        (late, asking.join().unwrap())
    })
}

struct Lateness {
    /// Seconds after the deadline at which each was ended, in order.
    late: Vec<f64>,
    /// Seconds after the deadline until the first object was confirmed gone, and the last.
    begun: f64,
    gone: f64,
}

impl Lateness {
    fn ended(&self, percentile: usize) -> f64 {
        self.late[self.late.len() * percentile / 100]
    }
}

/// Follows the audit log until all that was due is ended and purged.
fn lateness(dir: &Path, deadline: Timestamp, due: usize) -> Lateness {
    let mut log = Follow { dir: dir.join("data/audit/0"), read: HashMap::new() };
    let (mut late, mut gone) = (Vec::with_capacity(due), Vec::with_capacity(due));
    let end = deadline.after(Duration::from_mins(5));
    while gone.len() < due {
        assert!(SystemClock.now() < end, "{} ended and {} gone of {due}", late.len(), gone.len());
        park_timeout(Duration::from_secs(1));
        log.lines(|line| {
            let to = match line {
                _ if line.contains(r#""type":"transfer.expired""#) => &mut late,
                _ if line.contains(r#""type":"transfer.purged""#) => &mut gone,
                _ => return,
            };
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let at: Timestamp = line["time"].as_str().unwrap().parse().unwrap();
            if at >= deadline {
                to.push(at.since(deadline).as_secs_f64());
            }
        });
    }
    assert_eq!(late.len(), due, "an event is there twice");
    late.sort_by(f64::total_cmp);
    gone.sort_by(f64::total_cmp);
    Lateness { late, begun: gone[0], gone: gone[due - 1] }
}

/// Reads each line of a growing log once.
struct Follow {
    dir: PathBuf,
    read: HashMap<PathBuf, u64>,
}

impl Follow {
    fn lines(&mut self, mut each: impl FnMut(&str)) {
        let mut segments: Vec<PathBuf> = fs::read_dir(&self.dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
            .collect();
        segments.sort();
        for path in segments {
            let read = self.read.entry(path.clone()).or_default();
            let mut file = File::open(&path).unwrap();
            file.seek(SeekFrom::Start(*read)).unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            let whole = text.rfind('\n').map_or(0, |end| end + 1);
            *read += whole as u64;
            text[..whole].lines().for_each(&mut each);
        }
    }
}
