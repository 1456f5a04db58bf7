//! The domain: what a transfer is and what may happen to it. No I/O, no async.

pub mod access;
mod capability;
mod change;
mod counts;
mod event;
mod falls_due;
mod id;
mod journal;
pub mod lease;
mod name;
pub mod policy;
pub mod quota;
mod ranges;
pub mod rate;
mod record;
pub mod session;
pub mod terms;
mod transitions;
pub mod tries;

pub use change::{Change, NewSlot, SlotOwner, SlotWrite, Slots};
pub use event::{Actor, Context, Event, EventType, Outcome};
pub use falls_due::{Due, falls_due};
pub use id::{
    AccountId, BlobKey, FileId, HolderId, InstanceId, InvalidId, LeaseId, LinkId, OperationId, StreamId,
    TeamId, TokenId, TransferId,
};
pub use journal::{FileJournal, Journal, Touch, TouchRefused, due, owed};
pub use name::{FileName, InvalidName, MAX_NAME, MAX_SEGMENT};
pub use ranges::{MAX_RANGES, Ranges};
pub use record::{EndReason, Ended, File, FileState, KEPT_OPERATIONS, Link, Object, Sealed, State, Transfer};
pub use transitions::{
    HARD_END, InvalidTransition, MAX_FILES, MAX_LINKS, NewFile, NewLink, NewTransfer, Rewrap, WholeFile,
};
