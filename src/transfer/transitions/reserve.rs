//! What an upload sets aside of its team's quota.

use super::InvalidTransition;
use crate::transfer::change::Change;
use crate::transfer::event::Context;
use crate::transfer::record::{State, Transfer};

impl Transfer {
    /// So many plaintext bytes more are reserved for what is still to come. No state changes and nobody is given anything, so no
    /// event.
    ///
    /// # Errors
    /// Not Uploading.
    pub fn reserve(mut self, bytes: u64, context: &Context) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "reserve more")?;
        self.reserved = self.reserved.saturating_add(bytes);
        Ok(self.changed(context))
    }
}
