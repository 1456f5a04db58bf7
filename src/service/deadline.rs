//! Moving the deadline of a transfer: every slot is wrapped anew and the key's time to live moves with it, in one commit (DESIGN §6).

use std::time::Duration;

use super::delete::TRIES;
use super::{Caller, Service, ServiceError, TransferView};
use crate::crypto::{OWNER, PasswordBlock, Slot, rewrap_slot};
use crate::storage::StoreError;
use crate::storage::records::Record;
use crate::transfer::policy::{Expires, OptionError};
use crate::transfer::terms::moved_deadline;
use crate::transfer::{NewSlot, Rewrap, SlotOwner, TransferId};

/// A deadline moves no nearer than this: a running download learns of it by its next renewal, or is cut for want of an answer
/// before (DESIGN §4).
const NEAREST: Duration = Duration::from_secs(30);

impl Service {
    /// Gives a transfer of the caller's own another deadline, earlier or later. `version`: only if it still has this one.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`], [`ServiceError::NotOwner`], [`ServiceError::CapabilityMissing`];
    /// [`ServiceError::PreconditionFailed`] for another version; [`ServiceError::Ended`]; [`ServiceError::Option`] for a deadline
    /// that has come, is too near, or is past what the operator and the team allow.
    pub async fn move_deadline(
        &self,
        caller: &Caller,
        id: TransferId,
        to: Expires,
        version: Option<u64>,
    ) -> Result<TransferView, ServiceError> {
        for _ in 0..TRIES {
            let record = self.own(caller, id).await?;
            if version.is_some_and(|version| version != record.transfer.version()) {
                return Err(ServiceError::PreconditionFailed);
            }
            let context = self.context(caller.actor(), &caller.asker);
            let longest = self.policy_of(&caller.team).expires_max;
            let deadline = moved_deadline(to, &record.transfer, longest, context.now)?;
            if deadline < record.transfer.deadline().min(context.now.after(NEAREST)) {
                let expected = format!(
                    "at least {} s from now: to end it sooner, delete the transfer",
                    NEAREST.as_secs()
                );
                return Err(OptionError::Invalid { field: "deadline", expected }.into());
            }
            // What ends sooner always works.
            if deadline > record.transfer.deadline() {
                self.may_send()?;
            }
            let slots = match self.rewrapped(&record, record.transfer.rewraps(deadline, context.now)).await {
                // The slots that were read may be those of another version: decided anew.
                Err(_) if self.has_changed(&record).await? => continue,
                slots => slots?,
            };
            let change = record.transfer.clone().set_deadline(deadline, slots, &context)?;
            match self.commit(change).await {
                Err(StoreError::Conflict) => {}
                done => {
                    done?;
                    self.due.ring();
                    return self.show(caller, id).await;
                }
            }
        }
        Err(ServiceError::Unavailable("the transfer kept changing".to_owned()))
    }

    async fn rewrapped(&self, record: &Record, rewraps: Vec<Rewrap>) -> Result<Vec<NewSlot>, ServiceError> {
        let transfer = &record.transfer;
        let each = rewraps.into_iter().map(|Rewrap { owner, from, to }| async move {
            let slot = self.records.slot(transfer.team(), transfer.id(), owner).await?;
            let slot = Slot::from_bytes(&slot.ok_or(ServiceError::Ended)?)?;
            let (link, block) = match owner {
                SlotOwner::Owner => (OWNER, PasswordBlock::none()),
                SlotOwner::Link(link) => {
                    let block = transfer.link(link).and_then(|link| link.password.as_ref());
                    let block = block
                        .map_or(Ok(PasswordBlock::none()), |block| PasswordBlock::from_bytes(&block.0))?;
                    (*link.as_bytes(), block)
                }
            };
            let (from, to) = (from.as_millis(), to.as_millis());
            let slot = rewrap_slot(&self.keks, &slot, transfer.id().as_bytes(), &link, &block, from, to)?;
            Ok(NewSlot { owner, bytes: slot.as_bytes().to_vec() })
        });
        futures_util::future::try_join_all(each).await
    }
}
