//! Leases: one claimed download each, that covers the Ranges and retries of its holder (DESIGN §10).
//!
//! The store keeps them and the counts; what an operation does to them is decided here, once for both stores.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

pub use super::counts::{Counts, Hold, LeaseSummary, MAX_RETURNS, is_exhausted};
use super::event::{Context, Event, EventType, Outcome};
use super::id::{FileId, HolderId, LeaseId, LinkId, OperationId, StreamId, TeamId, TransferId};
use super::ranges::Ranges;
use super::record::{FileState, Link, State, Transfer};
use crate::clock::Timestamp;

/// A stream that is not renewed for so long no longer runs.
pub const STREAM_ALIVE: Duration = Duration::from_secs(30);
/// How often a running stream renews.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// How often a lease may start a file.
pub const MAX_STARTS: u8 = 3;
/// How many times the size of a file a lease sends.
pub const MAX_SENT: u64 = 3;
/// The bytes that are counted as written at once: a segment (DESIGN §5).
pub const WRITE_UNIT: u64 = 65_536;
/// Running streams a lease.
pub const MAX_STREAMS: usize = 64;
/// Open leases a holder.
pub const MAX_HELD: usize = 64;
/// Open leases a transfer.
pub const MAX_OPEN: u64 = 10_000;

// An event's id is the operation's, a dot, a number; the operation is the stream, which may begin a file and may deliver
// it. What a lease leaves undelivered is told under the stream that opened it. So none of these ever share an id.
const STARTED: usize = 0;
const COMPLETED: usize = 1;
const INTERRUPTED: usize = 2;

/// The two times that an operator may change.
#[derive(Clone, Copy, Debug)]
pub struct LeaseTimes {
    /// A lease idle for so long ends (`BURNBAG_LEASE_IDLE`).
    pub idle: Duration,
    /// Written is not received: so long a delivered file may be fetched again (`BURNBAG_LEASE_RETRY`).
    pub retry: Duration,
}

/// One response that sends bytes of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// The first byte that it sends.
    pub from: u64,
    /// One past the last.
    pub to: u64,
    /// How many of its bytes were written.
    pub written: u64,
    /// When it last said so.
    pub renewed: Timestamp,
}

impl Stream {
    /// What an ended stream counts as sent: beside what was wholly written, the unit that was under way may have left
    /// too, or a client that breaks off within each would get a file without end.
    fn charged(&self) -> u64 {
        self.written.saturating_add(WRITE_UNIT).min(self.to - self.from)
    }

    fn runs(&self, now: Timestamp) -> bool {
        now < self.renewed.after(STREAM_ALIVE)
    }
}

/// Streams of a record whose numbers can be reckoned with.
fn sound_streams<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Stream>, D::Error> {
    let streams = Vec::<Stream>::deserialize(from)?;
    let sound = |stream: &Stream| stream.to.checked_sub(stream.from).is_some_and(|all| stream.written <= all);
    if streams.iter().all(sound) {
        Ok(streams)
    } else {
        Err(D::Error::custom("a stream writes past its end"))
    }
}

/// One file under one lease.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FileLease {
    /// How often it was started: by a GET that includes byte 0.
    pub starts: u8,
    /// Bytes written by streams that have ended.
    pub sent: u64,
    /// What was delivered.
    pub delivered: Ranges,
    /// When it was wholly delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed: Option<Timestamp>,
    /// The streams not yet settled.
    #[serde(default, deserialize_with = "sound_streams", skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<Stream>,
}

/// One claimed download.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The stream that opened it.
    pub id: LeaseId,
    /// The link under which it was taken.
    pub link: LinkId,
    /// Whose it is.
    pub holder: HolderId,
    /// What it does to the counts.
    pub hold: Hold,
    /// When it was taken.
    pub taken: Timestamp,
    /// When it last moved.
    pub moved: Timestamp,
    /// The files that it began.
    pub files: BTreeMap<FileId, FileLease>,
}

/// A stream asks to send bytes.
#[derive(Clone, Debug)]
pub struct OpenStream {
    /// Its id, chosen before.
    pub stream: StreamId,
    /// The link that was proved.
    pub link: LinkId,
    /// Who asks.
    pub holder: HolderId,
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub from: u64,
    /// One past the last; equal to `from` only for an empty file.
    pub to: u64,
}

/// Which stream of which lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamRef {
    /// The lease that it joined.
    pub lease: LeaseId,
    /// The file that it sends.
    pub file: FileId,
    /// Its id.
    pub stream: StreamId,
}

/// An operation on leases, for [`RecordStore::lease`](crate::storage::RecordStore::lease).
#[derive(Clone, Debug)]
pub enum LeaseOp {
    /// Joins a lease, or takes one.
    Open(OpenStream),
    /// The stream runs, and has written so many of its bytes.
    Renew {
        /// Which.
        stream: StreamRef,
        /// Absolute.
        written: u64,
    },
    /// The stream has ended, and had written so many of its bytes.
    Settle {
        /// Which.
        stream: StreamRef,
        /// Absolute.
        written: u64,
    },
    /// Ends the leases whose time has come.
    EndDue,
}

/// An operation with what it needs: where, under what, and the operator's times.
#[derive(Clone, Debug)]
pub struct LeaseRequest {
    /// The team of the transfer.
    pub team: TeamId,
    /// The transfer.
    pub transfer: TransferId,
    /// What is asked.
    pub op: LeaseOp,
    /// By whom and from where. Its time is the service's, the store decides by its own; its operation is not used, since
    /// the stream's id is the operation.
    pub context: Context,
    /// The operator's times.
    pub times: LeaseTimes,
}

/// Why a stream may not send, or not go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseRefused {
    /// The transfer is not Available, past its deadline, or its link does not stand.
    #[error("the transfer has ended")]
    Ended,
    /// Every download of the link is used.
    #[error("every download of the link is used")]
    UsedUp,
    /// Every download left is held by others, or a bound of DESIGN §10 is reached.
    #[error("every download left is held by others")]
    Busy,
}

/// A lease after an operation, to be written with its events in one atomic step.
#[derive(Clone, Debug)]
pub struct LeaseChange {
    pub(super) lease: Lease,
    pub(super) before: Option<Hold>,
    pub(super) after: Option<Hold>,
    pub(super) ends: Timestamp,
    pub(super) events: Vec<Event>,
}

impl LeaseChange {
    /// The lease.
    #[must_use]
    pub const fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What it did to the counts before, and does now; absent: not there, or there no more.
    #[must_use]
    pub const fn holds(&self) -> (Option<Hold>, Option<Hold>) {
        (self.before, self.after)
    }

    /// When it ends if nothing moves.
    #[must_use]
    pub const fn ends(&self) -> Timestamp {
        self.ends
    }

    /// Its events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}

/// What the store knows when a stream asks.
#[derive(Clone, Copy, Debug)]
pub struct Leases<'a> {
    /// The transfer.
    pub transfer: &'a Transfer,
    /// The counts of the link.
    pub counts: Counts,
    /// The holder's open leases under this link.
    pub held: &'a [Lease],
    /// Open leases of the transfer.
    pub open: u64,
    /// The store's clock.
    pub now: Timestamp,
}

/// A stream joins its holder's oldest lease where the file is begun, unfinished and not running; else the oldest
/// that allows it; else it takes a new one (DESIGN §10). Sent again under the same id it finds itself.
///
/// # Errors
/// The transfer has ended, or has no such bytes; or no count is left, or none is free.
pub fn open_stream(
    leases: Leases<'_>,
    ask: &OpenStream,
    times: LeaseTimes,
    context: &Context,
) -> Result<(StreamRef, Option<LeaseChange>), LeaseRefused> {
    let Leases { transfer, counts, held, open, now } = leases;
    let link = standing_link(transfer, ask.link, now)?;
    let size = transfer
        .file(ask.file)
        .filter(|file| file.state == FileState::Whole)
        .and_then(|file| file.size)
        .filter(|size| ask.to <= *size && (ask.from < ask.to || (*size == 0 && ask.from == 0)))
        .ok_or(LeaseRefused::Ended)?;
    let found = |lease: &Lease| StreamRef { lease: lease.id, file: ask.file, stream: ask.stream };
    let is_mine = |file: &FileLease| file.streams.iter().any(|stream| stream.id == ask.stream);
    // The lease that this stream opened is known by its id also after the stream was settled.
    if let Some(lease) = held.iter().find(|lease| {
        lease.id == LeaseId::from(ask.stream) || lease.files.get(&ask.file).is_some_and(is_mine)
    }) {
        return Ok((found(lease), None));
    }
    let mut open_leases: Vec<&Lease> =
        held.iter().filter(|lease| now < lease.ends(transfer, times)).collect();
    open_leases.sort_by_key(|lease| (lease.taken, lease.id));
    let allows = |lease: &&&Lease| lease.allows(ask, size, times, now);
    let waits = |lease: &&&Lease| {
        lease.files.get(&ask.file).is_some_and(|file| {
            file.completed.is_none() && !file.streams.iter().any(|stream| stream.runs(now))
        })
    };
    let joined = open_leases
        .iter()
        .filter(allows)
        .find(waits)
        .or_else(|| open_leases.iter().find(allows))
        .map(|lease| (*lease).clone());
    let (lease, before) = if let Some(lease) = joined {
        let hold = lease.hold;
        (lease, Some(hold))
    } else {
        may_take(link, counts, open_leases.len(), open)?;
        (Lease::new(ask, now), None)
    };
    let reference = found(&lease);
    let context = Context { now, operation: ask.stream.into(), ..context.clone() };
    Ok((reference, Some(lease.begin(ask, before, transfer, times, &context))))
}

fn standing_link(transfer: &Transfer, id: LinkId, now: Timestamp) -> Result<&Link, LeaseRefused> {
    transfer
        .link(id)
        .filter(|link| transfer.state() == State::Available && now < transfer.deadline() && link.stands(now))
        .ok_or(LeaseRefused::Ended)
}

fn may_take(link: &Link, counts: Counts, held: usize, open: u64) -> Result<(), LeaseRefused> {
    if let Some(limit) = link.downloads {
        if counts.used >= limit {
            return Err(LeaseRefused::UsedUp);
        }
        if counts.used.saturating_add(counts.held) >= limit {
            return Err(LeaseRefused::Busy);
        }
    }
    if held >= MAX_HELD || open >= MAX_OPEN { Err(LeaseRefused::Busy) } else { Ok(()) }
}

impl Lease {
    fn new(ask: &OpenStream, now: Timestamp) -> Self {
        Self {
            id: ask.stream.into(),
            link: ask.link,
            holder: ask.holder,
            hold: Hold::Held,
            taken: now,
            moved: now,
            files: BTreeMap::new(),
        }
    }

    /// When it ends if nothing moves: idle, or delivered and past the time for a retry; never while a stream runs.
    #[must_use]
    pub fn ends(&self, transfer: &Transfer, times: LeaseTimes) -> Timestamp {
        let delivered = |file| self.files.get(&file).is_some_and(|lease| lease.completed.is_some());
        let all = transfer.whole_files().all(|file| delivered(file.id));
        let rest = self.moved.after(if all { times.retry } else { times.idle });
        self.files
            .values()
            .flat_map(|file| &file.streams)
            .map(|stream| stream.renewed.after(STREAM_ALIVE))
            .fold(rest, Timestamp::max)
    }

    fn allows(&self, ask: &OpenStream, size: u64, times: LeaseTimes, now: Timestamp) -> bool {
        let running =
            self.files.values().flat_map(|file| &file.streams).filter(|stream| stream.runs(now)).count();
        if running >= MAX_STREAMS {
            return false;
        }
        let Some(file) = self.files.get(&ask.file) else { return true };
        let starts = ask.from == 0;
        let from_zero_runs = file.streams.iter().any(|stream| stream.from == 0 && stream.runs(now));
        let promised: u64 = file
            .streams
            .iter()
            .map(|stream| if stream.runs(now) { stream.to - stream.from } else { stream.charged() })
            .fold(0, u64::saturating_add);
        let sent = file.sent.saturating_add(promised).saturating_add(ask.to - ask.from);
        file.completed.is_none_or(|at| now < at.after(times.retry))
            && !(starts && (from_zero_runs || file.starts >= MAX_STARTS))
            && sent <= size.saturating_mul(MAX_SENT)
    }

    fn begin(
        mut self,
        ask: &OpenStream,
        before: Option<Hold>,
        transfer: &Transfer,
        times: LeaseTimes,
        context: &Context,
    ) -> LeaseChange {
        let now = context.now;
        let mut events = Vec::new();
        let link = self.link;
        let file = self.files.entry(ask.file).or_insert_with(|| {
            let mut event = context.event(STARTED, EventType::DownloadStarted);
            (event.transfer, event.file, event.link) = (Some(transfer.id()), Some(ask.file), Some(link));
            events.push(event);
            FileLease::default()
        });
        // What a dead instance left running has ended with what it last said.
        let left = file.streams.extract_if(.., |stream| !stream.runs(now)).map(|dead| dead.charged());
        file.sent = left.fold(file.sent, u64::saturating_add);
        file.starts = file.starts.saturating_add(u8::from(ask.from == 0));
        file.streams.push(Stream { id: ask.stream, from: ask.from, to: ask.to, written: 0, renewed: now });
        self.moved = now;
        self.into_change(before, events, transfer, times)
    }

    /// A stream runs (`ended` false) or has ended, and has written so many bytes. Unknown streams change nothing.
    #[must_use]
    pub fn progress(
        mut self,
        at: StreamRef,
        written: u64,
        ended: bool,
        transfer: &Transfer,
        times: LeaseTimes,
        context: &Context,
    ) -> Option<LeaseChange> {
        let (now, before) = (context.now, self.hold);
        let size = transfer.file(at.file).and_then(|file| file.size)?;
        let file = self.files.get_mut(&at.file)?;
        let place = file.streams.iter().position(|stream| stream.id == at.stream)?;
        let stream = &mut file.streams[place];
        stream.written = stream.written.max(written.min(stream.to - stream.from));
        stream.renewed = now;
        file.delivered.add(stream.from, stream.from + stream.written);
        let whole_of_nothing = size == 0 && ended;
        if ended {
            file.sent = file.sent.saturating_add(stream.charged());
            file.streams.remove(place);
        }
        let mut events = Vec::new();
        if file.completed.is_none() && (whole_of_nothing || (size > 0 && file.delivered.covers(size))) {
            file.completed = Some(now);
            let context = Context { operation: at.stream.into(), ..context.clone() };
            let mut event = context.event(COMPLETED, EventType::DownloadCompleted);
            (event.transfer, event.file, event.link) = (Some(transfer.id()), Some(at.file), Some(self.link));
            event.bytes = Some(size);
            events.push(event);
            self.hold = Hold::Used;
        }
        self.moved = now;
        Some(self.into_change(Some(before), events, transfer, times))
    }

    /// Ends the lease if its time has come: what it began and did not deliver was interrupted.
    #[must_use]
    pub fn end_due(self, transfer: &Transfer, times: LeaseTimes, context: &Context) -> Option<LeaseChange> {
        if context.now < self.ends(transfer, times) {
            return None;
        }
        let context = Context { operation: OperationId::from(self.id), ..context.clone() };
        let interrupted = self.files.iter().filter(|(_, file)| file.completed.is_none());
        let events = interrupted
            .enumerate()
            .map(|(n, (id, file))| {
                let mut delivered = file.delivered.clone();
                for stream in &file.streams {
                    delivered.add(stream.from, stream.from + stream.written);
                }
                let mut event = context.event(INTERRUPTED + n, EventType::DownloadInterrupted);
                (event.transfer, event.file, event.link) = (Some(transfer.id()), Some(*id), Some(self.link));
                event.bytes = Some(delivered.total());
                event.outcome = Outcome::Failed;
                event
            })
            .collect();
        Some(LeaseChange { before: Some(self.hold), after: None, ends: context.now, events, lease: self })
    }

    fn into_change(
        self,
        before: Option<Hold>,
        events: Vec<Event>,
        transfer: &Transfer,
        times: LeaseTimes,
    ) -> LeaseChange {
        LeaseChange { before, after: Some(self.hold), ends: self.ends(transfer, times), events, lease: self }
    }
}
