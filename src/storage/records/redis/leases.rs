//! The door `lease`: what `transfer::lease` decides on what was read, written if that still holds.

use redis::Value;

use super::super::{LeaseAnswer, Record, StoreError};
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use super::transfers::{Fields, record};
use super::{RedisRecords, parsed};
use crate::clock::Timestamp;
use crate::transfer::lease::{
    Hold, Lease, LeaseChange, LeaseOp, LeaseRequest, Leases, MAX_OPEN, MAX_RETURNS, StreamRef, open_stream,
};
use crate::transfer::{Context, Event, LeaseId, State};

/// The most leases that are ended in one operation.
const END_AT_ONCE: usize = 500;
/// How often it is decided anew when others change the same leases meanwhile.
const ATTEMPTS: usize = 100;

/// What was read in one step.
struct Seen {
    now: Timestamp,
    record: Record,
    version: String,
    /// The ids of what is due.
    due: Vec<String>,
    holders: Vec<Packed>,
}

/// The leases of one holder under one link, in one field.
struct Packed {
    field: String,
    was: String,
    leases: Vec<Lease>,
}

impl Packed {
    fn text(&self) -> Result<String, StoreError> {
        Ok(if self.leases.is_empty() { String::new() } else { serde_json::to_string(&self.leases)? })
    }

    /// The lease as it is after a change: another, new, or gone.
    fn put(&mut self, change: &LeaseChange) {
        let lease = change.lease();
        self.leases.retain(|other| other.id != lease.id);
        if change.holds().1.is_some() {
            self.leases.push(lease.clone());
        }
    }
}

/// A lease as the script takes it.
struct Move {
    id: LeaseId,
    link: crate::transfer::LinkId,
    field: String,
    from: Option<Hold>,
    to: Option<Hold>,
    ends: Timestamp,
}

/// What is to be written.
#[derive(Default)]
struct Write {
    moves: Vec<Move>,
    events: Vec<Event>,
    /// The transfer and the link must be open still, until this instant.
    open_until: Option<Timestamp>,
}

impl Write {
    fn add(&mut self, field: &str, change: &LeaseChange) {
        let (from, to) = change.holds();
        let Lease { id, link, .. } = *change.lease();
        self.moves.push(Move { id, link, field: field.to_owned(), from, to, ends: change.ends() });
        self.events.extend_from_slice(change.events());
    }
}

const fn hold(hold: Option<Hold>) -> &'static str {
    match hold {
        Some(Hold::Held) => "held",
        Some(Hold::Used) => "used",
        None => "",
    }
}

impl RedisRecords {
    pub(super) async fn apply_lease(&self, ask: &LeaseRequest) -> Result<LeaseAnswer, StoreError> {
        let shard = self.shard_of(ask.team).await?;
        for _ in 0..ATTEMPTS {
            let mut seen = self.see(shard, ask).await?.ok_or(StoreError::NotFound)?;
            let (answer, write) = decide(ask, &mut seen);
            let Some(write) = write else { return Ok(answer) };
            let call = write_call(shard, ask, &seen, &write)?;
            if self.write::<String>(shard, call, Lost::SendAgain).await? == "done" {
                return Ok(answer);
            }
        }
        Err(StoreError::Unavailable(format!("the leases of {} changed at every try", ask.transfer)))
    }

    async fn see(&self, shard: Shard, ask: &LeaseRequest) -> Result<Option<Seen>, StoreError> {
        let id = ask.transfer;
        let keys = [shard.record(id), shard.leases(id), shard.lease_ends(id)];
        let call = Call::new(&scripts::READ_LEASES, keys);
        let call = match &ask.op {
            LeaseOp::Open(open) => call.arg("held").arg(format_args!("{}/{}", open.link, open.holder)),
            LeaseOp::Renew { stream, .. } | LeaseOp::Settle { stream, .. } => {
                call.arg("one").arg(stream.lease)
            }
            LeaseOp::EndDue => call.arg("due").arg(END_AT_ONCE),
        };
        let mut answer = self.look::<Vec<Value>>(shard, call).await?.into_iter();
        let mut next = || Ok(answer.next().unwrap_or(Value::Nil));
        let now = Timestamp::from_millis(parsed(next())?);
        let fields: Fields = parsed(next())?;
        let due = parsed(next())?;
        let mut holders = Vec::new();
        while let Some(field) = answer.next() {
            let was: String = parsed(Ok(answer.next().unwrap_or(Value::Nil)))?;
            let leases = if was.is_empty() { Vec::new() } else { serde_json::from_str(&was)? };
            holders.push(Packed { field: parsed(Ok(field))?, was, leases });
        }
        let version = fields.get("version").cloned().unwrap_or_default();
        let record = record(&fields)?.filter(|record| record.transfer.team() == ask.team);
        Ok(record.map(|record| Seen { now, record, version, due, holders }))
    }
}

fn decide(ask: &LeaseRequest, seen: &mut Seen) -> (LeaseAnswer, Option<Write>) {
    let context = Context { now: seen.now, ..ask.context.clone() };
    let transfer = &seen.record.transfer;
    let mut write = Write::default();
    match &ask.op {
        LeaseOp::Open(open) => {
            let Some(mine) = seen.holders.first_mut() else { return (LeaseAnswer::Stop, None) };
            let leases = Leases {
                transfer,
                counts: seen.record.counts_of(open.link),
                held: &mine.leases,
                open: seen.record.leases.open,
                now: seen.now,
            };
            match open_stream(leases, open, ask.times, &context) {
                Ok((stream, None)) => (LeaseAnswer::Opened(stream), None),
                Ok((stream, Some(change))) => {
                    let own = transfer.link(open.link).and_then(|link| link.deadline);
                    write.open_until = Some(transfer.slot_deadline(own));
                    mine.put(&change);
                    write.add(&mine.field, &change);
                    (LeaseAnswer::Opened(stream), Some(write))
                }
                Err(refused) => (LeaseAnswer::Refused(refused), None),
            }
        }
        LeaseOp::Renew { stream, written } => progress(ask, seen, *stream, *written, false, &context),
        LeaseOp::Settle { stream, written } => progress(ask, seen, *stream, *written, true, &context),
        LeaseOp::EndDue => {
            let mut ended = 0;
            for mine in &mut seen.holders {
                let is_due = |lease: &&Lease| seen.due.contains(&lease.id.to_string());
                let due: Vec<Lease> = mine.leases.iter().filter(is_due).cloned().collect();
                for lease in due {
                    let (id, link, from) = (lease.id, lease.link, Some(lease.hold));
                    let ends = lease.ends(transfer, ask.times);
                    if let Some(change) = lease.end_due(transfer, ask.times, &context) {
                        mine.put(&change);
                        write.add(&mine.field, &change);
                        ended += 1;
                    } else {
                        // Written under other times than the operator's of today.
                        write.moves.push(Move { id, link, field: mine.field.clone(), from, to: from, ends });
                    }
                }
            }
            (LeaseAnswer::Ended(ended), Some(write))
        }
    }
}

fn progress(
    ask: &LeaseRequest,
    seen: &mut Seen,
    stream: StreamRef,
    written: u64,
    ended: bool,
    context: &Context,
) -> (LeaseAnswer, Option<Write>) {
    let transfer = &seen.record.transfer;
    let Some(mine) = seen.holders.first_mut() else { return (LeaseAnswer::Stop, None) };
    let Some(lease) = mine.leases.iter().find(|lease| lease.id == stream.lease).cloned() else {
        return (LeaseAnswer::Stop, None);
    };
    let link = transfer.link(lease.link);
    let until = transfer.slot_deadline(link.and_then(|link| link.deadline));
    let stands = link.is_some_and(|link| link.stands(context.now));
    let live = transfer.state() == State::Available && context.now < until && stands;
    let change = lease.progress(stream, written, ended, transfer, ask.times, context);
    let answer = if ended {
        LeaseAnswer::Settled
    } else if live && change.is_some() {
        LeaseAnswer::Goes { until }
    } else {
        LeaseAnswer::Stop
    };
    let write = change.map(|change| {
        let mut write = Write::default();
        mine.put(&change);
        write.add(&mine.field, &change);
        write
    });
    (answer, write)
}

fn write_call(shard: Shard, ask: &LeaseRequest, seen: &Seen, write: &Write) -> Result<Call, StoreError> {
    let id = ask.transfer;
    let keys = [
        shard.record(id),
        shard.leases(id),
        shard.lease_ends(id),
        shard.due(),
        shard.purge(),
        shard.outbox(),
    ];
    let takes = write.moves.iter().any(|lease| lease.from.is_none());
    let script = if takes { &scripts::LEASE } else { &scripts::LEASE_ON };
    let mut call = Call::new(script, keys)
        .arg(id)
        .arg(&seen.version)
        .arg(write.open_until.map_or_else(String::new, |at| at.as_millis().to_string()))
        .arg(MAX_OPEN)
        .arg(MAX_RETURNS)
        .arg(seen.holders.len())
        .arg(write.moves.len());
    for holder in &seen.holders {
        call = call.arg(&holder.field).arg(&holder.was).arg(holder.text()?);
    }
    for Move { id, link, field, from, to, ends } in &write.moves {
        let limit = seen.record.transfer.link(*link).and_then(|link| link.downloads);
        call = call
            .arg(id)
            .arg(field)
            .arg(link)
            .arg(hold(*from))
            .arg(hold(*to))
            .arg(ends.as_millis())
            .arg(limit.map_or_else(String::new, |limit| limit.to_string()));
    }
    for event in &write.events {
        call = call.bytes(serde_json::to_vec(event)?);
    }
    Ok(call)
}
