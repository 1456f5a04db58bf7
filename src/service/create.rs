//! Creating a transfer: drawn, checked and on record before its first byte is taken.

use std::time::Duration;

use super::append::begin_file;
use super::room::Promise;
use super::upload::NewUpload;
use super::{Caller, Service, ServiceError};
use crate::crypto::{OWNER, PasswordBlock, PasswordKey, TransferKey, seal_slot};
use crate::failpoint;
use crate::transfer::policy::Expires;
use crate::transfer::{FileId, HARD_END, NewTransfer, Transfer, TransferId};

/// A machine's clock may be so far behind the latest time that was seen. Past that, what is sent would get a wrong deadline.
const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

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
    pub(super) async fn admit_file(
        &self,
        caller: &Caller,
        length: Option<u64>,
    ) -> Result<Promise, ServiceError> {
        if let (Some(limit), Some(length)) = (self.policy_of(&caller.team).max_upload_bytes, length)
            && length > limit
        {
            return Err(ServiceError::FileTooLarge { limit });
        }
        self.may_send()?;
        self.promise(length).await
    }

    /// What can be told from the head of a request that brings `length` bytes, files or not.
    ///
    /// # Errors
    /// The log cannot be written, there is no room, or the team holds as much as it may.
    pub async fn admit_upload(&self, caller: &Caller, length: Option<u64>) -> Result<(), ServiceError> {
        self.may_send()?;
        self.look_at_quota(caller, length).await?;
        self.look(length.unwrap_or(0)).await
    }

    pub(super) fn may_send(&self) -> Result<(), ServiceError> {
        let behind = self.clock.behind();
        if behind > CLOCK_TOLERANCE {
            return Err(ServiceError::ClockBehind(behind));
        }
        Ok(self.gate.uploads()?)
    }

    /// Commits a new transfer in Uploading, with its first file begun and what it brings, `at_most` bytes in all its files,
    /// reserved of the team's quota.
    pub(super) async fn create(
        &self,
        caller: &Caller,
        expires: Expires,
        first: &NewUpload,
        at_most: Option<u64>,
    ) -> Result<Draft, ServiceError> {
        let context = self.context(caller.actor(), &caller.asker);
        let id = TransferId::generate(context.now);
        let key = TransferKey::generate();
        let new = NewTransfer {
            id,
            team: caller.team.id,
            owner: caller.account.id,
            expires,
            commitment: key.commitment(id.as_bytes()),
            owner_slot: self.owner_slot(caller, id, context.now.after(HARD_END), &key),
            upload_deadline: context.now.after(self.rules.upload_idle),
        };
        let begun = begin_file(&key, caller.team.shard, id, first, (context.now, self.rules.upload_idle));
        let file = begun.id;
        let decide = |bytes| {
            // What was refused is decided anew, at the same time: the slot holds that.
            let change = Transfer::create(new.clone(), &context.again(context.now))
                .and_then(|transfer, context| transfer.start_file(begun.clone(), context))?
                .and_then(|transfer, context| transfer.reserve(bytes, context))?;
            Ok(change)
        };
        let transfer = self.commit_reserving(caller, at_most, decide).await?;
        failpoint::hit("after_record");
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
