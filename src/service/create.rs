//! Creating a transfer: drawn, checked and on record before its first byte is taken.

use super::append::begin_file;
use super::upload::NewUpload;
use super::{Caller, Service, ServiceError};
use crate::crypto::{OWNER, PasswordBlock, PasswordKey, TransferKey, seal_slot};
use crate::transfer::policy::Expires;
use crate::transfer::{FileId, HARD_END, NewTransfer, Transfer, TransferId};

/// A transfer that takes files, with the key that only this request holds.
pub(super) struct Draft {
    pub(super) transfer: Transfer,
    pub(super) key: TransferKey,
    /// The file that its first commit began.
    pub(super) first: FileId,
}

impl Service {
    /// What can be told before a file's first byte is asked for.
    ///
    /// # Errors
    /// The log cannot be written, the file is too large, or there is no room.
    pub(super) async fn admit_file(&self, length: Option<u64>) -> Result<(), ServiceError> {
        if let (Some(limit), Some(length)) = (self.rules.policy.max_upload_bytes, length)
            && length > limit
        {
            return Err(ServiceError::FileTooLarge { limit });
        }
        self.admit_upload(length).await
    }

    /// What can be told from the head of a request that brings `length` bytes, files or not.
    ///
    /// # Errors
    /// The log cannot be written, or there is no room.
    pub async fn admit_upload(&self, length: Option<u64>) -> Result<(), ServiceError> {
        self.gate.uploads()?;
        let needed = self.rules.min_free_bytes.saturating_add(length.unwrap_or(0));
        match self.blobs.free().await? {
            Some(free) if free < needed => {
                Err(ServiceError::Full(format!("{free} bytes are free, {needed} are needed")))
            }
            _ => Ok(()),
        }
    }

    /// Commits a new transfer in Uploading, with its first file begun.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        expires: Expires,
        first: &NewUpload,
    ) -> Result<Draft, ServiceError> {
        let context = self.context(caller.actor(), &caller.asker);
        let id = TransferId::generate(context.now);
        let key = TransferKey::generate();
        let transfer = Transfer::create(
            NewTransfer {
                id,
                team: caller.team.id,
                owner: caller.account.id,
                expires,
                commitment: key.commitment(id.as_bytes()),
                owner_slot: self.owner_slot(caller, id, context.now.after(HARD_END), &key),
                upload_deadline: context.now.after(self.rules.upload_idle),
            },
            &context,
        );
        let new = begin_file(&key, caller.team.shard, id, first, (context.now, self.rules.upload_idle));
        let file = new.id;
        let change = transfer.and_then(|transfer, context| transfer.start_file(new, context))?;
        let transfer = change.record().clone();
        self.commit(change).await?;
        Ok(Draft { transfer, key, first: file })
    }

    /// The owner's slot: its secret comes from the account key, so the owner's token alone opens it.
    pub(super) fn owner_slot(
        &self,
        caller: &Caller,
        id: TransferId,
        deadline: crate::clock::Timestamp,
        key: &TransferKey,
    ) -> Vec<u8> {
        let secret = caller.key.owner_secret(id.as_bytes());
        let (password, block) = (PasswordKey::none(), PasswordBlock::none());
        let deadline = deadline.as_millis();
        seal_slot(&self.keks, &secret, &password, &block, id.as_bytes(), &OWNER, deadline, key)
            .as_bytes()
            .to_vec()
    }
}
