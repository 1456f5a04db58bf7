//! Completing a transfer: its link is minted and it can be fetched, in one commit.

use super::view::{LinkView, TransferView, link_view};
use super::{Caller, Service, ServiceError};
use crate::crypto::{TransferKey, seal_slot};
use crate::failpoint;
use crate::storage::StoreError;
use crate::storage::records::Record;
use crate::transfer::lease::{Counts, LeaseSummary};
use crate::transfer::policy::Settled;
use crate::transfer::{Journal, LinkId, NewLink, Sealed, State, Transfer, WholeFile};

/// A transfer that was sent, and the link to hand out.
#[derive(Debug)]
pub struct Sent {
    /// The transfer, as its owner sees it.
    pub transfer: TransferView,
    /// Its link; absent if an absolute deadline passed while the bytes came.
    pub link: Option<LinkView>,
}

impl Service {
    /// Ends the sending: the last file, the options and the link become one commit.
    pub(super) async fn complete(
        &self,
        caller: &Caller,
        (transfer, key): (Transfer, &TransferKey),
        last: Option<WholeFile>,
        terms: Settled,
    ) -> Result<Sent, ServiceError> {
        let (password, block) = self.new_password(terms.password.as_ref()).await?;
        let context = self.context(caller.actor(), &caller.asker);
        self.still_stands(caller, context.now).await?;
        let id = transfer.id();
        let deadline = terms.expires.from(context.now);
        let n = transfer.next_n();
        let secret = caller.key.link_secret(id.as_bytes(), n);
        let link = LinkId::from_bytes(secret.link_id(caller.team.shard));
        let slot = seal_slot(
            &self.keks,
            &secret,
            &password,
            &block,
            id.as_bytes(),
            link.as_bytes(),
            deadline.as_millis(),
            key,
        );
        let new = NewLink {
            id: link,
            n: Some(n),
            downloads: terms.downloads,
            deadline: None,
            label: None,
            password: block.is_set().then(|| Sealed(block.as_bytes().to_vec())),
            slot: slot.as_bytes().to_vec(),
        };
        let owner_slot = self.owner_slot(caller, id, deadline, key);
        let reschedules = transfer.expires() != terms.expires;
        let complete = |transfer: Transfer, context: &_| transfer.complete(vec![new], owner_slot, context);
        let rescheduled_and_complete = |transfer: Transfer, context: &_| {
            if reschedules {
                transfer.reschedule(terms.expires, context)?.and_then(complete)
            } else {
                complete(transfer, context)
            }
        };
        let change = match last {
            Some(whole) => transfer.finish_file(whole, &context)?.and_then(rescheduled_and_complete)?,
            None => rescheduled_and_complete(transfer, &context)?,
        };
        let record = Record {
            transfer: change.record().clone(),
            journal: Journal::default(),
            counts: Vec::new(),
            leases: LeaseSummary::default(),
        };
        failpoint::hit("before_commit");
        let committed = self.commit(change).await;
        failpoint::hit("after_commit");
        match committed {
            // Nobody else writes to a transfer in Uploading but to end it.
            Err(StoreError::Conflict) => return Err(ServiceError::Ended),
            done => done?,
        }
        let available = record.transfer.state() == State::Available;
        let view = self.view(&record, Some(key), Some(&caller.key));
        let link = record
            .transfer
            .link(link)
            .filter(|_| available)
            .map(|link| link_view(&self.rules.public_url, &view, link, Counts::default(), Some(&secret)));
        Ok(Sent { transfer: view, link })
    }
}
