//! How full Redis is (DESIGN §7): past the first mark nothing new is sent, past the second nothing new is fetched, and what
//! ends makes room.

use redis::Value;

use super::super::{StoreError, StoreRoom};
use super::keys::Shard;
use super::{RedisRecords, parsed};

/// Parts of `maxmemory`, in per cent.
const UPLOADS_STOP: u64 = 80;
const DOWNLOADS_STOP: u64 = 90;
/// Bytes of events that wait for the log.
const OUTBOX: u64 = 64 << 20;

impl RedisRecords {
    /// What the fullest node has.
    pub(super) async fn look_at_room(&self) -> Result<StoreRoom, StoreError> {
        let mut found = StoreRoom::Enough;
        for shard in self.every_shard() {
            match self.look_at_node(shard).await? {
                full @ StoreRoom::ForEnds(_) => return Ok(full),
                StoreRoom::Enough => {}
                less @ StoreRoom::ForDownloads(_) => found = less,
            }
        }
        Ok(found)
    }

    async fn look_at_node(&self, shard: Shard) -> Result<StoreRoom, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("INFO").arg("memory");
        ask.cmd("MEMORY").arg("USAGE").arg(shard.outbox()).arg("SAMPLES").arg(20);
        let mut answers = self.read(shard, &mut ask).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let info: String = parsed(next())?;
        let waiting: u64 = parsed::<Option<u64>>(next())?.unwrap_or(0);
        let value = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u64>().ok()).unwrap_or(0)
        };
        let (used, most) = (value("used_memory"), value("maxmemory"));
        // Without a limit nothing can be said.
        let percent = used.saturating_mul(100).checked_div(most).unwrap_or(0);
        let full = || {
            format!(
                "Redis has {used} of its {most} bytes in use ({percent} %): raise its maxmemory, or wait until transfers end"
            )
        };
        if percent >= DOWNLOADS_STOP {
            return Ok(StoreRoom::ForEnds(full()));
        }
        if percent >= UPLOADS_STOP {
            return Ok(StoreRoom::ForDownloads(full()));
        }
        if waiting >= OUTBOX {
            return Ok(StoreRoom::ForDownloads(format!(
                "{waiting} bytes of events wait for the audit log: see why it is not written"
            )));
        }
        Ok(StoreRoom::Enough)
    }
}
