//! Every way in which a transfer's core changes (DESIGN §4). Each consumes the record as it was read.

use std::time::Duration;

use super::change::{Change, NewSlot, SlotOwner, SlotWrite, Slots};
use super::event::{Context, EventType, Outcome};
use super::id::{AccountId, FileId, TeamId, TransferId};
use super::policy::Expires;
use super::record::{EndReason, Ended, File, FileState, Object, Sealed, State, Transfer};
use crate::clock::Timestamp;

mod links;
mod objects;
mod reserve;

pub use links::{MAX_LINKS, NewLink, Rewrap};

/// Nothing lives longer before it is Available (DESIGN §4).
pub const HARD_END: Duration = Duration::from_hours(7 * 24);

/// The most files that one transfer takes, so that a record stays one that can be read at a time.
pub const MAX_FILES: usize = 1000;

/// A transition that the record's state does not allow.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum InvalidTransition {
    /// The transfer ended before.
    #[error("the transfer has ended ({})", .0.as_str())]
    Ended(EndReason),
    /// The transfer is whole, or not yet so far.
    #[error("a transfer that is {} cannot {}", .state.as_str(), .asked)]
    State {
        /// Where it stands.
        state: State,
        /// What was asked of it.
        asked: &'static str,
    },
    /// A file is still coming in.
    #[error("a file is still being uploaded")]
    Incomplete,
    /// There is no whole file in it.
    #[error("the transfer has no file")]
    Empty,
    /// It has as many files as one can have.
    #[error("a transfer takes at most {MAX_FILES} files")]
    TooManyFiles,
    /// No such file is being uploaded.
    #[error("no such file is being uploaded")]
    NoSuchFile,
    /// It has had as many links as one can have.
    #[error("a transfer takes at most {MAX_LINKS} links, those taken back among them: send the files again")]
    TooManyLinks,
    /// It has no such link.
    #[error("the transfer has no such link")]
    NoSuchLink,
    /// The instant has not come.
    #[error("it is too early to {0}")]
    TooEarly(&'static str),
}

/// What a new transfer is made of.
#[derive(Clone, Debug)]
pub struct NewTransfer {
    /// Drawn together with the transfer key.
    pub id: TransferId,
    /// The team of the owner.
    pub team: TeamId,
    /// Who sends.
    pub owner: AccountId,
    /// How long it lives once it is Available.
    pub expires: Expires,
    /// `E(T, "burnbag/v1/commit", transfer_id)`.
    pub commitment: [u8; 32],
    /// The owner's slot, wrapped with the hard end.
    pub owner_slot: Vec<u8>,
    /// Where Uploading ends if nothing comes.
    pub upload_deadline: Timestamp,
}

/// What a file is begun with.
#[derive(Clone, Debug)]
pub struct NewFile {
    /// Drawn anew in each attempt.
    pub id: FileId,
    /// Where its first object will lie.
    pub object: super::id::BlobKey,
    /// The sealed file: its name and type.
    pub sealed: Vec<u8>,
    /// Where Uploading ends if nothing comes.
    pub upload_deadline: Timestamp,
}

/// What is known of a file when its last byte is durable.
#[derive(Clone, Debug)]
pub struct WholeFile {
    /// Which.
    pub id: FileId,
    /// Its objects with their sizes in the blob store.
    pub objects: Vec<Object>,
    /// The sealed file, now with size, digest and number of runs.
    pub sealed: Vec<u8>,
    /// The pages of sealed runs.
    pub runs: Vec<Vec<u8>>,
    /// Plaintext bytes.
    pub size: u64,
    /// `content_mac` of DESIGN §6.
    pub content_mac: [u8; 32],
}

impl Transfer {
    /// The first commit: Uploading, with the hard end as its deadline.
    pub fn create(new: NewTransfer, context: &Context) -> Change {
        let record = Self {
            id: new.id,
            team: new.team,
            owner: new.owner,
            version: 0,
            operations: Vec::new(),
            state: State::Uploading,
            created: context.now,
            expires: new.expires,
            deadline: context.now.after(HARD_END),
            commitment: new.commitment,
            files: Vec::new(),
            links: Vec::new(),
            next_n: 0,
            reserved: 0,
            ended: None,
            second_look: None,
            forget_at: None,
        };
        let mut change = Change::new(record, None, context).with(EventType::TransferCreated, |_| {});
        change.slots = Slots::put(vec![NewSlot { owner: SlotOwner::Owner, bytes: new.owner_slot }]);
        change.upload_deadline = Some(new.upload_deadline);
        change
    }

    /// Begins a file. Whether its name is free is for the caller to see: names are sealed.
    ///
    /// # Errors
    /// Not Uploading, or full.
    pub fn start_file(mut self, new: NewFile, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "take a file")?;
        if self.files.len() >= MAX_FILES {
            return Err(InvalidTransition::TooManyFiles);
        }
        self.files.push(File {
            id: new.id,
            state: FileState::Running,
            objects: vec![Object { key: new.object, size: None }],
            sealed: Sealed(new.sealed),
            runs: Vec::new(),
            size: None,
        });
        let mut change =
            self.changed(context).with(EventType::UploadStarted, |event| event.file = Some(new.id));
        change.upload_deadline = Some(new.upload_deadline);
        Ok(change)
    }

    /// The last byte of a file is durable.
    ///
    /// # Errors
    /// Not Uploading, or no such file is running.
    pub fn finish_file(mut self, whole: WholeFile, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "take a file")?;
        let file = self.running(whole.id)?;
        file.state = FileState::Whole;
        file.objects = whole.objects;
        file.sealed = Sealed(whole.sealed);
        file.runs = whole.runs.into_iter().map(Sealed).collect();
        file.size = Some(whole.size);
        Ok(self.changed(context).with(EventType::UploadCompleted, |event| {
            event.file = Some(whole.id);
            event.bytes = Some(whole.size);
            event.content_mac = Some(hex::encode(whole.content_mac));
        }))
    }

    /// A file broke off. Its name is free again, and its objects go with the transfer.
    ///
    /// # Errors
    /// Not Uploading, or no such file is running.
    pub fn drop_file(
        mut self,
        id: FileId,
        reason: &str,
        context: &Context,
    ) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "drop a file")?;
        self.running(id)?.state = FileState::Dropped;
        Ok(self.changed(context).with(EventType::UploadAborted, |event| {
            event.file = Some(id);
            event.outcome = Outcome::Failed;
            event.reason = Some(reason.to_owned());
        }))
    }

    /// The owner takes a whole file out of a draft.
    ///
    /// # Errors
    /// Not Uploading, or no such whole file.
    pub fn remove_file(mut self, id: FileId, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "give up a file")?;
        let file = self
            .files
            .iter_mut()
            .find(|file| file.id == id && file.state == FileState::Whole)
            .ok_or(InvalidTransition::NoSuchFile)?;
        file.state = FileState::Dropped;
        Ok(self.changed(context).with(EventType::FileRemoved, |event| event.file = Some(id)))
    }

    /// The sender asks for another time to live before the transfer is whole.
    ///
    /// # Errors
    /// Not Uploading.
    pub fn reschedule(mut self, expires: Expires, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "be rescheduled")?;
        self.expires = expires;
        Ok(self.changed(context).with(EventType::TransferChanged, |_| {}))
    }

    /// The transfer is whole: it becomes Available with the deadline of [`Transfer::deadline_from`], and
    /// `slots` are all of its slots, wrapped with that deadline. If that deadline has come, it is Expired at once;
    /// past the hard end it is Abandoned.
    ///
    /// # Errors
    /// Not Uploading, a file still running, or none whole.
    pub fn complete(
        mut self,
        links: Vec<NewLink>,
        owner_slot: Vec<u8>,
        context: &Context,
    ) -> Result<Change, InvalidTransition> {
        self.require_whole("be completed")?;
        if let Some(reason) = self.too_late(context.now) {
            return Ok(self.end(reason, context));
        }
        self.deadline = self.deadline_from(context.now);
        self.state = State::Available;
        let mut slots = vec![SlotWrite::Put(NewSlot { owner: SlotOwner::Owner, bytes: owner_slot })];
        let mut minted = Vec::new();
        for link in links {
            minted.push(link.id);
            slots.push(self.mint(link, context.now));
        }
        let bytes = self.bytes();
        let mut change = self.changed(context);
        change.slots = Slots::Write(slots);
        for id in minted {
            change = change.with(EventType::LinkCreated, |event| event.link = Some(id));
        }
        Ok(change.with(EventType::TransferAvailable, |event| event.bytes = Some(bytes)))
    }

    /// A policy asks for a scan or an approval before the transfer can be fetched.
    ///
    /// # Errors
    /// Not Uploading, a file still running, or none whole.
    pub fn hold(mut self, reason: &str, context: &Context) -> Result<Change, InvalidTransition> {
        self.require_whole("be held")?;
        self.state = State::Held;
        Ok(self
            .changed(context)
            .with(EventType::TransferHeld, |event| event.reason = Some(reason.to_owned())))
    }

    /// What held it back is settled: Available, with `slots` wrapped anew for [`Transfer::deadline_from`]. If that
    /// deadline or the hard end has come, it is Expired at once.
    ///
    /// # Errors
    /// Not Held.
    pub fn release(mut self, slots: Vec<NewSlot>, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Held, "be released")?;
        if let Some(reason) = self.too_late(context.now) {
            return Ok(self.end(reason, context));
        }
        self.deadline = self.deadline_from(context.now);
        self.state = State::Available;
        let bytes = self.bytes();
        let mut change =
            self.changed(context).with(EventType::TransferAvailable, |event| event.bytes = Some(bytes));
        change.slots = Slots::put(slots);
        Ok(change)
    }

    /// A scan or an approver refused it.
    ///
    /// # Errors
    /// Not Held.
    pub fn reject(self, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Held, "be rejected")?;
        Ok(self.end(EndReason::Rejected, context))
    }

    /// Somebody ends it.
    ///
    /// # Errors
    /// It has ended before.
    pub fn delete(self, context: &Context) -> Result<Change, InvalidTransition> {
        self.require_live()?;
        Ok(self.end(EndReason::Deleted, context))
    }

    /// Ends a transfer whose time ran out.
    ///
    /// # Errors
    /// It has ended before, or the deadline has not come.
    pub fn expire(self, context: &Context) -> Result<Change, InvalidTransition> {
        self.require_live()?;
        if context.now < self.deadline {
            return Err(InvalidTransition::TooEarly("expire"));
        }
        let reason = self.ends_by_time();
        Ok(self.end(reason, context))
    }

    /// The upload broke off, or nothing came for too long.
    ///
    /// # Errors
    /// Not Uploading.
    pub fn abandon(self, reason: &str, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "be abandoned")?;
        Ok(self.end_because(EndReason::Abandoned, reason, context))
    }

    /// Every link that stands has used up its downloads, and no lease is open (both seen by the caller).
    ///
    /// # Errors
    /// Not Available.
    pub fn exhaust(self, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Available, "be exhausted")?;
        Ok(self.end(EndReason::Exhausted, context))
    }

    /// The objects are confirmed gone. `second_look`: an attempt to write one may still be under way.
    ///
    /// # Errors
    /// Not Ended, or purged before.
    pub fn purge(
        mut self,
        second_look: Option<Timestamp>,
        forget_at: Timestamp,
        context: &Context,
    ) -> Result<Change, InvalidTransition> {
        if self.state != State::Ended {
            return Err(self.refuse("be purged"));
        }
        self.state = State::Purged;
        self.second_look = second_look;
        self.forget_at = Some(forget_at);
        if second_look.is_none() {
            self.bury();
        }
        Ok(self.changed(context).with(EventType::TransferPurged, |_| {}))
    }

    /// The second look found nothing, or deleted what it found. No state changes, so no event.
    ///
    /// # Errors
    /// No second look was due.
    pub fn looked_again(mut self, context: &Context) -> Result<Change, InvalidTransition> {
        match (self.state, self.second_look) {
            (State::Purged, Some(at)) if context.now >= at => {
                self.second_look = None;
                self.bury();
                Ok(self.changed(context))
            }
            _ => Err(self.refuse("be looked at again")),
        }
    }

    /// The tombstone goes; the store refuses it while a lease is open.
    ///
    /// # Errors
    /// Not Purged, a second look to come, or too early.
    pub fn forget(self, context: &Context) -> Result<Change, InvalidTransition> {
        match (self.state, self.second_look, self.forget_at) {
            (State::Purged, None, Some(at)) if context.now >= at => {
                let mut change = self.changed(context).with(EventType::TransferForgotten, |_| {});
                change.forget = true;
                Ok(change)
            }
            (State::Purged, ..) => Err(InvalidTransition::TooEarly("forget")),
            _ => Err(self.refuse("be forgotten")),
        }
    }

    /// What a tombstone need not keep.
    fn bury(&mut self) {
        for file in &mut self.files {
            file.objects.clear();
            file.runs.clear();
            file.sealed.0.clear();
        }
    }

    fn end(self, reason: EndReason, context: &Context) -> Change {
        self.end_because(reason, reason.as_str(), context)
    }

    /// Ends it; files that are still coming in break off, for the reason `why`.
    fn end_because(mut self, reason: EndReason, why: &str, context: &Context) -> Change {
        let kind = match reason {
            EndReason::Expired => EventType::TransferExpired,
            EndReason::Exhausted => EventType::TransferExhausted,
            EndReason::Deleted => EventType::TransferDeleted,
            EndReason::Rejected => EventType::TransferRejected,
            EndReason::Abandoned => EventType::TransferAbandoned,
        };
        self.ended = Some(Ended { reason, at: context.now, from: self.state });
        self.state = State::Ended;
        let running: Vec<FileId> =
            self.files.iter().filter(|file| file.state == FileState::Running).map(|file| file.id).collect();
        let mut change = self.changed(context);
        for id in running {
            change = change.with(EventType::UploadAborted, |event| {
                event.file = Some(id);
                event.outcome = Outcome::Failed;
                event.reason = Some(why.to_owned());
            });
        }
        let mut change = change.with(kind, |_| {});
        change.slots = Slots::Destroy;
        change
    }

    fn changed(self, context: &Context) -> Change {
        let expected = self.version;
        Change::new(self, Some(expected), context)
    }

    fn running(&mut self, id: FileId) -> Result<&mut File, InvalidTransition> {
        self.files
            .iter_mut()
            .find(|file| file.id == id && file.state == FileState::Running)
            .ok_or(InvalidTransition::NoSuchFile)
    }

    fn require(&self, state: State, asked: &'static str) -> Result<(), InvalidTransition> {
        if self.state == state { Ok(()) } else { Err(self.refuse(asked)) }
    }

    /// How it ends when its deadline comes.
    const fn ends_by_time(&self) -> EndReason {
        if matches!(self.state, State::Uploading) { EndReason::Abandoned } else { EndReason::Expired }
    }

    /// Why it cannot become Available any more: the hard end came, or the instant that its sender asked for.
    fn too_late(&self, now: Timestamp) -> Option<EndReason> {
        if now >= self.deadline {
            return Some(self.ends_by_time());
        }
        (self.deadline_from(now) <= now).then_some(EndReason::Expired)
    }

    /// Uploading, with a whole file and none that still comes in.
    fn require_whole(&self, asked: &'static str) -> Result<(), InvalidTransition> {
        self.require(State::Uploading, asked)?;
        if self.files.iter().any(|file| file.state == FileState::Running) {
            return Err(InvalidTransition::Incomplete);
        }
        if self.whole_files().next().is_none() {
            return Err(InvalidTransition::Empty);
        }
        Ok(())
    }

    fn require_live(&self) -> Result<(), InvalidTransition> {
        if self.state.is_live() { Ok(()) } else { Err(self.refuse("end")) }
    }

    fn refuse(&self, asked: &'static str) -> InvalidTransition {
        match self.ended {
            Some(ended) => InvalidTransition::Ended(ended.reason),
            None => InvalidTransition::State { state: self.state, asked },
        }
    }
}
