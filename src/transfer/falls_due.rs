//! What must happen to a transfer now, by the clock.

use super::change::Change;
use super::event::Context;
use super::journal::Journal;
use super::lease::LeaseSummary;
use super::record::{State, Transfer};
use super::transitions::InvalidTransition;

/// What is due.
#[derive(Debug)]
pub enum Due {
    /// Nothing yet: the place in the index was an older one.
    Nothing,
    /// This change.
    Change(Box<Change>),
    /// Leases end.
    EndLeases,
    /// The objects must go.
    Purge(Box<Transfer>),
    /// The objects must be looked for once more.
    SecondLook(Box<Transfer>),
}

/// Decides what is due by `context.now`.
///
/// # Errors
/// None that the states allow; a transition that refuses is passed on.
pub fn falls_due(
    transfer: Transfer,
    journal: &Journal,
    leases: &LeaseSummary,
    context: &Context,
) -> Result<Due, InvalidTransition> {
    let now = context.now;
    let change = |change: Result<Change, InvalidTransition>| Ok(Due::Change(Box::new(change?)));
    let leases_end = leases.next_end.is_some_and(|end| end <= now);
    match transfer.state() {
        State::Uploading | State::Held | State::Available if transfer.deadline() <= now => {
            change(transfer.expire(context))
        }
        State::Uploading if journal.upload_deadline.is_some_and(|at| at <= now) => {
            change(transfer.abandon("upload_idle", context))
        }
        State::Available if leases.exhausted => change(transfer.exhaust(context)),
        State::Available if transfer.next_link_deadline().is_some_and(|at| at <= now) => {
            change(transfer.close_links(context))
        }
        State::Ended if journal.retry_at.is_none_or(|at| at <= now) => Ok(Due::Purge(Box::new(transfer))),
        _ if leases_end => Ok(Due::EndLeases),
        State::Purged if transfer.second_look().is_some_and(|at| at <= now) => {
            Ok(Due::SecondLook(Box::new(transfer)))
        }
        State::Purged
            if transfer.second_look().is_none()
                && leases.open == 0
                && transfer.forget_at().is_some_and(|at| at <= now) =>
        {
            change(transfer.forget(context))
        }
        _ => Ok(Due::Nothing),
    }
}
