//! Wakes the workers of every shard.

use std::sync::Arc;

use tokio::sync::Notify;

/// One bell with a wire to each shard's worker. A ring that nobody waits for is heard by the next who does.
#[derive(Clone, Debug)]
pub struct Bell(Arc<[Arc<Notify>]>);

impl Bell {
    /// For so many shards.
    #[must_use]
    pub fn new(shards: u8) -> Self {
        Self((0..shards).map(|_| Arc::default()).collect())
    }

    /// Wakes one worker of each shard.
    pub fn ring(&self) {
        self.0.iter().for_each(|wire| wire.notify_one());
    }

    /// What the worker of a shard waits on.
    #[must_use]
    pub fn of(&self, shard: u8) -> Arc<Notify> {
        self.0.get(usize::from(shard)).cloned().unwrap_or_default()
    }
}
