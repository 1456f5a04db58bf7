//! Purging: the objects of ended transfers are deleted, that is confirmed, and only then is it recorded.

use futures_util::future::join_all;

use super::{Service, ServiceError};
use crate::failpoint;
use crate::storage::BlobError;
use crate::transfer::{BlobKey, FileState, State, Transfer};

/// Transfers whose uploads are aborted at once.
const ABORTS: usize = 16;

impl Service {
    /// Deletes the objects of these ended or purged transfers and commits what was confirmed. Returns how many.
    pub async fn purge(&self, transfers: Vec<Transfer>) -> usize {
        let mut aborted = Vec::with_capacity(transfers.len());
        for some in transfers.chunks(ABORTS) {
            aborted.extend(join_all(some.iter().map(|transfer| self.abort_uploads(transfer))).await);
        }
        let mut gone = Vec::with_capacity(transfers.len());
        let keys: Vec<BlobKey> = transfers.iter().flat_map(Transfer::blob_keys).cloned().collect();
        failpoint::hit("before_delete");
        let mut answers = self.blobs.delete(&keys).await.into_iter();
        failpoint::hit("after_delete");
        for (transfer, aborted) in transfers.into_iter().zip(aborted) {
            let mine: Vec<_> = answers.by_ref().take(transfer.blob_keys().count()).collect();
            let deleted = mine.into_iter().collect::<Result<Vec<()>, BlobError>>();
            match aborted.and(deleted.map(drop).map_err(ServiceError::from)) {
                Ok(()) => gone.push(transfer),
                Err(error) => self.put_off(&transfer, &error).await,
            }
        }
        let mut changes = Vec::with_capacity(gone.len());
        for transfer in gone {
            let id = transfer.id();
            match self.purged(transfer) {
                Ok(change) => changes.push(change),
                Err(error) => tracing::error!(transfer = %id, %error, "a purge was not decided"),
            }
        }
        let purged = self.commit_due(changes).await.changed;
        failpoint::hit("after_purge");
        purged
    }

    fn purged(
        &self,
        transfer: Transfer,
    ) -> Result<crate::transfer::Change, crate::transfer::InvalidTransition> {
        let context = self.system();
        if transfer.state() == State::Purged {
            return transfer.looked_again(&context);
        }
        // Whoever was writing when it ended may still finish an object after the delete.
        let was_uploading = transfer.ended().is_some_and(|ended| ended.from == State::Uploading);
        let second_look = was_uploading.then(|| context.now.after(self.blobs.longest_attempt()));
        transfer.purge(second_look, context.now.after(self.rules.tombstones), &context)
    }

    /// Aborts what was under way: what the journal says, and what the store lists for the same keys, since an upload whose
    /// beginning was not answered is in no journal.
    async fn abort_uploads(&self, transfer: &Transfer) -> Result<(), ServiceError> {
        if transfer.ended().is_none_or(|ended| ended.from != State::Uploading) {
            return Ok(());
        }
        let Some(record) = self.records.transfer(transfer.team(), transfer.id()).await? else {
            return Ok(());
        };
        for file in transfer.files().iter().filter(|file| file.state != FileState::Whole) {
            let upload = record.journal.files.get(&file.id).and_then(|journal| journal.upload.as_deref());
            for object in &file.objects {
                self.blobs.abort(&object.key, upload).await?;
            }
        }
        Ok(())
    }

    async fn put_off(&self, transfer: &Transfer, error: &ServiceError) {
        let (team, id) = (transfer.team(), transfer.id());
        self.metrics.put_off();
        tracing::error!(transfer = %id, %error, "objects not deleted; tried again later");
        let retry = async {
            let Some(record) = self.records.transfer(team, id).await? else { return Ok(()) };
            let at = self.clock.now().after(record.journal.backoff());
            self.records.retry(team, id, at).await
        };
        if let Err(error) = retry.await {
            tracing::error!(transfer = %id, error = &error as &dyn std::error::Error, "retry not noted; the claim comes back");
        }
    }
}
