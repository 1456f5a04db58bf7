//! Links after the first, and deadlines that move.

use super::InvalidTransition;
use crate::clock::Timestamp;
use crate::transfer::change::{Change, NewSlot, SlotOwner, SlotWrite, Slots};
use crate::transfer::event::{Context, EventType};
use crate::transfer::id::LinkId;
use crate::transfer::policy::Expires;
use crate::transfer::record::{EndReason, Link, Sealed, State, Transfer};

/// The most links that one transfer ever gets, those taken back counted, so that a record stays one that can be read at a
/// time.
pub const MAX_LINKS: usize = 100;

/// A link to mint.
#[derive(Clone, Debug)]
pub struct NewLink {
    /// Derived from its secret.
    pub id: LinkId,
    /// Under which number the account key gives the secret again; must be the record's `next_n`.
    pub n: Option<u32>,
    /// How many downloads it is good for.
    pub downloads: Option<u32>,
    /// Its own deadline, not after the transfer's.
    pub deadline: Option<Timestamp>,
    /// What its owner calls it.
    pub label: Option<String>,
    /// `pwb` of DESIGN §6; absent: no password.
    pub password: Option<Sealed>,
    /// Its slot, wrapped with [`Transfer::slot_deadline`]; that of a first link with the deadline that Available sets.
    pub slot: Vec<u8>,
}

/// A slot that must be wrapped anew before a deadline moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rewrap {
    /// Whose slot.
    pub owner: SlotOwner,
    /// The deadline that it is wrapped with.
    pub from: Timestamp,
    /// The deadline that it must be wrapped with.
    pub to: Timestamp,
}

impl Transfer {
    /// The deadline that the slot of a link is wrapped with, and at which its downloads are cut: its own or the transfer's,
    /// whichever is earlier.
    #[must_use]
    pub fn slot_deadline(&self, own: Option<Timestamp>) -> Timestamp {
        own.map_or(self.deadline, |own| own.min(self.deadline))
    }

    /// Puts a new link on record. Gives what is to be written of its slot.
    pub(super) fn mint(&mut self, new: NewLink, now: Timestamp) -> SlotWrite {
        self.next_n = self.next_n.max(new.n.map_or(0, |n| n.saturating_add(1)));
        self.links.push(Link {
            id: new.id,
            n: new.n,
            label: new.label,
            downloads: new.downloads,
            deadline: new.deadline,
            password: new.password,
            created: now,
            revoked: None,
            closed: false,
        });
        SlotWrite::Put(NewSlot { owner: SlotOwner::Link(new.id), bytes: new.slot })
    }

    /// One link more.
    ///
    /// # Errors
    /// Not Available or past its deadline; or it has had as many links as one can have.
    pub fn add_link(mut self, new: NewLink, context: &Context) -> Result<Change, InvalidTransition> {
        self.require_open("take a link", context.now)?;
        if self.links.len() >= MAX_LINKS {
            return Err(InvalidTransition::TooManyLinks);
        }
        let id = new.id;
        let slot = self.mint(new, context.now);
        let mut change = self.changed(context).with(EventType::LinkCreated, |event| event.link = Some(id));
        change.slots = Slots::Write(vec![slot]);
        Ok(change)
    }

    /// Takes a link back; its slot is destroyed in the same step. None where there is nothing more to take: it was taken
    /// back before, or the transfer has ended.
    ///
    /// # Errors
    /// No such link.
    pub fn revoke_link(mut self, id: LinkId, context: &Context) -> Result<Option<Change>, InvalidTransition> {
        let is_live = self.state.is_live();
        let link = self.links.iter_mut().find(|link| link.id == id).ok_or(InvalidTransition::NoSuchLink)?;
        if !is_live || link.revoked.is_some() {
            return Ok(None);
        }
        link.revoked = Some(context.now);
        let mut change = self.changed(context).with(EventType::LinkRevoked, |event| event.link = Some(id));
        change.slots = Slots::Write(vec![SlotWrite::Drop(id)]);
        Ok(Some(change))
    }

    /// When the next link reaches a deadline of its own, unless it was taken back or closed before.
    #[must_use]
    pub fn next_link_deadline(&self) -> Option<Timestamp> {
        let open = self.links.iter().filter(|link| link.revoked.is_none() && !link.closed);
        open.filter_map(|link| link.deadline).min()
    }

    /// Destroys the slots of the links whose own deadlines have come.
    ///
    /// # Errors
    /// Not Available, or none has come.
    pub fn close_links(mut self, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Available, "close a link")?;
        let mut closed = Vec::new();
        for link in self.links.iter_mut().filter(|link| link.revoked.is_none() && !link.closed) {
            if link.deadline.is_some_and(|deadline| deadline <= context.now) {
                link.closed = true;
                closed.push(link.id);
            }
        }
        if closed.is_empty() {
            return Err(InvalidTransition::TooEarly("close a link"));
        }
        let mut change = self.changed(context);
        for id in &closed {
            change = change.with(EventType::LinkExpired, |event| event.link = Some(*id));
        }
        change.slots = Slots::Write(closed.into_iter().map(SlotWrite::Drop).collect());
        Ok(change)
    }

    /// What must be wrapped anew before [`Transfer::set_deadline`]: every slot that opens anything.
    #[must_use]
    pub fn rewraps(&self, deadline: Timestamp, now: Timestamp) -> Vec<Rewrap> {
        let to = self.deadline_moved_to(deadline);
        let owner = Rewrap { owner: SlotOwner::Owner, from: self.deadline, to };
        let links = self.links.iter().filter(|link| link.stands(now)).map(|link| Rewrap {
            owner: SlotOwner::Link(link.id),
            from: self.slot_deadline(link.deadline),
            to: link.deadline.map_or(to, |own| own.min(to)),
        });
        [owner].into_iter().chain(links).collect()
    }

    /// Moves the deadline of a transfer that is whole, to an instant that its policy allows; `slots` are those of
    /// [`Transfer::rewraps`], wrapped anew. While Held it is the deadline that it will have, and the hard end stays a bound.
    ///
    /// # Errors
    /// Neither Held nor Available; or past the present deadline.
    pub fn set_deadline(
        mut self,
        deadline: Timestamp,
        slots: Vec<NewSlot>,
        context: &Context,
    ) -> Result<Change, InvalidTransition> {
        if self.state != State::Held {
            self.require(State::Available, "get another deadline")?;
        }
        if context.now >= self.deadline {
            return Err(InvalidTransition::Ended(EndReason::Expired));
        }
        self.deadline = self.deadline_moved_to(deadline);
        self.expires = Expires::At(deadline);
        let mut change = self.changed(context).with(EventType::TransferChanged, |_| {});
        change.slots = Slots::put(slots);
        Ok(change)
    }

    fn deadline_moved_to(&self, deadline: Timestamp) -> Timestamp {
        if self.state == State::Held { deadline.min(self.created.after(super::HARD_END)) } else { deadline }
    }

    /// Available, and before its deadline.
    fn require_open(&self, asked: &'static str, now: Timestamp) -> Result<(), InvalidTransition> {
        self.require(State::Available, asked)?;
        if now < self.deadline { Ok(()) } else { Err(InvalidTransition::Ended(EndReason::Expired)) }
    }
}
