//! What teams use of their quotas, and the list of a team's transfers.

use redis::Value;

use super::super::StoreError;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::transfer::quota::{Holding, Limits, Quantity, QuotaExceeded, Usage};
use crate::transfer::{TeamId, TransferId};

/// The three numbers, as the scripts read them and the record keeps them.
pub(super) fn numbers(of: impl Fn(Quantity) -> u64) -> String {
    Quantity::ALL.map(|what| of(what).to_string()).join(" ")
}

/// The most of each; empty where nothing is limited.
pub(super) fn limits(limits: Option<&Limits>) -> String {
    limits.map_or_else(String::new, |limits| numbers(|what| limits.most(what)))
}

/// What `commit.lua` says of a limit: `<what> <limit> <used>`.
pub(super) fn exceeded(answer: &str) -> Option<QuotaExceeded> {
    let mut words = answer.split(' ');
    let (what, limit, used) = (words.next()?, words.next()?, words.next()?);
    let what = Quantity::ALL.into_iter().find(|one| one.as_str() == what)?;
    Some(QuotaExceeded { what, limit: limit.parse().ok()?, used: used.parse().ok()? })
}

impl RedisRecords {
    pub(super) async fn read_usage(&self, team: TeamId) -> Result<Usage, StoreError> {
        let shard = self.shard_of(team).await?;
        let mut ask = redis::pipe();
        ask.cmd("HMGET").arg(shard.used(team)).arg(&Quantity::ALL.map(Quantity::as_str)).arg("moves");
        let found: Vec<Option<i64>> = self.read_one(shard, &ask).await?;
        // What was set by hand may be below nothing.
        let number = |n: usize| found.get(n).copied().flatten().map_or(0, |n| u64::try_from(n).unwrap_or(0));
        let held = Holding { bytes: number(0), transfers: number(1), uploads: number(2) };
        Ok(Usage { held, moves: number(3) })
    }

    pub(super) async fn write_usage(
        &self,
        team: TeamId,
        moves: u64,
        held: Holding,
    ) -> Result<bool, StoreError> {
        let shard = self.shard_of(team).await?;
        let mut call = Call::new(&scripts::USAGE, [shard.used(team)]).arg(moves);
        for what in Quantity::ALL {
            call = call.arg(held.of(what));
        }
        self.write(shard, call, Lost::Fail).await
    }

    pub(super) async fn list_transfers(
        &self,
        team: TeamId,
        before: Option<TransferId>,
        limit: usize,
    ) -> Result<Vec<TransferId>, StoreError> {
        let shard = self.shard_of(team).await?;
        let from = before.map_or_else(|| "+".to_owned(), |id| format!("({id}"));
        let mut ask = redis::pipe();
        ask.cmd("ZRANGE").arg(shard.list(team)).arg(from).arg("-");
        ask.arg("BYLEX").arg("REV").arg("LIMIT").arg(0).arg(limit);
        let answer = self.read(shard, &mut ask).await?.pop().unwrap_or(Ok(Value::Nil));
        let ids: Vec<String> = parsed(answer)?;
        let damaged = |_| StoreError::Unavailable("the list of a team's transfers is damaged".to_owned());
        ids.into_iter().map(|id| id.parse().map_err(damaged)).collect()
    }
}
