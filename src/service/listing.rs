//! The transfers of a team, newest first, a page at a time.

use futures_util::future::try_join_all;

use super::{Caller, Service, ServiceError, TransferView};
use crate::transfer::{State, TransferId};

/// Places of the list that are looked at for one page; with a state that few have, a page may hold less than was asked for, and
/// still have a next one.
const LOOKED_AT: usize = 1000;

/// A page.
#[derive(Debug)]
pub struct Listing {
    /// Newest first.
    pub items: Vec<TransferView>,
    /// Behind which transfer the next page begins; absent: this was the last one.
    pub next: Option<TransferId>,
}

impl Service {
    /// Up to `limit` transfers of the caller's team that are older than `before`, in that state.
    ///
    /// # Errors
    /// The record store's. A record that cannot be read is logged and left out.
    pub async fn list(
        &self,
        caller: &Caller,
        state: Option<State>,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Listing, ServiceError> {
        let team = caller.team.id;
        // One more than the page tells whether there is another.
        let looks_at = if state.is_some() { LOOKED_AT.max(limit + 1) } else { limit + 1 };
        let ids = self.records.list(team, before, looks_at).await?;
        let mut wanted: Vec<TransferId> = match state {
            None => ids.clone(),
            Some(state) => {
                let states = self.records.states(&ids).await?;
                ids.iter().zip(states).filter(|(_, found)| *found == Some(state)).map(|(id, _)| *id).collect()
            }
        };
        let next = if wanted.len() > limit {
            wanted.truncate(limit);
            wanted.last().copied()
        } else {
            ids.last().copied().filter(|_| ids.len() == looks_at)
        };
        let records = self.records.transfers(wanted.into_iter().map(|id| (team, id)).collect()).await?;
        let mut shown = Vec::with_capacity(records.len());
        for record in records {
            match record {
                // It may have gone on meanwhile.
                Ok(Some(record)) if state.is_none_or(|state| record.transfer.state() == state) => {
                    shown.push(record);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "a transfer cannot be read, and is left out of the list"
                    );
                }
            }
        }
        let items = try_join_all(shown.iter().map(|record| self.shown(caller, record))).await?;
        Ok(Listing { items, next })
    }
}
