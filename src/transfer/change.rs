//! What a transition returns, and nothing else can make: the new record and its events.

use super::event::{Context, Event, EventType};
use super::id::{LinkId, TeamId, TransferId};
use super::quota::{Holding, Limits};
use super::record::{KEPT_OPERATIONS, Transfer};
use crate::clock::Timestamp;

/// Whose slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum SlotOwner {
    /// The owner, who has no link.
    Owner,
    /// A link.
    Link(LinkId),
}

/// The wrapped transfer key of one slot; its bytes are `crypto`'s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSlot {
    /// Whose it is.
    pub owner: SlotOwner,
    /// The slot of DESIGN §6.
    pub bytes: Vec<u8>,
}

/// What a commit does to one slot. The owner's is never dropped alone: without it nothing could be changed any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SlotWrite {
    /// It is written, over what was there.
    Put(NewSlot),
    /// It is destroyed: the link opens nothing any more.
    Drop(LinkId),
}

impl SlotWrite {
    /// Whose slot.
    #[must_use]
    pub const fn owner(&self) -> SlotOwner {
        match self {
            Self::Put(slot) => slot.owner,
            Self::Drop(link) => SlotOwner::Link(*link),
        }
    }
}

/// What a commit does to the slots of its transfer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Slots {
    /// They stay.
    Keep,
    /// These are written or destroyed; the others stay.
    Write(Vec<SlotWrite>),
    /// All are destroyed: the transfer can never be opened again.
    Destroy,
}

impl Slots {
    pub(super) fn put(slots: Vec<NewSlot>) -> Self {
        Self::Write(slots.into_iter().map(SlotWrite::Put).collect())
    }

    /// What is written or destroyed one by one.
    #[must_use]
    pub fn writes(&self) -> &[SlotWrite] {
        if let Self::Write(writes) = self { writes } else { &[] }
    }

    /// Whether a slot is written: then a store must see that it is not too late for it (DESIGN §7).
    #[must_use]
    pub fn puts(&self) -> bool {
        self.writes().iter().any(|write| matches!(write, SlotWrite::Put(_)))
    }
}

/// A decided change of a transfer's core, for [`RecordStore::commit`](crate::storage::RecordStore::commit).
///
/// Only a transition makes one, so that no state changes without its event:
///
/// ```compile_fail
/// use burnbag::transfer::{Change, Slots, Transfer};
/// fn forge(transfer: Transfer) -> Change {
///     Change { record: transfer, expected: Some(1), events: vec![], slots: Slots::Keep }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a change does nothing until it is committed"]
pub struct Change {
    pub(super) record: Transfer,
    pub(super) expected: Option<u64>,
    pub(super) context: Context,
    pub(super) events: Vec<Event>,
    pub(super) slots: Slots,
    pub(super) upload_deadline: Option<Timestamp>,
    pub(super) forget: bool,
    pub(super) limits: Option<Limits>,
}

impl Change {
    /// A change from the record as it was read to the one given, which the caller has altered.
    pub(super) fn new(record: Transfer, expected: Option<u64>, context: &Context) -> Self {
        let mut change = Self {
            record,
            expected,
            context: context.clone(),
            events: Vec::new(),
            slots: Slots::Keep,
            upload_deadline: None,
            forget: false,
            limits: None,
        };
        change.record.version = expected.unwrap_or(0).saturating_add(1);
        // A second transition of the same step is the same operation.
        if change.record.operations.last() != Some(&context.operation) {
            change.record.operations.push(context.operation);
        }
        let old = change.record.operations.len().saturating_sub(KEPT_OPERATIONS);
        change.record.operations.drain(..old);
        change
    }

    pub(super) fn with(mut self, kind: EventType, fill: impl FnOnce(&mut Event)) -> Self {
        let mut event = self.context.event(self.events.len(), kind);
        event.transfer = Some(self.record.id);
        fill(&mut event);
        self.events.push(event);
        self
    }

    /// A second transition in the same atomic step: both happen, or neither.
    ///
    /// # Errors
    /// Those of the second transition; then nothing is changed.
    pub fn and_then<E>(self, next: impl FnOnce(Transfer, &Context) -> Result<Self, E>) -> Result<Self, E> {
        let Self { record, expected, context, mut events, slots, upload_deadline, forget, limits } = self;
        let mut second = next(record, &context)?;
        for mut event in std::mem::take(&mut second.events) {
            event.id = format!("{}.{}", context.operation, events.len());
            events.push(event);
        }
        second.record.version = expected.unwrap_or(0).saturating_add(1);
        let slots = match (slots, second.slots) {
            (first, Slots::Keep) => first,
            (Slots::Write(mut first), Slots::Write(then)) => {
                first.retain(|slot| then.iter().all(|new| new.owner() != slot.owner()));
                first.extend(then);
                Slots::Write(first)
            }
            (_, then) => then,
        };
        let upload_deadline = upload_deadline.max(second.upload_deadline);
        let forget = forget || second.forget;
        let limits = limits.or(second.limits);
        let record = second.record;
        Ok(Self { record, expected, context, events, slots, upload_deadline, forget, limits })
    }

    /// What of its team's quota it holds more than before, it holds within these limits, or the store refuses it. Without them
    /// nothing is refused, as it must be for an end.
    pub const fn within(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// The limits that it must keep.
    #[must_use]
    pub const fn limits(&self) -> Option<&Limits> {
        self.limits.as_ref()
    }

    /// What the transfer holds of its team's quota after the change.
    #[must_use]
    pub fn holding(&self) -> Holding {
        if self.forget { Holding::default() } else { self.record.holding() }
    }

    /// The team whose record changes.
    #[must_use]
    pub const fn team(&self) -> TeamId {
        self.record.team
    }

    /// The transfer that changes.
    #[must_use]
    pub const fn id(&self) -> TransferId {
        self.record.id
    }

    /// The record after the change.
    #[must_use]
    pub const fn record(&self) -> &Transfer {
        &self.record
    }

    /// The version that the store must hold for the change to apply; absent: there must be none.
    #[must_use]
    pub const fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// Under what it happens.
    #[must_use]
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// The events, to be recorded in the same atomic step.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What happens to the slots.
    #[must_use]
    pub const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Where Uploading ends if nothing is touched; the journal's own later instant stays.
    #[must_use]
    pub const fn upload_deadline(&self) -> Option<Timestamp> {
        self.upload_deadline
    }

    /// Whether the record is dropped; refused while a lease is open.
    #[must_use]
    pub const fn forgets(&self) -> bool {
        self.forget
    }
}
