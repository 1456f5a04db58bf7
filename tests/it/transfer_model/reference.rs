//! What a transfer and its leases do, told again in the plainest way: DESIGN §4 and §10, byte by byte, in milliseconds.

use std::collections::{BTreeMap, BTreeSet};

pub const SIZES: [u64; 3] = [0, 3, 5];
const ALIVE: u64 = 30_000;
const IDLE: u64 = 900_000;
const RETRY: u64 = 60_000;
const WEEK: u64 = 7 * 24 * 3_600_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    Uploading,
    Held,
    Available,
    Ended,
    Purged,
    Forgotten,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileAt {
    Absent,
    Running,
    Whole,
    Dropped,
}

#[derive(Clone, Debug)]
pub struct Stream {
    pub id: u64,
    from: u64,
    to: u64,
    written: u64,
    renewed: u64,
}

impl Stream {
    /// What it counts as sent when it has ended: what was written, and the unit that was under way.
    fn charged(&self) -> u64 {
        (self.written + 65_536).min(self.to - self.from)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Download {
    pub starts: u64,
    pub sent: u64,
    delivered: BTreeSet<u64>,
    completed: Option<u64>,
    streams: Vec<Stream>,
}

#[derive(Clone, Debug)]
pub struct Lease {
    pub id: u64,
    link: usize,
    holder: u8,
    used: bool,
    taken: u64,
    moved: u64,
    pub files: BTreeMap<usize, Download>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Link {
    pub limit: Option<u32>,
    pub used: u32,
    pub held: u32,
    pub returned: u32,
    /// Its own deadline, which it gets so long after it is minted.
    pub lasts: Option<u64>,
    pub own: Option<u64>,
    revoked: bool,
    closed: bool,
}

impl Link {
    fn stands(&self, at: u64) -> bool {
        !self.revoked && !self.closed && self.own.is_none_or(|own| at < own)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The lease, by the stream that opened it.
    Opened(u64),
    Goes,
    Stop,
    Ended,
    UsedUp,
    Busy,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub now: u64,
    pub at: At,
    pub version: u64,
    made: u64,
    expires: u64,
    /// The instant that the deadline was moved to.
    moved: Option<u64>,
    pub deadline: u64,
    upload_deadline: u64,
    pub files: [FileAt; 3],
    reserved: u64,
    ended_whole: bool,
    epochs: [(u64, u64); 3],
    ended_at: u64,
    pub retry_at: Option<u64>,
    second_look: Option<u64>,
    forget_at: u64,
    pub links: [Link; 2],
    /// The links are minted by `complete` alone: what was held and released has none.
    minted: bool,
    pub leases: Vec<Lease>,
    leases_changed: u64,
    claimed_until: Option<u64>,
    pub events: BTreeMap<&'static str, usize>,
}

impl Model {
    pub fn new(now: u64, expires: u64, limits: [Option<u32>; 2], lasts: Option<u64>) -> Self {
        let mut model = Self {
            now,
            at: At::Uploading,
            version: 1,
            made: now,
            expires,
            moved: None,
            deadline: now + WEEK,
            upload_deadline: now + 900_000,
            files: [FileAt::Absent; 3],
            reserved: 0,
            ended_whole: false,
            epochs: [(0, 0); 3],
            ended_at: 0,
            retry_at: None,
            second_look: None,
            forget_at: 0,
            minted: false,
            links: limits.map(|limit| Link { limit, ..Link::default() }),
            leases: Vec::new(),
            leases_changed: 0,
            claimed_until: None,
            events: BTreeMap::new(),
        };
        model.links[1].lasts = lasts;
        model.tell("transfer.created");
        model
    }

    fn tell(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    fn committed(&mut self, events: &[&'static str]) -> bool {
        self.version += 1;
        self.claimed_until = None;
        for event in events {
            self.tell(event);
        }
        true
    }

    fn end(&mut self, event: &'static str) -> bool {
        for _ in self.files.iter().filter(|file| **file == FileAt::Running).collect::<Vec<_>>() {
            *self.events.entry("upload.aborted").or_default() += 1;
        }
        self.ended_whole = self.at != At::Uploading;
        self.at = At::Ended;
        self.ended_at = self.now;
        self.committed(&[event])
    }

    fn live(&self) -> bool {
        matches!(self.at, At::Uploading | At::Held | At::Available)
    }

    fn is_whole(&self) -> bool {
        self.files.contains(&FileAt::Whole) && !self.files.contains(&FileAt::Running)
    }

    pub fn start(&mut self, file: usize) -> bool {
        let may = self.at == At::Uploading;
        may && {
            self.files[file] = FileAt::Running;
            self.committed(&["upload.started"])
        }
    }

    /// A file goes from one place to another, while Uploading.
    pub fn moves(&mut self, file: usize, from: FileAt, to: FileAt, event: &'static str) -> bool {
        let may = self.at == At::Uploading && self.files[file] == from;
        may && {
            self.files[file] = to;
            self.committed(&[event])
        }
    }

    pub fn reserve(&mut self, bytes: u64) -> bool {
        let may = self.at == At::Uploading;
        may && {
            self.reserved += bytes;
            self.committed(&[])
        }
    }

    /// Bytes, transfers and uploads of its team's quota.
    pub fn holds(&self) -> (u64, u64, u64) {
        let whole = (0..3).filter(|n| self.files[*n] == FileAt::Whole).map(|n| SIZES[n]).sum();
        match self.at {
            At::Uploading => (self.reserved, 1, 1),
            At::Held | At::Available => (whole, 1, 0),
            At::Ended => (if self.ended_whole { whole } else { self.reserved }, 0, 0),
            At::Purged | At::Forgotten => (0, 0, 0),
        }
    }

    pub fn complete(&mut self) -> bool {
        if self.at != At::Uploading || !self.is_whole() {
            return false;
        }
        if self.now >= self.deadline {
            return self.end("transfer.abandoned");
        }
        self.at = At::Available;
        self.deadline = self.now + self.expires;
        self.minted = true;
        for link in &mut self.links {
            link.own = link.lasts.map(|lasts| self.now + lasts);
        }
        self.committed(&["link.created", "link.created", "transfer.available"])
    }

    pub fn hold(&mut self) -> bool {
        let may = self.at == At::Uploading && self.is_whole();
        may && {
            self.at = At::Held;
            self.committed(&["transfer.held"])
        }
    }

    pub fn release(&mut self) -> bool {
        if self.at != At::Held {
            return false;
        }
        let deadline = self.moved.unwrap_or(self.now + self.expires);
        if self.now >= self.deadline || self.now >= deadline {
            return self.end("transfer.expired");
        }
        self.at = At::Available;
        self.deadline = deadline;
        self.committed(&["transfer.available"])
    }

    pub fn revoke(&mut self, link: usize) -> bool {
        let may = self.live() && self.minted && !self.links[link].revoked;
        may && {
            self.links[link].revoked = true;
            self.committed(&["link.revoked"])
        }
    }

    pub fn close_links(&mut self) -> bool {
        let (at, now, minted) = (self.at, self.now, self.minted);
        let over = |link: &&mut Link| !link.revoked && !link.closed && link.own.is_some_and(|own| own <= now);
        let closed = self.links.iter_mut().filter(over).filter(|_| at == At::Available && minted);
        let closed = closed.map(|link| link.closed = true).count();
        closed > 0 && self.committed(&["link.expired"].repeat(closed))
    }

    pub fn set_deadline(&mut self, to: u64) -> bool {
        let may = matches!(self.at, At::Held | At::Available) && self.now < self.deadline;
        may && {
            self.deadline = if self.at == At::Held { to.min(self.made + WEEK) } else { to };
            self.moved = Some(to);
            self.committed(&["transfer.changed"])
        }
    }

    /// Whether the slot of a link is there.
    pub fn has_slot(&self, link: usize) -> bool {
        let Link { revoked, closed, .. } = self.links[link];
        self.minted && self.live() && self.now < self.deadline && !revoked && !closed
    }

    pub fn reject(&mut self) -> bool {
        self.at == At::Held && self.end("transfer.rejected")
    }

    pub fn delete(&mut self) -> bool {
        self.live() && self.end("transfer.deleted")
    }

    pub fn exhaust(&mut self) -> bool {
        self.at == At::Available && self.end("transfer.exhausted")
    }

    pub fn expire(&mut self) -> bool {
        let event = if self.at == At::Uploading { "transfer.abandoned" } else { "transfer.expired" };
        self.live() && self.now >= self.deadline && self.end(event)
    }

    pub fn abandon(&mut self) -> bool {
        self.at == At::Uploading && self.end("transfer.abandoned")
    }

    pub fn purge(&mut self, second_look: Option<u64>, forget_at: u64) -> bool {
        let may = self.at == At::Ended;
        may && {
            self.at = At::Purged;
            self.second_look = second_look;
            self.forget_at = forget_at;
            self.retry_at = None;
            self.committed(&["transfer.purged"])
        }
    }

    pub fn looked_again(&mut self) -> bool {
        let may = self.at == At::Purged && self.second_look.is_some_and(|at| self.now >= at);
        may && {
            self.second_look = None;
            self.committed(&[])
        }
    }

    /// Whether the transition is allowed; the store may still refuse it.
    pub fn may_forget(&self) -> bool {
        self.at == At::Purged && self.second_look.is_none() && self.now >= self.forget_at
    }

    /// Whether the store takes it.
    pub fn forget(&mut self) -> bool {
        let may = self.leases.is_empty();
        may && {
            self.at = At::Forgotten;
            self.committed(&["transfer.forgotten"])
        }
    }

    pub fn touch(&mut self, file: usize, epoch: u64, opener: u64, until: u64) -> bool {
        let (now_epoch, now_opener) = self.epochs[file];
        let newer = epoch > now_epoch || (epoch == now_epoch && opener == now_opener);
        let may = self.at == At::Uploading && newer;
        may && {
            self.epochs[file] = (epoch, opener);
            self.upload_deadline = self.upload_deadline.max(until);
            self.claimed_until = None;
            true
        }
    }

    pub fn retry(&mut self, at: u64) {
        if self.at == At::Ended {
            self.retry_at = Some(at);
            self.claimed_until = None;
        }
    }

    /// Whether it was due.
    pub fn claim(&mut self, lease: u64) -> bool {
        let due = self.due().is_some_and(|due| due <= self.now);
        if due {
            self.claimed_until = Some(self.now + lease);
        }
        due
    }

    pub fn next_end(&self) -> Option<u64> {
        self.leases.iter().map(|lease| self.ends(lease)).min()
    }

    pub fn exhausted(&self) -> bool {
        let used_up = |link: &Link| link.limit.is_some_and(|limit| link.used >= limit);
        let standing = || self.links.iter().filter(|link| self.minted && link.stands(self.leases_changed));
        self.at == At::Available
            && self.leases.is_empty()
            && standing().count() > 0
            && standing().all(used_up)
    }

    pub fn due(&self) -> Option<u64> {
        if self.claimed_until.is_some() {
            return self.claimed_until;
        }
        let of_state = match self.at {
            At::Uploading => Some(self.deadline.min(self.upload_deadline)),
            At::Available if self.exhausted() => Some(self.leases_changed),
            At::Held => Some(self.deadline),
            At::Available => {
                let open = self.links.iter().filter(|link| self.minted && !link.revoked && !link.closed);
                open.filter_map(|link| link.own).chain([self.deadline]).min()
            }
            At::Ended => Some(self.retry_at.unwrap_or(self.ended_at)),
            At::Purged if self.second_look.is_some() => self.second_look,
            At::Purged if self.leases.is_empty() => Some(self.forget_at),
            At::Purged | At::Forgotten => None,
        };
        of_state.into_iter().chain(self.next_end()).min()
    }

    fn runs(&self, stream: &Stream) -> bool {
        self.now < stream.renewed + ALIVE
    }

    fn ends(&self, lease: &Lease) -> u64 {
        let whole = (0..3).filter(|file| self.files[*file] == FileAt::Whole);
        let all = whole.into_iter().all(|n| lease.files.get(&n).is_some_and(|file| file.completed.is_some()));
        let streams =
            lease.files.values().flat_map(|file| &file.streams).map(|stream| stream.renewed + ALIVE);
        streams.chain([lease.moved + if all { RETRY } else { IDLE }]).max().unwrap()
    }

    fn allows(&self, lease: &Lease, n: usize, from: u64, to: u64) -> bool {
        let Some(file) = lease.files.get(&n) else { return true };
        let promised: u64 =
            file.streams.iter().map(|s| if self.runs(s) { s.to - s.from } else { s.charged() }).sum();
        let running_start = file.streams.iter().any(|stream| stream.from == 0 && self.runs(stream));
        file.completed.is_none_or(|at| self.now < at + RETRY)
            && (from > 0 || (!running_start && file.starts < 3))
            && file.sent + promised + (to - from) <= 3 * SIZES[n]
    }

    fn waits(&self, lease: &Lease, n: usize) -> bool {
        lease.files.get(&n).is_some_and(|file| {
            file.completed.is_none() && !file.streams.iter().any(|stream| self.runs(stream))
        })
    }

    pub fn open(&mut self, id: u64, link: usize, holder: u8, n: usize, from: u64, to: u64) -> Answer {
        let serves = self.at == At::Available && self.now < self.deadline && self.minted;
        if !serves || self.files[n] != FileAt::Whole || !self.links[link].stands(self.now) {
            return Answer::Ended;
        }
        let mut mine: Vec<Lease> =
            self.leases.iter().filter(|l| (l.link, l.holder) == (link, holder)).cloned().collect();
        mine.retain(|lease| self.now < self.ends(lease) && self.allows(lease, n, from, to));
        mine.sort_by_key(|lease| (lease.taken, lease.id));
        let found = mine.iter().find(|lease| self.waits(lease, n)).or(mine.first()).map(|lease| lease.id);
        let found = if let Some(found) = found {
            found
        } else {
            let Link { limit, used, held, .. } = self.links[link];
            if limit.is_some_and(|limit| used >= limit) {
                return Answer::UsedUp;
            }
            if limit.is_some_and(|limit| used + held >= limit) {
                return Answer::Busy;
            }
            self.links[link].held += 1;
            let (taken, files) = (self.now, BTreeMap::new());
            self.leases.push(Lease { id, link, holder, used: false, taken, moved: taken, files });
            id
        };
        let now = self.now;
        let lease = self.leases.iter_mut().find(|lease| lease.id == found).unwrap();
        lease.moved = now;
        let is_new = !lease.files.contains_key(&n);
        let file = lease.files.entry(n).or_default();
        file.sent +=
            file.streams.iter().filter(|s| now >= s.renewed + ALIVE).map(Stream::charged).sum::<u64>();
        file.streams.retain(|stream| now < stream.renewed + ALIVE);
        file.starts += u64::from(from == 0);
        file.streams.push(Stream { id, from, to, written: 0, renewed: now });
        if is_new {
            self.tell("download.started");
        }
        self.lease_written();
        Answer::Opened(found)
    }

    fn lease_written(&mut self) {
        self.leases_changed = self.now;
        self.claimed_until = None;
    }

    pub fn progress(&mut self, lease: u64, n: usize, id: u64, written: u64, ended: bool) -> Answer {
        let (live, links) = (self.at == At::Available && self.now < self.deadline, self.links);
        let now = self.now;
        let Some(lease) = self.leases.iter_mut().find(|other| other.id == lease) else { return Answer::Stop };
        let link = lease.link;
        let file = lease.files.get_mut(&n).unwrap();
        let Some(place) = file.streams.iter().position(|stream| stream.id == id) else {
            return if ended { Answer::Goes } else { Answer::Stop };
        };
        let stream = &mut file.streams[place];
        stream.written = stream.written.max(written.min(stream.to - stream.from));
        stream.renewed = now;
        file.delivered.extend(stream.from..stream.from + stream.written);
        if ended {
            file.sent += stream.charged();
            file.streams.remove(place);
        }
        lease.moved = now;
        let whole = file.delivered.len() as u64 == SIZES[n] && (SIZES[n] > 0 || ended);
        if whole && file.completed.is_none() {
            file.completed = Some(now);
            if !lease.used {
                lease.used = true;
                self.links[link].held -= 1;
                self.links[link].used += 1;
            }
            self.tell("download.completed");
        }
        self.lease_written();
        if ended || (live && links[link].stands(now)) { Answer::Goes } else { Answer::Stop }
    }

    /// How many leases ended.
    pub fn end_due(&mut self) -> usize {
        let (ended, open): (Vec<_>, Vec<_>) =
            self.leases.clone().into_iter().partition(|lease| self.ends(lease) <= self.now);
        self.leases = open;
        for lease in &ended {
            for _ in lease.files.values().filter(|file| file.completed.is_none()) {
                self.tell("download.interrupted");
            }
            let link = &mut self.links[lease.link];
            if !lease.used {
                link.held -= 1;
                if link.returned < 3 { link.returned += 1 } else { link.used += 1 }
            }
        }
        self.claimed_until = None;
        if !ended.is_empty() {
            self.leases_changed = self.now;
        }
        ended.len()
    }
}
