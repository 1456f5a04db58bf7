//! `SQLite` as record store: write-ahead log, `synchronous=FULL`, one writer with group commit, a read pool (DESIGN §3).

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::Mutex;

use super::{
    Claim, Claimed, LeaseAnswer, Login, Opening, OutboxEntry, OutboxLength, Place, Record, RecordStore,
    StoreError,
};
use crate::clock::{Clock, Timestamp};
use crate::storage::Reserve;
use crate::transfer::access::{AccessChange, Account, Team, TokenRecord};
use crate::transfer::lease::LeaseRequest;
use crate::transfer::quota::{Holding, Usage};
use crate::transfer::rate::{Ask, Counted, Rate, Taken};
use crate::transfer::session::DeadSession;
use crate::transfer::tries::{Tried, TryAnswer};
use crate::transfer::{
    AccountId, Change, Event, LinkId, OperationId, SlotOwner, State, TeamId, TokenId, Touch, TransferId,
};

mod access;
mod claims;
mod failure;
mod leases;
mod open;
mod outbox;
mod rates;
mod readers;
mod schema;
mod sessions;
mod transfers;
mod tries;
mod usage;
mod writer;

use failure::Failure;

/// Reads that run at once.
const READERS: usize = 8;

/// What may be chosen when the store is opened.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// What was deleted has left database and write-ahead log after this time, or a little more if readers are in the
    /// way.
    pub checkpoint_every: Duration,
    /// What is let go when a write finds the disk full; it is then tried once more.
    pub reserve: Option<Arc<Reserve>>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { checkpoint_every: Duration::from_mins(1), reserve: None }
    }
}

/// The record store in one file, for one `serve` at a time; a short command may write beside it.
pub struct SqliteRecords {
    writer: writer::Writer,
    readers: Arc<readers::Readers>,
    /// Held over a read of the due index, and after a write to a transfer: no claim is made of what was before it.
    claims: Arc<Mutex<claims::Claims>>,
    meters: rates::Meters,
    clock: Arc<dyn Clock>,
    /// Why nothing is read or written any more.
    damaged: Arc<OnceLock<String>>,
}

impl SqliteRecords {
    /// Opens the database, makes it where there is none, and brings it to the newest schema. Blocking.
    ///
    /// # Errors
    /// It cannot be read or written, is damaged, or was written by a newer burnbag.
    pub fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        Self::open_with(path, clock, Tuning::default())
    }

    /// [`SqliteRecords::open`] with other times. Blocking.
    ///
    /// # Errors
    /// As there.
    pub fn open_with(path: &Path, clock: Arc<dyn Clock>, tuning: Tuning) -> Result<Self, StoreError> {
        let at = |text| format!("{}: {text}", path.display());
        Self::open_file(path, clock, tuning).map_err(|error| match error {
            StoreError::Unavailable(text) => StoreError::Unavailable(at(text)),
            StoreError::Full(text) => StoreError::Full(at(text)),
            StoreError::Locked(text) => StoreError::Locked(at(text)),
            StoreError::Damaged(text) => StoreError::Damaged(at(text)),
            other => other,
        })
    }

    fn open_file(path: &Path, clock: Arc<dyn Clock>, tuning: Tuning) -> Result<Self, StoreError> {
        let mut db = open::to_write(path)?;
        schema::migrate(&mut db)?;
        let readers = (0..READERS).map(|_| open::to_read(path)).collect::<Result<Vec<_>, _>>()?;
        let readers = readers::Readers::new(readers);
        let damaged = Arc::default();
        Ok(Self {
            writer: writer::Writer::start(db, tuning, Arc::clone(&clock), Arc::clone(&damaged))?,
            readers: Arc::new(readers),
            claims: Arc::default(),
            meters: rates::Meters::default(),
            clock,
            damaged,
        })
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_at(|db, _| work(db)).await
    }

    /// Reads one snapshot, at the time at which it is read.
    async fn read_at<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection, Timestamp) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.is_good()?;
        let stopped = || StoreError::Unavailable("the read pool has stopped".to_owned());
        let reader = self.readers.take().await.ok_or_else(stopped)?;
        let clock = Arc::clone(&self.clock);
        // The reader is held by the blocking work, which goes on when the asker is gone.
        let done = tokio::task::spawn_blocking(move || {
            let snapshot = reader.connection().ok_or_else(stopped)?.unchecked_transaction()?;
            work(&snapshot, clock.now())
        })
        .await
        .map_err(|_| StoreError::Unavailable("a read was cut off".to_owned()))?;
        self.note_damage(done)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl Fn(&Connection, Timestamp) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        self.is_good()?;
        let work = Arc::new(work);
        let once = || {
            let (clock, work) = (Arc::clone(&self.clock), Arc::clone(&work));
            self.writer.run(move |db| work(db, clock.now()))
        };
        let done = match once().await {
            // Nothing of it was kept, and what was set aside has been let go.
            Err(StoreError::Full(_)) => once().await,
            done => done,
        };
        self.note_damage(done)
    }

    /// [`SqliteRecords::write`] to one transfer. If it wrote anything, its claim has ended.
    async fn write_to<T: Send + 'static>(
        &self,
        id: TransferId,
        work: impl Fn(&Connection, Timestamp) -> Result<T, StoreError> + Send + Sync + 'static,
    ) -> Result<T, StoreError> {
        let (done, wrote) = self.write(move |db, now| noting_writes(db, || work(db, now))).await?;
        if wrote {
            self.claims.lock().await.end(id);
        }
        Ok(done)
    }

    /// Whoever goes on in a damaged file makes it worse.
    fn is_good(&self) -> Result<(), StoreError> {
        self.damaged.get().map_or(Ok(()), |why| Err(StoreError::Damaged(why.clone())))
    }

    fn note_damage<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Damaged(why)) = &done
            && self.damaged.set(why.clone()).is_ok()
        {
            tracing::error!(error = why, "the database is damaged; it is left as it is until the next start");
        }
        done
    }
}

/// Whether `work` wrote anything.
fn noting_writes<T>(
    db: &Connection,
    work: impl FnOnce() -> Result<T, StoreError>,
) -> Result<(T, bool), StoreError> {
    let before = db.total_changes();
    let done = work()?;
    Ok((done, db.total_changes() != before))
}

#[async_trait]
impl RecordStore for SqliteRecords {
    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn meta(&self, name: &str) -> Result<Option<String>, StoreError> {
        let name = name.to_owned();
        self.read(move |db| Ok(meta(db, &name)?)).await
    }

    async fn set_meta(&self, name: &str, value: &str) -> Result<String, StoreError> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.write(move |db, _| {
            db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?1, ?2)", [&name, &value])?;
            Ok(meta(db, &name)?.unwrap_or_else(|| value.clone()))
        })
        .await
    }

    async fn transfer(&self, team: TeamId, id: TransferId) -> Result<Option<Record>, StoreError> {
        self.read(move |db| transfers::read(db, team, id)).await
    }

    async fn transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
        self.read(move |db| {
            let records = which.iter().map(|(team, id)| match transfers::read(db, *team, *id) {
                // That is not one record's matter.
                Err(error @ StoreError::Damaged(_)) => Err(error),
                record => Ok(record),
            });
            let records = records.collect::<Result<Vec<_>, _>>()?;
            // A batch is read to be ended: here the disk is waited for, and the writer finds the keys in memory.
            transfers::warm_slots(db, &which)?;
            Ok(records)
        })
        .await
    }

    async fn opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError> {
        self.read_at(move |db, now| transfers::opening(db, link, now)).await
    }

    async fn slot(
        &self,
        team: TeamId,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_at(move |db, now| transfers::slot(db, team, id, owner, now)).await
    }

    async fn commit(&self, change: Change) -> Result<(), StoreError> {
        self.write_to(change.id(), move |db, now| transfers::commit(db, &change, now)).await
    }

    async fn commit_all(&self, changes: Vec<Change>) -> Vec<Result<(), StoreError>> {
        let changes: Arc<[Change]> = changes.into();
        let batch = Arc::clone(&changes);
        let together = self.write(move |db, now| {
            // A conflict or a limit is found before anything is written. Any other error is the whole batch's, which is undone.
            let each = |change| match noting_writes(db, || transfers::commit(db, change, now)) {
                Err(refused @ (StoreError::Conflict | StoreError::QuotaExceeded(_))) => {
                    Ok((change.id(), Err(refused), false))
                }
                done => done.map(|(done, wrote)| (change.id(), Ok(done), wrote)),
            };
            batch.iter().map(each).collect::<Result<Vec<_>, _>>()
        });
        let Ok(done) = together.await else {
            // What cannot be written together may be written one by one, each in a savepoint of its own.
            let each = changes.iter().map(|change| self.commit(change.clone()));
            return futures_util::future::join_all(each).await;
        };
        let mut claims = self.claims.lock().await;
        let end_claim = |(id, done, wrote)| {
            if wrote {
                claims.end(id);
            }
            done
        };
        done.into_iter().map(end_claim).collect()
    }

    async fn lease(&self, request: LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        self.write_to(request.transfer, move |db, now| leases::apply(db, &request, now)).await
    }

    async fn take_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError> {
        let of = of.clone();
        self.write(move |db, now| tries::take(db, &of, id, now)).await
    }

    async fn give_back_try(&self, of: &Tried, id: OperationId) -> Result<(), StoreError> {
        let of = of.clone();
        self.write(move |db, _| tries::give_back(db, &of, id)).await
    }

    async fn failed_tries(&self, team: TeamId, links: &[LinkId]) -> Result<Vec<u32>, StoreError> {
        let links = links.to_vec();
        self.read(move |db| tries::failed(db, team, &links)).await
    }

    async fn forget_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: Event,
    ) -> Result<(), StoreError> {
        self.write(move |db, _| tries::forget(db, team, transfer, link, &event)).await
    }

    async fn touch(&self, touch: Touch) -> Result<(), StoreError> {
        self.write_to(touch.transfer, move |db, _| transfers::touch(db, &touch)).await
    }

    async fn claim(&self, _: u8, what: Claim, limit: usize, lease: Duration) -> Result<Claimed, StoreError> {
        let mut claims = Arc::clone(&self.claims).lock_owned().await;
        self.read_at(move |db, now| claims.take(db, what, limit, lease, now)).await
    }

    async fn claim_these(
        &self,
        _: u8,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let ids = ids.to_vec();
        let mut claims = Arc::clone(&self.claims).lock_owned().await;
        self.read_at(move |db, now| claims.take_these(db, what, &ids, lease, now)).await
    }

    async fn retry(&self, team: TeamId, id: TransferId, at: Timestamp) -> Result<(), StoreError> {
        self.write_to(id, move |db, _| transfers::retry(db, team, id, at)).await
    }

    async fn next_due(&self, _: u8) -> Result<Option<Timestamp>, StoreError> {
        let claims = Arc::clone(&self.claims).lock_owned().await;
        self.read(move |db| claims.next(db)).await
    }

    async fn front(&self, until: Timestamp, limit: usize) -> Result<Vec<Place>, StoreError> {
        self.read(move |db| transfers::front(db, until, limit)).await
    }

    async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        self.write(move |db, _| outbox::append(db, &events)).await
    }

    async fn outbox(&self, _: u8, after: u64, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        self.read(move |db| outbox::read(db, after, limit)).await
    }

    async fn trim(&self, _: u8, seq: u64) -> Result<(), StoreError> {
        self.write(move |db, _| outbox::trim(db, seq)).await
    }

    async fn outbox_length(&self, _: u8) -> Result<OutboxLength, StoreError> {
        self.read(outbox::length).await
    }

    async fn roll_forward(&self, _: u8, to: u64, events: Vec<Event>) -> Result<(), StoreError> {
        self.write(move |db, _| outbox::roll_forward(db, to, &events)).await
    }

    async fn teams(&self, ids: &[TransferId]) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |db| transfers::teams(db, &ids)).await
    }

    async fn states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
        let ids = ids.to_vec();
        self.read(move |db| transfers::states(db, &ids)).await
    }

    async fn login(&self, hash: [u8; 32]) -> Result<Option<Login>, StoreError> {
        self.read_at(move |db, now| access::login(db, &hash, now)).await
    }

    async fn used(&self, token: TokenId, at: Timestamp) -> Result<(), StoreError> {
        self.write(move |db, _| {
            db.prepare_cached("UPDATE tokens SET used = ?2 WHERE id = ?1 AND (used IS NULL OR used < ?2)")?
                .execute(params![token.as_bytes(), at.as_millis()])?;
            Ok(())
        })
        .await
    }

    async fn take(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError> {
        Ok(self.meters.take(of, rate, self.clock.now(), ask))
    }

    async fn account(&self, name: &str) -> Result<Option<Account>, StoreError> {
        let name = name.to_owned();
        self.read(move |db| access::account(db, &name)).await
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        self.read(access::accounts).await
    }

    async fn team(&self, id: TeamId) -> Result<Option<Team>, StoreError> {
        self.read(move |db| access::team(db, id)).await
    }

    async fn all_teams(&self) -> Result<Vec<Team>, StoreError> {
        self.read(access::all_teams).await
    }

    async fn account_of(&self, team: TeamId, id: AccountId) -> Result<Option<Account>, StoreError> {
        self.read(move |db| access::account_of(db, team, id)).await
    }

    async fn accounts_of(&self, team: TeamId) -> Result<Vec<Account>, StoreError> {
        self.read(move |db| access::accounts_of(db, team)).await
    }

    async fn token_of(&self, team: TeamId, id: TokenId) -> Result<Option<TokenRecord>, StoreError> {
        self.read(move |db| access::token(db, team, id)).await
    }

    async fn tokens(&self, team: TeamId, account: AccountId) -> Result<Vec<TokenRecord>, StoreError> {
        self.read(move |db| access::tokens(db, team, account)).await
    }

    async fn live_transfers(&self, team: TeamId, account: AccountId) -> Result<u64, StoreError> {
        self.read(move |db| transfers::live(db, team, account)).await
    }

    async fn forget_sessions(&self, dead: Vec<DeadSession>) -> Result<(), StoreError> {
        self.write(move |db, _| sessions::forget(db, &dead)).await
    }

    async fn usage(&self, team: TeamId) -> Result<Usage, StoreError> {
        self.read(move |db| usage::read(db, team)).await
    }

    async fn set_usage(&self, team: TeamId, moves: u64, held: Holding) -> Result<bool, StoreError> {
        self.write(move |db, _| usage::set(db, team, moves, held)).await
    }

    async fn list(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError> {
        self.read(move |db| usage::list(db, team, before, limit)).await
    }

    async fn commit_access(&self, change: AccessChange) -> Result<(), StoreError> {
        self.write(move |db, _| access::commit(db, &change)).await
    }
}

fn meta(db: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT value FROM meta WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}
