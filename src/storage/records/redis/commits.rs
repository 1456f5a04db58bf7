//! The door `commit`: a run of a script for a change, and for ends one for many.

use redis::Value;

use super::super::StoreError;
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::transfers::slot_field;
use super::{RedisRecords, parsed, usage};
use crate::clock::Timestamp;
use crate::transfer::{Change, LinkId, NewSlot, SlotOwner, SlotWrite, Slots, State, Transfer};

/// Ends that one run writes: nobody else is answered meanwhile, for about 2 ms.
const ENDS: usize = 50;

/// Absent is empty.
fn or_empty(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Every link that was neither taken back nor closed, as the scripts read them.
fn links(record: &Transfer) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for link in record.links().iter().filter(|link| link.revoked.is_none() && !link.closed) {
        let limit = link.downloads.map_or_else(|| "-".to_owned(), |limit| limit.to_string());
        let ends = link.deadline.map_or_else(|| "-".to_owned(), |ends| ends.as_millis().to_string());
        let _ = write!(text, "{} {limit} {ends},", link.id);
    }
    text
}

fn commit_call(shard: Shard, change: &Change) -> Result<Call, StoreError> {
    let (id, record) = (change.id(), change.record());
    let minted: Vec<LinkId> = match change.slots() {
        _ if change.forgets() => record.links().iter().map(|link| link.id).collect(),
        slots => slots
            .writes()
            .iter()
            .filter_map(|write| match write {
                SlotWrite::Put(NewSlot { owner: SlotOwner::Link(link), .. }) => Some(*link),
                _ => None,
            })
            .collect(),
    };
    let keys = [
        shard.record(id),
        shard.slots(id),
        shard.leases(id),
        shard.lease_ends(id),
        shard.due(),
        shard.purge(),
        shard.outbox(),
        shard.used(record.team()),
        shard.list(record.team()),
    ];
    let what = match change.slots() {
        Slots::Keep => "keep",
        Slots::Write(_) if change.slots().puts() => "put",
        Slots::Write(_) => "drop",
        Slots::Destroy => "destroy",
    };
    // What takes from somebody works in a full Redis too.
    let writes = record.state().is_live() && what != "drop";
    let script = if writes { &scripts::COMMIT } else { &scripts::TAKE };
    let slots = change.slots().writes();
    let tries = minted.iter().filter(|_| change.forgets()).map(|link| shard.tries(link));
    let of_links = minted.iter().map(|link| shard.link(*link)).chain(tries);
    let mut call = Call::new(script, keys.into_iter().chain(of_links))
        .arg(id)
        .arg(change.context().operation)
        .arg(or_empty(change.expected()))
        .arg(record.team())
        .arg(record.owner())
        .arg(if change.forgets() { "1" } else { "" })
        .arg(what)
        .arg(record.version())
        .arg(record.state().as_str())
        .arg(record.deadline().as_millis())
        .arg(or_empty(record.ended().map(|ended| ended.at.as_millis())))
        .arg(or_empty(record.second_look().map(Timestamp::as_millis)))
        .arg(or_empty(record.forget_at().map(Timestamp::as_millis)))
        .arg(links(record))
        .arg(or_empty(change.upload_deadline().map(Timestamp::as_millis)))
        .bytes(serde_json::to_vec(record)?)
        .arg(usage::numbers(|what| change.holding().of(what)))
        .arg(usage::limits(change.limits()))
        .arg(slots.len());
    for write in slots {
        let bytes = if let SlotWrite::Put(slot) = write { slot.bytes.as_slice() } else { &[] };
        call = call.arg(slot_field(write.owner())).bytes(bytes);
    }
    for event in change.events() {
        call = call.bytes(serde_json::to_vec(event)?);
    }
    Ok(call)
}

/// Whether it is one of those that `end.lua` writes.
fn ends(change: &Change) -> bool {
    let past = matches!(change.record().state(), State::Ended | State::Purged);
    past && change.expected().is_some()
        && !change.forgets()
        && change.slots().writes().is_empty()
        && change.upload_deadline().is_none()
}

fn end_call(shard: Shard, changes: &[&Change]) -> Result<Call, StoreError> {
    let mut call = Call::new(&scripts::END, [shard.due(), shard.purge(), shard.outbox()]);
    for change in changes {
        let (id, record) = (change.id(), change.record());
        call = call
            .keys([shard.record(id), shard.slots(id), shard.used(record.team())])
            .arg(id)
            .arg(change.context().operation)
            .arg(or_empty(change.expected()))
            .arg(record.team())
            .arg(record.owner())
            .arg(record.version())
            .arg(record.state().as_str())
            .arg(or_empty(record.ended().map(|ended| ended.at.as_millis())))
            .arg(or_empty(record.second_look().map(Timestamp::as_millis)))
            .arg(or_empty(record.forget_at().map(Timestamp::as_millis)))
            .bytes(serde_json::to_vec(record)?)
            .arg(usage::numbers(|what| change.holding().of(what)))
            .arg(if matches!(change.slots(), Slots::Destroy) { "1" } else { "" })
            .arg(change.events().len());
        for event in change.events() {
            call = call.bytes(serde_json::to_vec(event)?);
        }
    }
    Ok(call)
}

/// The script run for one change, or for some that are ends.
fn call(shard: Shard, changes: &[&Change]) -> Result<Call, StoreError> {
    match changes {
        [change] if !ends(change) => commit_call(shard, change),
        ends => end_call(shard, ends),
    }
}

impl RedisRecords {
    pub(super) async fn commit_changes(&self, changes: &[Change]) -> Vec<Result<(), StoreError>> {
        let shards = match self.by_shard(changes.iter().map(Change::team)).await {
            Ok(shards) => shards,
            Err(error) => return changes.iter().map(|_| Err(again(&error))).collect(),
        };
        let mut done: Vec<_> = changes.iter().map(|_| Ok(())).collect();
        for (shard, places) in shards {
            let (ends, others): (Vec<usize>, Vec<usize>) =
                places.into_iter().partition(|place| ends(&changes[*place]));
            let runs: Vec<&[usize]> = ends.chunks(ENDS).chain(others.chunks(1)).collect();
            let answers = self.run_commits(shard, changes, &runs).await;
            for (n, place) in runs.concat().into_iter().enumerate() {
                done[place] = match &answers {
                    Ok(answers) => answers[n].as_ref().map_err(again).and_then(|answer| applied(answer)),
                    Err(error) => Err(again(error)),
                };
            }
        }
        done
    }

    /// What is said of each change of each run, in this order.
    async fn run_commits(
        &self,
        shard: Shard,
        changes: &[Change],
        runs: &[&[usize]],
    ) -> Result<Vec<Result<String, StoreError>>, StoreError> {
        let calls = runs.iter().map(|run| {
            let of: Vec<&Change> = run.iter().map(|place| &changes[*place]).collect();
            call(shard, &of)
        });
        let calls = calls.collect::<Result<Vec<_>, _>>()?;
        let answers = self.write_all::<Value>(shard, &calls, Lost::SendAgain).await?;
        Ok(runs.iter().zip(answers).flat_map(|(run, answer)| told(answer, run.len())).collect())
    }
}

/// What a run says of each of its changes.
fn told(answer: Result<Value, StoreError>, changes: usize) -> Vec<Result<String, StoreError>> {
    let told = answer.and_then(|answer| match answer {
        Value::Array(_) => parsed::<Vec<String>>(Ok(answer)),
        one => parsed(Ok(one)).map(|one| vec![one]),
    });
    match told {
        Ok(told) if told.len() == changes => told.into_iter().map(Ok).collect(),
        Ok(_) => (0..changes).map(|_| Err(odd("a commit says nothing of a change"))).collect(),
        Err(error) => (0..changes).map(|_| Err(again(&error))).collect(),
    }
}

fn odd(what: &str) -> StoreError {
    StoreError::Unavailable(format!("Redis answered oddly: {what}"))
}

/// What a script says of a commit.
pub(super) fn applied(answer: &str) -> Result<(), StoreError> {
    match (answer, answer.strip_prefix("quota ").and_then(usage::exceeded)) {
        ("applied", _) => Ok(()),
        ("conflict", _) => Err(StoreError::Conflict),
        (_, Some(exceeded)) => Err(exceeded.into()),
        _ => Err(odd(answer)),
    }
}

/// The same error for another asker.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full(why) => StoreError::Full(why.clone()),
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        other => StoreError::Unavailable(other.to_string()),
    }
}
