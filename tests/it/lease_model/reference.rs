//! The rules of leases, told again from the text of DESIGN §10 alone, in the plainest way: nothing is added up beforehand. Every
//! lease and every stream that ever was stays in a list, and each question is answered by going through it.

use std::collections::{BTreeMap, BTreeSet};

/// Ranges and files are made of pieces of so many bytes: half of what is written at once (DESIGN §5).
pub const PIECE: u64 = 32_768;
/// What is written at once, in pieces.
const AT_ONCE: u64 = 2;
/// The files of the transfer, in pieces.
pub const SIZES: [u64; 3] = [0, 1, 6];
pub const LINKS: usize = 2;

const ALIVE: u64 = 30_000;
const IDLE: u64 = 15 * 60_000;
const RETRY: u64 = 60_000;
/// Returns a link, starts a file of a lease, times the size that a lease sends.
const MOST: u64 = 3;

/// What somebody asks for: a range of a file, in pieces.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub stream: u64,
    pub link: usize,
    pub holder: u8,
    pub file: usize,
    pub from: u64,
    pub to: u64,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    ask: Ask,
    lease: u64,
    written: u64,
    /// When it last said so.
    spoke: u64,
    /// Settled, or silent for too long when another came for its file.
    over: bool,
}

#[derive(Clone, Debug)]
struct Lease {
    /// The stream that opened it.
    id: u64,
    link: usize,
    holder: u8,
    taken: u64,
    moved: u64,
    /// When each file was wholly delivered.
    whole: BTreeMap<usize, u64>,
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The lease.
    Opened(u64),
    Goes,
    Stop,
    Ended,
    UsedUp,
    Busy,
}

/// An event: its type, the stream or the lease that it is told under, file, link, bytes.
pub type Told = (&'static str, u64, usize, usize, Option<u64>);

pub struct Reference {
    pub now: u64,
    deadline: u64,
    /// The transfer was ended.
    pub over: bool,
    limits: [Option<u32>; LINKS],
    leases: Vec<Lease>,
    streams: Vec<Stream>,
    pub told: Vec<Told>,
}

impl Reference {
    pub fn new(now: u64, deadline: u64, limits: [Option<u32>; LINKS]) -> Self {
        let (leases, streams, told) = (Vec::new(), Vec::new(), Vec::new());
        Self { now, deadline, over: false, limits, leases, streams, told }
    }

    pub fn serves(&self) -> bool {
        !self.over && self.now < self.deadline
    }

    fn runs(&self, stream: &Stream) -> bool {
        !stream.over && self.now < stream.spoke + ALIVE
    }

    fn streams(&self, lease: u64, file: usize) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |stream| (stream.lease, stream.ask.file) == (lease, file))
    }

    fn begun(&self, lease: u64, file: usize) -> bool {
        self.streams(lease, file).next().is_some()
    }

    fn delivered(&self, lease: u64, file: usize) -> BTreeSet<u64> {
        let written = |stream: &Stream| stream.ask.from..stream.ask.from + stream.written;
        self.streams(lease, file).flat_map(written).collect()
    }

    fn starts(&self, lease: u64, file: usize) -> u64 {
        self.streams(lease, file).filter(|stream| stream.ask.from == 0).count() as u64
    }

    /// What a stream may have sent: all, while it runs; else what was written, and what was then under way.
    fn sent(&self, lease: u64, file: usize) -> u64 {
        let of = |stream: &Stream| {
            let all = stream.ask.to - stream.ask.from;
            if self.runs(stream) { all } else { all.min(stream.written + AT_ONCE) }
        };
        self.streams(lease, file).map(of).sum()
    }

    fn ends(&self, lease: &Lease) -> u64 {
        let rest = if lease.whole.len() == SIZES.len() { RETRY } else { IDLE };
        let unsettled = self.streams.iter().filter(|stream| stream.lease == lease.id && !stream.over);
        unsettled.map(|stream| stream.spoke + ALIVE).fold(lease.moved + rest, u64::max)
    }

    fn allows(&self, lease: &Lease, ask: &Ask) -> bool {
        let of_file = || self.streams(lease.id, ask.file);
        let retries = lease.whole.get(&ask.file).is_none_or(|whole| self.now < whole + RETRY);
        let begins_beside = of_file().any(|stream| stream.ask.from == 0 && self.runs(stream));
        let may_start = ask.from > 0 || (!begins_beside && self.starts(lease.id, ask.file) < MOST);
        let sends = self.sent(lease.id, ask.file) + ask.to - ask.from;
        retries && may_start && sends <= MOST * SIZES[ask.file]
    }

    /// Begun, unfinished and not running.
    fn waits(&self, lease: &Lease, file: usize) -> bool {
        let runs = self.streams(lease.id, file).any(|stream| self.runs(stream));
        self.begun(lease.id, file) && !lease.whole.contains_key(&file) && !runs
    }

    pub fn open(&mut self, ask: Ask) -> Answer {
        if !self.serves() {
            return Answer::Ended;
        }
        let mine = |lease: &&Lease| !lease.ended && (lease.link, lease.holder) == (ask.link, ask.holder);
        let may_join = |lease: &&Lease| self.now < self.ends(lease) && self.allows(lease, &ask);
        let mut joins: Vec<&Lease> = self.leases.iter().filter(mine).filter(may_join).collect();
        // Of two that were taken in the same millisecond neither is older; the stores go by their ids then.
        joins.sort_by_key(|lease| (lease.taken, lease.id));
        let waiting = joins.iter().find(|lease| self.waits(lease, ask.file));
        let joined = waiting.or(joins.first()).map(|lease| lease.id);
        if joined.is_none() {
            let (used, held, _) = self.counts(ask.link);
            if self.limits[ask.link].is_some_and(|limit| used >= limit) {
                return Answer::UsedUp;
            }
            if self.limits[ask.link].is_some_and(|limit| used + held >= limit) {
                return Answer::Busy;
            }
            let (id, taken, whole) = (ask.stream, self.now, BTreeMap::new());
            let Ask { link, holder, .. } = ask;
            self.leases.push(Lease { id, link, holder, taken, moved: taken, whole, ended: false });
        }
        let lease = joined.unwrap_or(ask.stream);
        if !self.begun(lease, ask.file) {
            self.told.push(("download.started", ask.stream, ask.file, ask.link, None));
        }
        let now = self.now;
        for other in &mut self.streams {
            other.over |= (other.lease, other.ask.file) == (lease, ask.file) && now >= other.spoke + ALIVE;
        }
        self.streams.push(Stream { ask, lease, written: 0, spoke: now, over: false });
        self.lease(lease).moved = now;
        Answer::Opened(lease)
    }

    fn lease(&mut self, id: u64) -> &mut Lease {
        self.leases.iter_mut().find(|lease| lease.id == id).unwrap()
    }

    /// Whether a copy of what opened a stream still finds it: the stream, or the lease that it opened.
    pub fn finds(&self, stream: u64) -> bool {
        let it = self.streams.iter().rfind(|other| other.ask.stream == stream);
        let open = |id| self.leases.iter().any(|lease| lease.id == id && !lease.ended);
        it.is_some_and(|it| open(it.lease) && (!it.over || it.lease == stream))
    }

    /// The stream has written so many pieces; `settles` if it has ended.
    pub fn wrote(&mut self, stream: u64, written: u64, settles: bool) -> Answer {
        let (now, serves) = (self.now, self.serves());
        let at = self.streams.iter().position(|other| other.ask.stream == stream).unwrap();
        let Stream { ask, lease, over, .. } = self.streams[at];
        if self.lease(lease).ended {
            return Answer::Stop;
        }
        if over {
            return if settles { Answer::Goes } else { Answer::Stop };
        }
        let it = &mut self.streams[at];
        it.written = it.written.max(written.min(ask.to - ask.from));
        (it.spoke, it.over) = (now, settles);
        self.lease(lease).moved = now;
        let all = self.delivered(lease, ask.file).len() as u64 == SIZES[ask.file];
        // Of nothing the last byte is never written, so its end is its delivery.
        let whole = all && (SIZES[ask.file] > 0 || settles);
        if whole && !self.lease(lease).whole.contains_key(&ask.file) {
            self.lease(lease).whole.insert(ask.file, now);
            let bytes = Some(SIZES[ask.file] * PIECE);
            self.told.push(("download.completed", stream, ask.file, ask.link, bytes));
        }
        if settles || serves { Answer::Goes } else { Answer::Stop }
    }

    /// How many leases ended.
    pub fn end_due(&mut self) -> usize {
        let due = |lease: &&Lease| !lease.ended && self.ends(lease) <= self.now;
        let due: Vec<Lease> = self.leases.iter().filter(due).cloned().collect();
        for lease in &due {
            let begun = (0..SIZES.len()).filter(|file| self.begun(lease.id, *file));
            for file in begun.filter(|file| !lease.whole.contains_key(file)).collect::<Vec<_>>() {
                let bytes = Some(self.delivered(lease.id, file).len() as u64 * PIECE);
                self.told.push(("download.interrupted", lease.id, file, lease.link, bytes));
            }
            self.lease(lease.id).ended = true;
        }
        due.len()
    }

    /// Of a link: used, held, returned.
    pub fn counts(&self, link: usize) -> (u32, u32, u32) {
        let count = |which: fn(&Lease) -> bool| {
            let leases = self.leases.iter().filter(|lease| lease.link == link && which(lease));
            u32::try_from(leases.count()).unwrap()
        };
        let whole = count(|lease| !lease.whole.is_empty());
        let held = count(|lease| lease.whole.is_empty() && !lease.ended);
        let given_up = count(|lease| lease.whole.is_empty() && lease.ended);
        let returned = given_up.min(u32::try_from(MOST).unwrap());
        (whole + given_up - returned, held, returned)
    }

    /// How many leases are open.
    pub fn open_leases(&self) -> u64 {
        self.leases.iter().filter(|lease| !lease.ended).count() as u64
    }

    pub fn next_end(&self) -> Option<u64> {
        self.leases.iter().filter(|lease| !lease.ended).map(|lease| self.ends(lease)).min()
    }

    pub fn exhausted(&self) -> bool {
        let used_up = |link: usize| self.limits[link].is_some_and(|limit| self.counts(link).0 >= limit);
        !self.over && self.open_leases() == 0 && (0..LINKS).all(used_up)
    }

    /// What no order of anything may lead to.
    pub fn keeps_its_bounds(&self) {
        for (link, limit) in self.limits.iter().enumerate() {
            let Some(limit) = limit else { continue };
            let of_link = || self.leases.iter().filter(|lease| lease.link == link);
            let whole = of_link().filter(|lease| !lease.whole.is_empty()).count();
            assert!(whole <= *limit as usize, "{whole} of {limit} downloads were delivered");
            let taken = of_link().count();
            assert!(taken as u64 <= u64::from(*limit) + MOST, "{taken} leases for {limit} downloads");
        }
        for lease in &self.leases {
            for (file, size) in SIZES.iter().enumerate() {
                let written: u64 = self.streams(lease.id, file).map(|stream| stream.written).sum();
                assert!(written <= MOST * size, "{written} of {size} were written under {lease:?}");
                assert!(self.starts(lease.id, file) <= MOST, "{lease:?}");
            }
        }
    }
}
