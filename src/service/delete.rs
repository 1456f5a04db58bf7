//! Deleting: the keys are destroyed at once, the objects right after.

use super::{Caller, Service, ServiceError};
use crate::storage::StoreError;
use crate::transfer::access::Capability;
use crate::transfer::{LinkId, Transfer, TransferId};

/// Somebody else may change a transfer between read and commit so often before it is given up.
pub(super) const TRIES: usize = 5;

impl Caller {
    /// Whoever sent a transfer may end it and take its links back; and whoever may end any of the team.
    pub(super) fn require_to_end(&self, transfer: &Transfer) -> Result<(), ServiceError> {
        let own = transfer.owner() == self.account.id && self.may(Capability::Send);
        self.require(if own { Capability::Send } else { Capability::EndAny })
    }
}

impl Service {
    /// Ends a transfer of the caller's team. Repeated, it succeeds again.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown id and for another team's; [`ServiceError::CapabilityMissing`] for a member
    /// who did not send it.
    pub async fn delete(&self, caller: &Caller, id: TransferId) -> Result<(), ServiceError> {
        for _ in 0..TRIES {
            let record = self.records.transfer(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
            let transfer = record.transfer;
            caller.require_to_end(&transfer)?;
            if !transfer.state().is_live() {
                return Ok(());
            }
            let change = transfer.delete(&self.context(caller.actor(), &caller.asker))?;
            match self.commit(change).await {
                Err(StoreError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(ServiceError::Unavailable("the transfer kept changing".to_owned()))
    }

    /// Ends the transfer of a link, by a token: a link secret never suffices.
    ///
    /// # Errors
    /// As [`Service::delete`].
    pub async fn delete_by_link(&self, caller: &Caller, link: LinkId) -> Result<(), ServiceError> {
        let opening = self.records.opening(link).await?.ok_or(ServiceError::NotFound)?;
        self.delete(caller, opening.record.transfer.id()).await
    }
}
