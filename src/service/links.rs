//! Further links of a transfer, and taking links back (DESIGN §6, §10 "The link").

use zeroize::Zeroizing;

use super::delete::TRIES;
use super::view::LinkView;
use super::{Caller, Service, ServiceError};
use crate::crypto::{PasswordBlock, PasswordKey, TransferKey, seal_slot};
use crate::storage::StoreError;
use crate::storage::records::Record;
use crate::transfer::access::Capability;
use crate::transfer::terms::LinkTerms;
use crate::transfer::{LinkId, NewLink, Sealed, SlotOwner, TransferId};

impl Service {
    /// A transfer that the caller sent, for what the account that sent it alone may do.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown id and for another team's; [`ServiceError::NotOwner`],
    /// [`ServiceError::CapabilityMissing`].
    pub(super) async fn own(&self, caller: &Caller, id: TransferId) -> Result<Record, ServiceError> {
        let record = self.records.transfer(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
        caller.require(Capability::Send)?;
        if record.transfer.owner() == caller.account.id { Ok(record) } else { Err(ServiceError::NotOwner) }
    }

    /// One link more for a transfer of the caller's own.
    ///
    /// # Errors
    /// As [`Service::own`]; [`ServiceError::Option`]; [`ServiceError::Ended`], and [`ServiceError::Conflict`] for a transfer that
    /// is not Available, has as many links as one can have, or was sent before the account was reset.
    pub async fn create_link(
        &self,
        caller: &Caller,
        id: TransferId,
        terms: &LinkTerms,
        password: Option<&Zeroizing<String>>,
    ) -> Result<LinkView, ServiceError> {
        self.may_send()?;
        // What is refused anyway costs no Argon2id.
        let record = self.own(caller, id).await?;
        let none = (&PasswordKey::none(), &PasswordBlock::none());
        match self.mint(caller, record.clone(), terms, none).await {
            Err(error) if !self.has_changed(&record).await? => return Err(error),
            _ => {}
        }
        let (key, block) = self.new_password(password).await?;
        for _ in 0..TRIES {
            let record = self.own(caller, id).await?;
            let minted = self.mint(caller, record.clone(), terms, (&key, &block)).await;
            let (change, link, transfer_key) = match minted {
                // The slot that was read may be that of another version: decided anew.
                Err(_) if self.has_changed(&record).await? => continue,
                minted => minted?,
            };
            let after = Record { transfer: change.record().clone(), ..record };
            match self.commit(change).await {
                Err(StoreError::Conflict) => {}
                done => {
                    done?;
                    let view = self.view(&after, Some(&transfer_key), Some(&caller.key));
                    return of(view.links, link);
                }
            }
        }
        Err(ServiceError::Unavailable("the transfer kept changing".to_owned()))
    }

    /// Whether a record is another by now than was read.
    pub(super) async fn has_changed(&self, record: &Record) -> Result<bool, ServiceError> {
        let read = &record.transfer;
        let now = self.records.transfer(read.team(), read.id()).await?;
        Ok(now.is_none_or(|now| now.transfer.version() != read.version()))
    }

    async fn mint(
        &self,
        caller: &Caller,
        record: Record,
        terms: &LinkTerms,
        (password, block): (&PasswordKey, &PasswordBlock),
    ) -> Result<(crate::transfer::Change, LinkId, TransferKey), ServiceError> {
        let context = self.context(caller.actor(), &caller.asker);
        let id = record.transfer.id();
        if !record.transfer.state().is_live() || context.now >= record.transfer.deadline() {
            return Err(ServiceError::Ended);
        }
        let deadline = terms.deadline(&record.transfer, context.now)?;
        let slot = self.records.slot(record.transfer.team(), id, SlotOwner::Owner).await?;
        let slot = slot.ok_or(ServiceError::Ended)?;
        let key = self.owner_key(caller, &record, &slot).ok_or_else(|| {
            let why = "the account got a new key since this was sent: it can only be ended";
            ServiceError::Conflict(why.to_owned())
        })?;
        let n = record.transfer.next_n();
        let secret = caller.key.link_secret(id.as_bytes(), n);
        let link = LinkId::from_bytes(secret.link_id(caller.team.shard));
        let until = record.transfer.slot_deadline(deadline).as_millis();
        let slot =
            seal_slot(&self.keks, &secret, password, block, id.as_bytes(), link.as_bytes(), until, &key);
        let new = NewLink {
            id: link,
            n: Some(n),
            downloads: terms.downloads,
            deadline,
            label: terms.label.clone(),
            password: block.is_set().then(|| Sealed(block.as_bytes().to_vec())),
            slot: slot.as_bytes().to_vec(),
        };
        Ok((record.transfer.add_link(new, &context)?, link, key))
    }

    /// A link of a transfer of the caller's team: with its secret where the caller may have it.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub async fn link(
        &self,
        caller: &Caller,
        id: TransferId,
        link: LinkId,
    ) -> Result<LinkView, ServiceError> {
        of(self.show(caller, id).await?.links, link)
    }

    /// Takes a link back: its slot is destroyed, and what is fetched through it is cut within seconds. Repeated, it succeeds again.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown id, another team's transfer and another transfer's link;
    /// [`ServiceError::CapabilityMissing`] for a member who did not send it.
    pub async fn revoke_link(
        &self,
        caller: &Caller,
        id: TransferId,
        link: LinkId,
    ) -> Result<(), ServiceError> {
        for _ in 0..TRIES {
            let record = self.records.transfer(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
            if record.transfer.link(link).is_none() {
                return Err(ServiceError::NotFound);
            }
            caller.require_to_end(&record.transfer)?;
            let context = self.context(caller.actor(), &caller.asker);
            let Some(change) = record.transfer.revoke_link(link, &context)? else { return Ok(()) };
            match self.commit(change).await {
                Err(StoreError::Conflict) => {}
                done => return Ok(done?),
            }
        }
        Err(ServiceError::Unavailable("the transfer kept changing".to_owned()))
    }
}

fn of(links: Vec<LinkView>, id: LinkId) -> Result<LinkView, ServiceError> {
    links.into_iter().find(|link| link.id == id).ok_or(ServiceError::NotFound)
}
