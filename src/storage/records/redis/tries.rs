//! Failed tries at passwords and tokens: decided in [`crate::transfer::tries`] on what was read, and written if that still holds.

use redis::Value;

use super::super::StoreError;
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::clock::Timestamp;
use crate::transfer::tries::{Tried, Tries, TryAnswer};
use crate::transfer::{Event, LinkId, OperationId, TeamId, TransferId};

/// Only a try that is taken gets in another one's way, and few are until the next must wait.
const ATTEMPTS: usize = 100;

/// What was read.
struct Seen {
    now: Timestamp,
    was: String,
    tries: Tries,
}

/// Where tries are kept: with their link, or in shard 0.
struct Place {
    shard: Shard,
    keys: Vec<String>,
}

impl RedisRecords {
    /// None for a link of a shard that there is not.
    fn place_of(&self, of: &Tried) -> Option<Place> {
        match of {
            Tried::Link(link) => {
                let shard = self.shard_of_link(*link)?;
                Some(Place { shard, keys: vec![shard.tries(link), shard.link(*link)] })
            }
            Tried::Address(address) => {
                Some(Place { shard: Shard::ACCESS, keys: vec![Shard::ACCESS.tries(address)] })
            }
        }
    }

    async fn seen(&self, place: &Place) -> Result<Seen, StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(&place.keys[..1]).cmd("TIME");
        let mut answers = self.read(place.shard, &mut ask).await?.into_iter();
        let mut next = || answers.next().unwrap_or(Ok(Value::Nil));
        let was = parsed::<Option<String>>(next())?.unwrap_or_default();
        let (seconds, micros): (u64, u64) = parsed(next())?;
        let tries = if was.is_empty() { Tries::default() } else { serde_json::from_str(&was)? };
        Ok(Seen { now: Timestamp::from_millis(seconds * 1000 + micros / 1000), was, tries })
    }

    pub(super) async fn take_a_try(&self, of: &Tried, id: OperationId) -> Result<TryAnswer, StoreError> {
        let Some(place) = self.place_of(of) else { return Ok(TryAnswer::Gone) };
        for _ in 0..ATTEMPTS {
            let Seen { now, was, mut tries } = self.seen(&place).await?;
            let before = tries.clone();
            let answer = tries.take(of, id, now);
            if answer != TryAnswer::Taken || tries == before {
                return Ok(answer);
            }
            let forgotten = tries.forgotten(of).map_or_else(String::new, |at| at.as_millis().to_string());
            let call = Call::new(&scripts::TRY, place.keys.iter().cloned())
                .arg(was)
                .bytes(serde_json::to_vec(&tries)?)
                .arg(forgotten);
            match self.write::<String>(place.shard, call, Lost::SendAgain).await?.as_str() {
                "done" => return Ok(answer),
                "gone" => return Ok(TryAnswer::Gone),
                _ => {}
            }
        }
        Err(StoreError::Unavailable("tries of one link or address changed at every try".to_owned()))
    }

    pub(super) async fn give_a_try_back(&self, of: &Tried, id: OperationId) -> Result<(), StoreError> {
        let Some(place) = self.place_of(of) else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Seen { was, mut tries, .. } = self.seen(&place).await?;
            let before = tries.clone();
            tries.give_back(id);
            if tries == before {
                return Ok(());
            }
            let left = if tries.failures() == 0 { Vec::new() } else { serde_json::to_vec(&tries)? };
            let forgotten = tries.forgotten(of).map_or_else(String::new, |at| at.as_millis().to_string());
            let call =
                Call::new(&scripts::TRY_BACK, place.keys.iter().cloned()).arg(was).bytes(left).arg(forgotten);
            if self.write::<String>(place.shard, call, Lost::SendAgain).await? != "again" {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable("tries of one link or address changed at every try".to_owned()))
    }

    pub(super) async fn read_failed_tries(
        &self,
        team: TeamId,
        links: &[LinkId],
    ) -> Result<Vec<u32>, StoreError> {
        let shard = self.shard_of(team).await?;
        let mut ask = redis::pipe();
        for link in links {
            ask.cmd("GET").arg(shard.tries(link));
        }
        let mut failed = Vec::with_capacity(links.len());
        for answer in self.read(shard, &mut ask).await? {
            let tries: Option<Tries> =
                parsed::<Option<String>>(answer)?.map(|text| serde_json::from_str(&text)).transpose()?;
            failed.push(tries.map_or(0, |tries| tries.failures()));
        }
        Ok(failed)
    }

    pub(super) async fn drop_tries(
        &self,
        team: TeamId,
        transfer: TransferId,
        link: LinkId,
        event: &Event,
    ) -> Result<(), StoreError> {
        let shard = self.shard_of(team).await?;
        let keys =
            [shard.tries(link), shard.link(link), shard.record(transfer), shard.outbox(), shard.told()];
        let call = Call::new(&scripts::UNLOCK, keys)
            .arg(transfer)
            .arg(team)
            .arg(&event.id)
            .bytes(serde_json::to_vec(event)?);
        match self.write::<String>(shard, call, Lost::SendAgain).await?.as_str() {
            "done" => Ok(()),
            _ => Err(StoreError::NotFound),
        }
    }
}
