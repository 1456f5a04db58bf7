//! A file of more than one object.

use super::InvalidTransition;
use crate::transfer::change::Change;
use crate::transfer::event::Context;
use crate::transfer::id::{BlobKey, FileId};
use crate::transfer::record::{Object, State, Transfer};

impl Transfer {
    /// A file is too large for the objects that it has, and goes on in another. No state changes, so no event.
    ///
    /// # Errors
    /// Not Uploading, or no such file is running.
    pub fn next_object(
        mut self,
        id: FileId,
        key: BlobKey,
        context: &Context,
    ) -> Result<Change, InvalidTransition> {
        self.require(State::Uploading, "take a file")?;
        self.running(id)?.objects.push(Object { key, size: None });
        Ok(self.changed(context))
    }
}
