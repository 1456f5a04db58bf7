//! Transfers: reading them, and the doors `touch`, `claim` and `retry`.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use redis::Value;

use super::super::{Claim, Claimed, Opening, Place, Record, StoreError};
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::{RedisRecords, parsed};
use crate::clock::Timestamp;
use crate::transfer::lease::{Counts, LeaseSummary, is_exhausted};
use crate::transfer::{FileJournal, Journal, LinkId, SlotOwner, State, TeamId, Touch, Transfer, TransferId};

/// The fields of a record.
pub(super) type Fields = HashMap<String, String>;

fn damaged(what: &str) -> StoreError {
    StoreError::Unavailable(format!("a record is damaged: {what}"))
}

/// A value of a record that is a number or an id; absent and empty are the same.
fn value<T: FromStr>(fields: &Fields, name: &str) -> Result<Option<T>, StoreError> {
    let text = fields.get(name).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|_| damaged(name))).transpose()
}

fn instant(fields: &Fields, name: &str) -> Result<Option<Timestamp>, StoreError> {
    Ok(value(fields, name)?.map(Timestamp::from_millis))
}

/// The record that these fields are; none are none.
pub(super) fn record(fields: &Fields) -> Result<Option<Record>, StoreError> {
    let Some(core) = fields.get("core") else { return Ok(None) };
    let transfer: Transfer = serde_json::from_str(core)?;
    let counts = transfer.links().iter().map(|link| Ok((link.id, counts(fields, link.id)?)));
    let counts = counts.collect::<Result<Vec<_>, StoreError>>()?;
    let open = value(fields, "open")?.unwrap_or(0);
    let changed = instant(fields, "changed")?.unwrap_or_default();
    let counts_of =
        |link| counts.iter().find(|(id, _)| *id == link).map_or(Counts::default(), |(_, counts)| *counts);
    let leases = LeaseSummary {
        open,
        next_end: instant(fields, "next")?,
        exhausted: is_exhausted(&transfer, counts_of, open, changed),
        changed,
    };
    Ok(Some(Record { journal: journal(fields)?, transfer, counts, leases }))
}

fn counts(fields: &Fields, link: LinkId) -> Result<Counts, StoreError> {
    let Some(text) = fields.get(&format!("c:{link}")) else { return Ok(Counts::default()) };
    let damaged = || damaged("the counts of a link");
    let numbers: Vec<u64> =
        text.split(' ').map(str::parse).collect::<Result<_, _>>().map_err(|_| damaged())?;
    let (count, last) = match numbers[..] {
        [used, held, returned] => ([used, held, returned], None),
        [used, held, returned, last] => ([used, held, returned], Some(Timestamp::from_millis(last))),
        _ => return Err(damaged()),
    };
    let [used, held, returned] = count.map(u32::try_from);
    let whole = |count: Result<u32, _>| count.map_err(|_: std::num::TryFromIntError| damaged());
    Ok(Counts { used: whole(used)?, held: whole(held)?, returned: whole(returned)?, last })
}

fn journal(fields: &Fields) -> Result<Journal, StoreError> {
    let mut journal = Journal {
        upload_deadline: instant(fields, "upload")?,
        retry_at: instant(fields, "retry")?,
        attempts: value(fields, "attempts")?.unwrap_or(0),
        ..Journal::default()
    };
    for (name, entry) in fields {
        let Some(file) = name.strip_prefix("j:") else { continue };
        let entry = journal_entry(entry).ok_or_else(|| damaged(name))?;
        journal.files.insert(file.parse().map_err(|_| damaged(name))?, entry);
    }
    Ok(journal)
}

/// `epoch opener bytes`, and after one more space what the blob store calls the upload, if it has a name for it.
fn journal_entry(text: &str) -> Option<FileJournal> {
    let mut parts = text.splitn(4, ' ');
    Some(FileJournal {
        epoch: parts.next()?.parse().ok()?,
        opener: parts.next()?.parse().ok()?,
        bytes: parts.next()?.parse().ok()?,
        upload: parts.next().map(str::to_owned),
    })
}

pub(super) fn slot_field(owner: SlotOwner) -> String {
    match owner {
        SlotOwner::Owner => "owner".to_owned(),
        SlotOwner::Link(id) => id.to_string(),
    }
}

impl RedisRecords {
    pub(super) async fn read_transfers(
        &self,
        which: Vec<(TeamId, TransferId)>,
    ) -> Result<Vec<Result<Option<Record>, StoreError>>, StoreError> {
        let mut found: Vec<_> = which.iter().map(|_| Ok(None)).collect();
        for (shard, places) in self.by_shard(which.iter().map(|(team, _)| *team)).await? {
            let mut ask = redis::pipe();
            for place in &places {
                ask.cmd("HGETALL").arg(shard.record(which[*place].1));
            }
            for (place, answer) in places.into_iter().zip(self.read(shard, &mut ask).await?) {
                let read = parsed::<Fields>(answer).and_then(|fields| record(&fields));
                let team = which[place].0;
                found[place] = read.map(|found| found.filter(|record| record.transfer.team() == team));
            }
        }
        Ok(found)
    }

    /// Which places in a list of teams are whose shard's.
    pub(super) async fn by_shard(
        &self,
        teams: impl Iterator<Item = TeamId>,
    ) -> Result<Vec<(Shard, Vec<usize>)>, StoreError> {
        let mut shards: Vec<(Shard, Vec<usize>)> = Vec::new();
        for (place, team) in teams.enumerate() {
            let shard = self.shard_of(team).await?;
            match shards.iter_mut().find(|(known, _)| *known == shard) {
                Some((_, places)) => places.push(place),
                None => shards.push((shard, vec![place])),
            }
        }
        Ok(shards)
    }

    pub(super) async fn read_opening(&self, link: LinkId) -> Result<Option<Opening>, StoreError> {
        let Some(shard) = self.shard_of_link(link) else { return Ok(None) };
        let mut ask = redis::pipe();
        ask.cmd("GET").arg(shard.link(link));
        let Some(id) = self.read_one::<Option<String>>(shard, &ask).await? else { return Ok(None) };
        let id = id.parse().map_err(|_| damaged("the transfer of a link"))?;
        self.read_with_slot(shard, id, SlotOwner::Link(link)).await
    }

    pub(super) async fn read_with_slot(
        &self,
        shard: Shard,
        id: TransferId,
        owner: SlotOwner,
    ) -> Result<Option<Opening>, StoreError> {
        let call = Call::new(&scripts::READ, [shard.record(id), shard.slots(id)])
            .bytes(slot_field(owner).into_bytes());
        let (now, fields, slot): (u64, Fields, Option<Vec<u8>>) = self.look(shard, call).await?;
        let now = Timestamp::from_millis(now);
        Ok(record(&fields)?.map(|record| Opening { record, slot, now }))
    }

    pub(super) async fn write_touch(&self, touch: &Touch) -> Result<(), StoreError> {
        let shard = self.shard_of(touch.team).await?;
        let Touch { transfer, file, epoch, opener, upload, bytes, .. } = touch;
        let upload = upload.as_ref().map_or_else(String::new, |upload| format!(" {upload}"));
        let call = Call::new(&scripts::TOUCH, [shard.record(*transfer), shard.due(), shard.purge()])
            .arg(transfer)
            .arg(touch.team)
            .arg(file)
            .arg(epoch)
            .arg(opener)
            .arg(format_args!("{epoch} {opener} {bytes}{upload}"))
            .arg(touch.upload_deadline.as_millis());
        match self.write::<String>(shard, call, Lost::SendAgain).await?.as_str() {
            "done" => Ok(()),
            "missing" => Err(StoreError::NotFound),
            _ => Err(StoreError::TouchRefused),
        }
    }

    pub(super) async fn put_off(
        &self,
        team: TeamId,
        id: TransferId,
        at: Timestamp,
    ) -> Result<(), StoreError> {
        let shard = self.shard_of(team).await?;
        let call = Call::new(&scripts::RETRY, [shard.record(id), shard.due(), shard.purge()])
            .arg(id)
            .arg(team)
            .arg(at.as_millis());
        match self.write::<String>(shard, call, Lost::Fail).await?.as_str() {
            "done" => Ok(()),
            _ => Err(StoreError::NotFound),
        }
    }

    pub(super) async fn claim_due(
        &self,
        shard: Shard,
        what: Claim,
        limit: usize,
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let call = Call::new(&scripts::CLAIM, [shard.due(), shard.purge()])
            .arg(if what == Claim::All { "all" } else { "live" })
            .arg(limit)
            .arg(lease.as_millis());
        self.claim_by(shard, call).await
    }

    pub(super) async fn claim_named(
        &self,
        shard: Shard,
        what: Claim,
        ids: &[TransferId],
        lease: Duration,
    ) -> Result<Claimed, StoreError> {
        let mut call = Call::new(&scripts::CLAIM, [shard.due(), shard.purge()])
            .arg(if what == Claim::All { "these" } else { "these live" })
            .arg(ids.len())
            .arg(lease.as_millis());
        for id in ids {
            call = call.arg(id);
        }
        self.claim_by(shard, call).await
    }

    async fn claim_by(&self, shard: Shard, call: Call) -> Result<Claimed, StoreError> {
        let mut answer: Vec<Value> = self.write(shard, call, Lost::Fail).await?;
        let ids = answer.split_off(1.min(answer.len()));
        let now = Timestamp::from_millis(parsed(Ok(answer.pop().unwrap_or(Value::Nil)))?);
        let mut named = Vec::with_capacity(ids.len());
        for id in ids {
            let id: String = parsed(Ok(id))?;
            named.push(id.parse().map_err(|_| damaged("an id in the due index"))?);
        }
        Ok(Claimed { now, transfers: self.with_teams(shard, &named).await? })
    }

    pub(super) async fn with_teams(
        &self,
        shard: Shard,
        ids: &[TransferId],
    ) -> Result<Vec<(TeamId, TransferId)>, StoreError> {
        let mut ask = redis::pipe();
        for id in ids {
            ask.cmd("HGET").arg(shard.record(*id)).arg("team");
        }
        let answers = self.read(shard, &mut ask).await?;
        let mut found = Vec::with_capacity(ids.len());
        for (id, answer) in ids.iter().zip(answers) {
            // One that was forgotten meanwhile has no team any more.
            if let Some(team) = parsed::<Option<String>>(answer)? {
                found.push((team.parse().map_err(|_| damaged("the team of a transfer"))?, *id));
            }
        }
        Ok(found)
    }

    pub(super) async fn earliest_due(&self, shard: Shard) -> Result<Option<Timestamp>, StoreError> {
        let mut ask = redis::pipe();
        for index in [shard.due(), shard.purge()] {
            ask.cmd("ZRANGE").arg(index).arg(0).arg(0).arg("WITHSCORES");
        }
        let mut earliest: Option<u64> = None;
        for answer in self.read(shard, &mut ask).await? {
            let first: Vec<(String, u64)> = parsed(answer)?;
            earliest = first.into_iter().map(|(_, at)| at).chain(earliest).min();
        }
        Ok(earliest.map(Timestamp::from_millis))
    }

    pub(super) async fn front_of(
        &self,
        shard: Shard,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<Place>, StoreError> {
        let mut ask = redis::pipe();
        for index in [shard.due(), shard.purge()] {
            let until = until.as_millis();
            ask.cmd("ZRANGE")
                .arg(index)
                .arg("-inf")
                .arg(until)
                .arg(&["BYSCORE", "LIMIT", "0"])
                .arg(limit)
                .arg("WITHSCORES");
        }
        let mut dues = HashMap::new();
        for answer in self.read(shard, &mut ask).await? {
            for (id, due) in parsed::<Vec<(String, u64)>>(answer)? {
                let id: TransferId = id.parse().map_err(|_| damaged("an id in the index"))?;
                dues.insert(id, Timestamp::from_millis(due));
            }
        }
        let ids: Vec<TransferId> = dues.keys().copied().collect();
        let found = self.with_teams(shard, &ids).await?;
        Ok(found.into_iter().map(|(team, id)| Place { due: dues[&id], team, transfer: id }).collect())
    }

    pub(super) async fn read_states(&self, ids: &[TransferId]) -> Result<Vec<Option<State>>, StoreError> {
        let mut states = vec![None; ids.len()];
        for shard in self.every_shard() {
            let mut ask = redis::pipe();
            for id in ids {
                ask.cmd("HGET").arg(shard.record(*id)).arg("state");
            }
            for (state, answer) in states.iter_mut().zip(self.read(shard, &mut ask).await?) {
                if let Some(found) = parsed::<Option<String>>(answer)? {
                    *state = Some(serde_json::from_value(serde_json::Value::String(found))?);
                }
            }
        }
        Ok(states)
    }
}
