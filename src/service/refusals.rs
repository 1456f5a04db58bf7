//! Refusals on record: one event a (link or address, code, minute) with a count, so that the log is no weapon (DESIGN §9).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::{Asker, Service, ServiceError};
use crate::transfer::{Actor, EventType, LinkId, Outcome};

/// More different refusals than this in one minute share a line without link or address.
const MOST: usize = 10_000;

/// What was refused, and to whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Refusal {
    /// What was asked for.
    pub kind: EventType,
    /// The link that was named.
    pub link: Option<LinkId>,
    /// The address, where no link was named.
    pub client: Option<String>,
    /// The problem code.
    pub code: &'static str,
}

/// The refusals that are not yet on record.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<HashMap<Refusal, u64>>);

impl Refusals {
    /// Counts one.
    pub fn note(&self, mut refusal: Refusal) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MOST && !waiting.contains_key(&refusal) {
            (refusal.link, refusal.client) = (None, None);
        }
        *waiting.entry(refusal).or_default() += 1;
    }
}

impl Service {
    /// Puts the refusals of the last minute on record.
    ///
    /// # Errors
    /// The record store's; they are kept and tried again.
    pub async fn record_refusals(&self) -> Result<usize, ServiceError> {
        let noted = std::mem::take(&mut *self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner));
        if noted.is_empty() {
            return Ok(0);
        }
        let context = self.context(Actor::Anonymous, &Asker::default());
        let events = noted
            .iter()
            .enumerate()
            .map(|(n, (refusal, count))| {
                let mut event = context.event(n, refusal.kind);
                event.outcome = Outcome::Refused;
                event.link = refusal.link;
                event.client.clone_from(&refusal.client);
                event.reason = Some(refusal.code.to_owned());
                event.count = Some(*count);
                event
            })
            .collect();
        if let Err(error) = self.records.append(events).await {
            let mut waiting = self.refusals.0.lock().unwrap_or_else(PoisonError::into_inner);
            for (refusal, count) in noted {
                *waiting.entry(refusal).or_default() += count;
            }
            return Err(error.into());
        }
        self.outbox.ring();
        Ok(noted.len())
    }
}
