//! The one writer: a thread that gathers what waits into one transaction, so that many share an fsync.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use super::Tuning;
use super::failure::{Failure, Kind};
use super::open::BUSY;
use crate::clock::Clock;
use crate::storage::{Reserve, StoreError};

/// The most jobs that share one transaction.
const GROUP: usize = 256;
/// The write-ahead log is moved into the database when it has grown by so many pages of 4 KiB, and then begins anew. `SQLite`'s own
/// way never begins it anew while readers overlap, and moves what is new, with an fsync, at every commit from then on.
const CHECKPOINT_PAGES: i32 = 4000;
/// A checkpoint that readers held up is tried again so soon.
const CHECKPOINT_RETRY: Duration = Duration::from_millis(250);
/// A checkpoint waits for readers no longer than this: writers wait with it.
const CHECKPOINT_BUSY: Duration = Duration::from_millis(50);
/// A lock that another process was seen to hold is waited for no longer than this.
const LOCKED_BUSY: Duration = Duration::from_millis(100);

/// Tells the asker how it went, once it is durable, or why it is not.
type Reply = Box<dyn FnOnce(Result<(), Failure>) + Send>;
/// Writes inside the transaction, each in its own savepoint; or is told why there is none.
type Job = Box<dyn FnOnce(Result<&Connection, Failure>) -> Reply + Send>;

/// The way to the writer thread. Dropped, it waits until what was sent is written and the write-ahead log is empty: a
/// process that ends leaves no destroyed key behind in it.
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Writer {
    pub(super) fn start(
        mut db: Connection,
        tuning: Tuning,
        clock: Arc<dyn Clock>,
        damaged: Arc<OnceLock<String>>,
    ) -> Result<Self, StoreError> {
        let (jobs, waiting) = sync_channel(4 * GROUP);
        let pages = Arc::new(AtomicI32::new(0));
        let grown = Arc::clone(&pages);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            grown.store(pages, Ordering::Relaxed);
            Ok(())
        }))?;
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || run(&db, &waiting, &tuning, (clock.as_ref(), &damaged), &pages))
            .map_err(|error| StoreError::Unavailable(format!("cannot start the writer thread: {error}")))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs `work` in the next transaction; all of its writes or none are kept. The answer comes once it is durable.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            let done = db.map_err(StoreError::from).and_then(|db| in_savepoint(db, work));
            Box::new(move |committed| {
                let _ = answer.send(match (committed, done) {
                    // Why this one failed says more than that the transaction did.
                    (Ok(()), done)
                    | (
                        Err(_),
                        done @ Err(
                            StoreError::Full(_)
                            | StoreError::Unavailable(_)
                            | StoreError::Locked(_)
                            | StoreError::Damaged(_),
                        ),
                    ) => done,
                    (Err(failure), _) => Err(failure.into()),
                });
            })
        });
        let stopped = || StoreError::Unavailable("the writer has stopped".to_owned());
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        if let Err(full) = jobs.try_send(job) {
            let job = match full {
                std::sync::mpsc::TrySendError::Full(job) => job,
                std::sync::mpsc::TrySendError::Disconnected(_) => return Err(stopped()),
            };
            let jobs = jobs.clone();
            tokio::task::spawn_blocking(move || jobs.send(job))
                .await
                .map_err(|_| stopped())?
                .map_err(|_| stopped())?;
        }
        answered.await.map_err(|_| stopped())?
    }
}

fn in_savepoint<T>(
    db: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let step = |sql| db.prepare_cached(sql).and_then(|mut sql| sql.execute([])).map_err(Failure::from);
    step("SAVEPOINT job")?;
    // A panic is this job's own failure; the thread goes on for the others.
    let done = catch_unwind(AssertUnwindSafe(|| work(db)))
        .unwrap_or_else(|_| Err(StoreError::Unavailable("a write was cut off".to_owned())));
    if done.is_err() {
        step("ROLLBACK TO job")?;
    }
    step("RELEASE job")?;
    done
}

fn run(
    db: &Connection,
    waiting: &Receiver<Job>,
    tuning: &Tuning,
    (clock, damaged): (&dyn Clock, &OnceLock<String>),
    pages: &AtomicI32,
) {
    let every = tuning.checkpoint_every;
    let mut locked = false;
    let mut checkpoint_pages = CHECKPOINT_PAGES;
    // What an earlier process left in the write-ahead log goes too.
    let mut checkpoint_at = Some(Instant::now() + every);
    loop {
        let rest = checkpoint_at.map_or(every, |at| at.saturating_duration_since(Instant::now()));
        match waiting.recv_timeout(rest) {
            Ok(first) => {
                commit_group(db, first, waiting, &mut locked, tuning.reserve.as_deref());
                checkpoint_at.get_or_insert_with(|| Instant::now() + every);
                let pages = pages.swap(0, Ordering::Relaxed);
                if pages >= checkpoint_pages && damaged.get().is_none() {
                    let done = checkpoint(db, "RESTART");
                    checkpoint_pages = CHECKPOINT_PAGES + if done { 0 } else { pages };
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                tidy(db, clock, damaged);
                return;
            }
        }
        if checkpoint_at.is_some_and(|at| at <= Instant::now()) {
            checkpoint_at =
                if tidy(db, clock, damaged) { None } else { Some(Instant::now() + CHECKPOINT_RETRY) };
        }
    }
}

fn commit_group(
    db: &Connection,
    first: Job,
    waiting: &Receiver<Job>,
    locked: &mut bool,
    reserve: Option<&Reserve>,
) {
    let step = |sql| db.prepare_cached(sql).and_then(|mut sql| sql.execute([])).map_err(Failure::from);
    if *locked {
        // One has waited in vain, and told so; nobody waits as long behind it.
        let _ = db.busy_timeout(LOCKED_BUSY);
    }
    let begun = step("BEGIN IMMEDIATE");
    if std::mem::replace(locked, matches!(&begun, Err(Failure { kind: Kind::Locked, .. }))) {
        let _ = db.busy_timeout(BUSY);
    }
    if let Err(failure) = begun {
        make_room(db, &failure, reserve);
        for job in std::iter::once(first).chain(waiting.try_iter().take(GROUP)) {
            job(Err(failure.clone()))(Ok(()));
        }
        return;
    }
    let mut replies = vec![first(Ok(db))];
    // An error as grave as a full disk rolls the whole transaction back by itself: then nothing more goes into it.
    while replies.len() < GROUP
        && !db.is_autocommit()
        && let Ok(job) = waiting.try_recv()
    {
        replies.push(job(Ok(db)));
    }
    let committed = if db.is_autocommit() {
        let text = "the write-ahead log could not grow: make room on its disk".to_owned();
        Err(Failure { kind: Kind::Full, text })
    } else {
        step("COMMIT").map(|_| ())
    };
    if let Err(failure) = &committed {
        if !db.is_autocommit() {
            let _ = step("ROLLBACK");
        }
        make_room(db, failure, reserve);
    }
    for reply in replies {
        reply(committed.clone());
    }
}

/// Before the askers are told that the disk is full, what can be let go is let go: they try once more.
fn make_room(db: &Connection, failure: &Failure, reserve: Option<&Reserve>) {
    if failure.kind == Kind::Full {
        reserve.map(Reserve::release);
        checkpoint(db, "TRUNCATE");
    }
}

/// Notes the time and empties the write-ahead log. Of a damaged database nothing more is moved, not at the end of the
/// process either. False if it is to be tried again.
fn tidy(db: &Connection, clock: &dyn Clock, damaged: &OnceLock<String>) -> bool {
    if damaged.get().is_some() {
        let _ = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        return true;
    }
    // A note is not waited for.
    if db.busy_timeout(CHECKPOINT_BUSY).is_ok() {
        note_time(db, clock);
    }
    checkpoint(db, "TRUNCATE")
}

/// The latest time goes on record, so that a clock that is set back while nothing runs is noticed.
fn note_time(db: &Connection, clock: &dyn Clock) {
    let now = clock.now().as_millis().to_string();
    let sql =
        "INSERT INTO meta (name, value) VALUES ('clock', ?1) ON CONFLICT (name) DO UPDATE SET value = ?1";
    if let Err(error) = db.execute(sql, [now]) {
        tracing::debug!(error = &error as &dyn std::error::Error, "the time was not noted");
    }
}

/// Moves the write-ahead log into the database, to write it from its beginning again (`RESTART`) or empty it (`TRUNCATE`).
/// False if a reader was in the way.
fn checkpoint(db: &Connection, mode: &str) -> bool {
    let busy = db.busy_timeout(CHECKPOINT_BUSY).and_then(|()| {
        db.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(0))
    });
    let restored = db.busy_timeout(BUSY);
    match restored.and(busy) {
        Ok(busy) => busy == 0,
        Err(error) => {
            tracing::error!(error = &error as &dyn std::error::Error, "checkpoint failed");
            false
        }
    }
}
