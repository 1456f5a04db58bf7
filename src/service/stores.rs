//! Whether the record store and the blob store belong together: both carry one random id (DESIGN §7).

use std::fmt;

use super::{Service, ServiceError};

/// Objects that are counted for whoever is about to join stores.
const COUNTED: usize = 1000;

/// The ids of both stores, and what is in them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreIds {
    /// The record store's.
    pub records: Option<String>,
    /// The blob store's.
    pub blobs: Option<String>,
    /// Objects in the blob store, counted up to 1,000.
    pub objects: usize,
    /// Of these, how many the records know.
    pub known: usize,
}

impl StoreIds {
    /// Both have the same one.
    #[must_use]
    pub fn belong_together(&self) -> bool {
        self.records.is_some() && self.records == self.blobs
    }
}

impl fmt::Display for StoreIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
        let more = if self.objects == COUNTED { "at least " } else { "" };
        writeln!(f, "Records: store id {}", id(&self.records))?;
        writeln!(f, "Objects: store id {}; {more}{} objects", id(&self.blobs), self.objects)?;
        write!(
            f,
            "The records know {} of these objects; the sweep deletes what they do not know.",
            self.known
        )
    }
}

impl Service {
    /// Unequal, or missing beside data, the stores do not belong together.
    ///
    /// # Errors
    /// [`ServiceError::Conflict`] with what to do.
    pub async fn check_store_ids(&self) -> Result<(), ServiceError> {
        let records = self.records.meta("store-id").await?;
        let blobs = self.blobs.store_id().await?;
        if records.is_some() && records == blobs {
            return Ok(());
        }
        let show = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
        Err(ServiceError::Conflict(format!(
            "the record store (id {}) and the blob store (id {}) do not belong together: check which database and which \
             directory or bucket are configured; if they are the right ones, `burnbag adopt` joins them",
            show(&records),
            show(&blobs),
        )))
    }

    /// Joins two new stores, or checks that two old ones belong together.
    ///
    /// # Errors
    /// As [`Service::check_store_ids`].
    pub async fn join_stores(&self) -> Result<(), ServiceError> {
        let records = self.records.meta("store-id").await?;
        let blobs = self.blobs.store_id().await?;
        match (records, blobs) {
            (None, None) if self.blobs.list(None, 1).await?.is_empty() => {
                let id = self.records.set_meta("store-id", &new_id()).await?;
                self.blobs.set_store_id(&id).await?;
            }
            // The first start was cut off between the two.
            (Some(id), None)
                if self.blobs.list(None, 1).await?.is_empty()
                    && self.records.next_due(0).await?.is_none() =>
            {
                self.blobs.set_store_id(&id).await?;
            }
            _ => {}
        }
        self.check_store_ids().await
    }

    /// What is there, for whoever decides whether to join them.
    ///
    /// # Errors
    /// The stores'.
    pub async fn store_ids(&self) -> Result<StoreIds, ServiceError> {
        let listed = self.blobs.list(None, COUNTED).await?;
        let keys = listed.iter().filter_map(|object| object.key.parse::<crate::transfer::BlobKey>().ok());
        let transfers: Vec<_> = keys.map(|key| key.transfer).collect();
        let known = self.records.states(&transfers).await?.iter().flatten().count();
        Ok(StoreIds {
            records: self.records.meta("store-id").await?,
            blobs: self.blobs.store_id().await?,
            objects: listed.len(),
            known,
        })
    }

    /// Joins the stores on purpose, under the records' id. Returns it.
    ///
    /// # Errors
    /// The stores'.
    pub async fn adopt(&self) -> Result<String, ServiceError> {
        let fallback = self.blobs.store_id().await?.unwrap_or_else(new_id);
        let id = self.records.set_meta("store-id", &fallback).await?;
        self.blobs.replace_store_id(&id).await?;
        self.check_store_ids().await?;
        Ok(id)
    }
}

fn new_id() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}
