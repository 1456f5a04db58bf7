//! What the owner of a transfer may ask for once it is there: further links, another deadline (API.md).

use std::time::Duration;

use super::policy::{Expires, OptionError};
use super::record::Transfer;
use super::transitions::HARD_END;
use crate::clock::Timestamp;

/// The longest label of a link, in characters.
pub const MAX_LABEL: usize = 100;

/// What the owner asks of a new link.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkTerms {
    /// How many downloads it is good for; absent: no limit.
    pub downloads: Option<u32>,
    /// Its own deadline; absent: the transfer's.
    pub deadline: Option<Expires>,
    /// What its owner calls it ([`is_label`]).
    pub label: Option<String>,
}

impl LinkTerms {
    /// Its own deadline, for a link of `transfer` that is made at `now`.
    ///
    /// # Errors
    /// The instant has come, or is after the transfer's deadline.
    pub fn deadline(&self, transfer: &Transfer, now: Timestamp) -> Result<Option<Timestamp>, OptionError> {
        let Some(own) = self.deadline.map(|deadline| deadline.from(now)) else { return Ok(None) };
        if now < own && own <= transfer.deadline() {
            return Ok(Some(own));
        }
        let expected = format!(
            "a time to live such as 90s or 2h, or an instant that is still to come, until the transfer's deadline, {}",
            transfer.deadline()
        );
        Err(OptionError::Invalid { field: "deadline", expected })
    }
}

/// Whether a text can be the label of a link: 1 to [`MAX_LABEL`] characters, none of them a control character.
#[must_use]
pub fn is_label(text: &str) -> bool {
    (1..=MAX_LABEL).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

/// The deadline that `transfer` gets at `now`, where nothing may live longer than `longest` from now, or than the longest
/// life that a transfer can have been given when it was made: what looks after forgotten objects counts from there.
///
/// # Errors
/// The instant has come, or is too late.
pub fn moved_deadline(
    to: Expires,
    transfer: &Transfer,
    longest: Duration,
    now: Timestamp,
) -> Result<Timestamp, OptionError> {
    let deadline = to.from(now);
    let latest = now.after(longest).min(transfer.created().after(HARD_END).after(longest));
    if deadline <= now {
        let expected = format!(
            "a time to live such as 90s or 2h, or an instant that is still to come, {latest} at the latest"
        );
        return Err(OptionError::Invalid { field: "deadline", expected });
    }
    if deadline > latest { Err(OptionError::DeadlineTooLate(latest)) } else { Ok(deadline) }
}
