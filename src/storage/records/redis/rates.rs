//! Limits of requests, which hold over all instances.

use super::super::StoreError;
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::transfer::rate::{Ask, Counted, Rate, Taken};

impl RedisRecords {
    /// No replica is waited for: what a failover forgets is a burst.
    pub(super) async fn take_from(&self, of: Counted, rate: Rate, ask: Ask) -> Result<Taken, StoreError> {
        let shard = match of {
            Counted::Token(_) => Shard::ACCESS,
            // A link of no shard opens nothing, and costs nothing.
            Counted::Link(link) => match self.shard_of_link(link) {
                Some(shard) => shard,
                None => return Ok(Taken::of(rate, ask.want, 0)),
            },
        };
        let call = Call::new(&scripts::RATE, [shard.rate(of)])
            .arg(rate.per_second)
            .arg(rate.burst)
            .arg(ask.want)
            .arg(ask.back);
        // Taken twice is stricter than it need be; given back twice would be too much.
        let lost = if ask.back == 0 { Lost::SendAgain } else { Lost::Fail };
        let answer = self.run(shard, &[call], lost).await?.pop();
        let (granted, owed) = parsed(answer.unwrap_or(Ok(redis::Value::Nil)))?;
        Ok(Taken::of(rate, granted, owed))
    }
}
