//! The outbox: events that are not yet in the log.

use redis::Value;

use super::super::{OutboxEntry, OutboxLength, StoreError};
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::transfer::Event;

/// The number in an entry's id, `0-<number>`.
fn seq(id: &str) -> Result<u64, StoreError> {
    let number = id.strip_prefix("0-").and_then(|number| number.parse().ok());
    number
        .ok_or_else(|| StoreError::Unavailable(format!("the outbox has an entry {id} that is none of ours")))
}

impl RedisRecords {
    pub(super) async fn append_events(&self, events: &[Event]) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let shard = Shard::ACCESS;
        let mut call = Call::new(&scripts::APPEND, [shard.outbox(), shard.told()]);
        for event in events {
            call = call.arg(&event.id).bytes(serde_json::to_vec(event)?);
        }
        self.write(shard, call, Lost::SendAgain).await
    }

    pub(super) async fn read_outbox(
        &self,
        shard: Shard,
        after: u64,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut ask = redis::pipe();
        let from = format!("(0-{after}");
        ask.cmd("XRANGE").arg(shard.outbox()).arg(from).arg("+").arg("COUNT").arg(limit);
        let entries: Vec<(String, Vec<String>)> = self.read_one(shard, &ask).await?;
        let entries = entries.into_iter().map(|(id, fields)| {
            let event = fields.get(1).map_or("", String::as_str);
            Ok(OutboxEntry { seq: seq(&id)?, event: serde_json::from_str(event)? })
        });
        entries.collect()
    }

    pub(super) async fn roll_outbox(
        &self,
        shard: Shard,
        to: u64,
        events: &[Event],
    ) -> Result<(), StoreError> {
        let mut call =
            Call::new(&scripts::ROLL, [shard.outbox(), shard.told()]).arg(to).arg(to.saturating_add(1));
        for event in events {
            call = call.arg(&event.id).bytes(serde_json::to_vec(event)?);
        }
        self.write(shard, call, Lost::SendAgain).await
    }

    pub(super) async fn trim_outbox(&self, shard: Shard, up_to: u64) -> Result<(), StoreError> {
        let call =
            Call::new(&scripts::TRIM, [shard.outbox(), shard.told()]).arg(up_to).arg(up_to.saturating_add(1));
        self.write(shard, call, Lost::SendAgain).await
    }

    pub(super) async fn length_of_outbox(&self, shard: Shard) -> Result<OutboxLength, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("XINFO").arg("STREAM").arg(shard.outbox());
        let answer = self.read(shard, &mut ask).await?.pop().unwrap_or(Ok(Value::Nil));
        // Before the first event there is no stream.
        if answer.as_ref().is_err_and(|error| error.detail() == Some("no such key")) {
            return Ok(OutboxLength::default());
        }
        let mut told: std::collections::HashMap<String, Value> = parsed(answer)?;
        let mut value = |name: &str| Ok(told.remove(name).unwrap_or(Value::Nil));
        let last: String = parsed(value("last-generated-id"))?;
        Ok(OutboxLength { entries: parsed(value("length"))?, last: seq(&last)? })
    }
}
