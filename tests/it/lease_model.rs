//! Random lives of leases, on a real record store by a clock that is turned by hand, against a reference that is made from
//! the text of DESIGN §10 and keeps nothing but a list of what happened.
//!
//! `transfer_model` has the transfer around them; here it stands still, so that many more of its leases' turns are seen:
//! returns beyond the third, files of several pieces, late copies of what was sent long ago, and each event with its bytes.

use std::time::Duration;

use burnbag::clock::{ManualClock, Timestamp};
use burnbag::storage::records::LeaseAnswer;
use burnbag::transfer::lease::{LeaseOp, LeaseRefused, OpenStream, StreamRef};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{StreamId, Transfer};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::record_contract::{Made, Store, make_sqlite};
use crate::redis_clock::make_redis;
use crate::sample::{START, file, holder, link_of, new_link, request, system, team, uploaded};
use reference::{Answer, Ask, LINKS, PIECE, Reference, SIZES, Told};

mod reference;

const DAY: u64 = 24 * 3_600_000;

#[derive(Clone, Debug)]
enum Op {
    Open {
        link: usize,
        holder: u8,
        file: usize,
        from: u64,
        to: u64,
    },
    Write {
        stream: Index,
        written: u64,
        settles: bool,
    },
    /// The stream that was let in last goes on.
    WriteOn {
        written: u64,
        settles: bool,
    },
    /// Something that was sent before comes once more.
    Again(Index),
    EndDue,
    Later(u64),
    /// Its owner ends the transfer.
    Delete,
}

fn opening() -> impl Strategy<Value = Op> {
    let mostly_the_first = || prop_oneof![4 => Just(0_u8), 1 => 1..3_u8];
    let link = prop_oneof![4 => Just(0), 1 => 1..LINKS];
    let file = prop_oneof![1 => Just(0_usize), 1 => Just(1), 3 => Just(2)];
    (link, mostly_the_first(), file, any::<bool>(), 0..6_u64, 1..7_u64).prop_map(
        |(link, holder, file, whole, from, length)| {
            let size = SIZES[file];
            let from = if whole { 0 } else { from.min(size.saturating_sub(1)) };
            let to = if whole { size } else { size.min(from + length) };
            Op::Open { link, holder, file, from, to }
        },
    )
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let written = || prop_oneof![2 => Just(6_u64), 3 => 0..7_u64];
    let settles = || prop::bool::weighted(0.6);
    let seconds = prop_oneof![
        4 => 1..20_u64,
        2 => Just(29),
        2 => Just(30),
        2 => Just(59),
        2 => Just(60),
        2 => Just(899),
        4 => Just(900),
    ];
    let op = prop_oneof![
        60 => opening(),
        30 => (any::<Index>(), written(), settles())
            .prop_map(|(stream, written, settles)| Op::Write { stream, written, settles }),
        40 => (written(), settles()).prop_map(|(written, settles)| Op::WriteOn { written, settles }),
        20 => any::<Index>().prop_map(Op::Again),
        20 => Just(Op::EndDue),
        40 => seconds.prop_map(|seconds| Op::Later(seconds * 1000)),
        // The deadline, sooner or later.
        1 => Just(Op::Later(DAY / 3)),
        1 => Just(Op::Delete),
    ];
    prop::collection::vec(op, 1..150)
}

/// What was sent, in words that the reference knows.
#[derive(Clone, Copy, Debug)]
enum Sent {
    Open(Ask),
    Write { stream: u64, written: u64, settles: bool },
}

struct World {
    reference: Reference,
    transfer: Transfer,
    store: Store,
    clock: ManualClock,
    /// The streams that were let in, each with its lease.
    streams: Vec<(Ask, u64)>,
    sent: Vec<Sent>,
    asked: u64,
}

fn id_of(stream: u64) -> StreamId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&stream.to_be_bytes());
    StreamId::from_bytes(bytes)
}

fn file_of(n: usize) -> u8 {
    u8::try_from(n).unwrap() + 1
}

fn reference_of(ask: &Ask, lease: u64) -> StreamRef {
    StreamRef { lease: id_of(lease).into(), file: file(file_of(ask.file)), stream: id_of(ask.stream) }
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.reference.now)
    }

    async fn lease(&self, op: LeaseOp) -> LeaseAnswer {
        self.store.lease(request(&self.transfer, op, self.now())).await.unwrap()
    }

    /// Sends it and compares the answers. Sent again it is the same.
    async fn send(&mut self, sent: Sent) {
        match sent {
            Sent::Open(ask) => self.open(ask).await,
            Sent::Write { stream, written, settles } => self.write(stream, written, settles).await,
        }
    }

    async fn open(&mut self, ask: Ask) {
        let let_in =
            self.streams.iter().find(|(other, _)| other.stream == ask.stream).map(|(_, lease)| *lease);
        let expected = match let_in {
            // A copy changes nothing, and is answered as before.
            Some(lease) if self.reference.serves() => Answer::Opened(lease),
            // A refusal leaves nothing behind, so it is decided anew.
            _ => self.reference.open(ask),
        };
        let open = OpenStream {
            stream: id_of(ask.stream),
            link: link_of(self.transfer.id(), u8::try_from(ask.link).unwrap()),
            holder: holder(ask.holder),
            file: file(file_of(ask.file)),
            from: ask.from * PIECE,
            to: ask.to * PIECE,
        };
        let answer = match self.lease(LeaseOp::Open(open)).await {
            LeaseAnswer::Opened(stream) => {
                let lease = u64::from_be_bytes(stream.lease.as_bytes()[8..].try_into().unwrap());
                assert_eq!(stream, reference_of(&ask, lease));
                if let_in.is_none() {
                    self.streams.push((ask, lease));
                }
                Answer::Opened(lease)
            }
            LeaseAnswer::Refused(LeaseRefused::Ended) => Answer::Ended,
            LeaseAnswer::Refused(LeaseRefused::UsedUp) => Answer::UsedUp,
            LeaseAnswer::Refused(LeaseRefused::Busy) => Answer::Busy,
            other => panic!("{other:?}"),
        };
        assert_eq!(answer, expected, "{ask:?}");
    }

    async fn write(&mut self, stream: u64, written: u64, settles: bool) {
        let expected = self.reference.wrote(stream, written, settles);
        let (ask, lease) = *self.streams.iter().find(|(ask, _)| ask.stream == stream).unwrap();
        let (stream, written) = (reference_of(&ask, lease), written * PIECE);
        let op =
            if settles { LeaseOp::Settle { stream, written } } else { LeaseOp::Renew { stream, written } };
        let answer = match self.lease(op).await {
            LeaseAnswer::Goes { .. } | LeaseAnswer::Settled => Answer::Goes,
            LeaseAnswer::Stop => Answer::Stop,
            other => panic!("{other:?}"),
        };
        assert_eq!(answer, expected, "{ask:?} under {lease}");
    }

    async fn step(&mut self, op: Op) {
        let sent = match op {
            Op::Open { link, holder, file, from, to } => {
                self.asked += 1;
                Some(Sent::Open(Ask { stream: self.asked, link, holder, file, from, to }))
            }
            Op::Write { stream, written, settles } if !self.streams.is_empty() => {
                let stream = stream.get(&self.streams).0.stream;
                Some(Sent::Write { stream, written, settles })
            }
            Op::WriteOn { written, settles } => {
                self.streams.last().map(|(ask, _)| Sent::Write { stream: ask.stream, written, settles })
            }
            Op::Again(which) if !self.sent.is_empty() => {
                let sent = *which.get(&self.sent);
                if self.may_come_again(&sent) {
                    self.send(sent).await;
                }
                None
            }
            Op::EndDue => {
                let expected = self.reference.end_due();
                assert_eq!(self.lease(LeaseOp::EndDue).await, LeaseAnswer::Ended(expected));
                self.exhaust().await;
                None
            }
            Op::Later(millis) => {
                self.reference.now += millis;
                self.clock.advance(Duration::from_millis(millis));
                None
            }
            Op::Delete if !self.reference.over => {
                let ended = self.transfer.clone().delete(&system(self.now())).unwrap();
                self.store.commit(ended).await.unwrap();
                self.reference.over = true;
                None
            }
            Op::Write { .. } | Op::Again(_) | Op::Delete => None,
        };
        if let Some(sent) = sent {
            self.send(sent).await;
            self.sent.push(sent);
        }
    }

    /// What opened a stream is sent again only until the stream is settled.
    fn may_come_again(&self, sent: &Sent) -> bool {
        match sent {
            Sent::Open(ask) => {
                let let_in = self.streams.iter().any(|(other, _)| other.stream == ask.stream);
                !let_in || self.reference.finds(ask.stream)
            }
            Sent::Write { .. } => true,
        }
    }

    /// As the reaper does.
    async fn exhaust(&mut self) {
        if self.reference.exhausted() {
            let ended = self.transfer.clone().exhaust(&system(self.now())).unwrap();
            self.store.commit(ended).await.unwrap();
            self.reference.over = true;
        }
    }

    async fn compare(&self) {
        let Self { reference, transfer, store, .. } = self;
        let found = store.transfer(team(1), transfer.id()).await.unwrap().unwrap();
        for link in 0..LINKS {
            let counts = found.counts_of(link_of(transfer.id(), u8::try_from(link).unwrap()));
            assert_eq!((counts.used, counts.held, counts.returned), reference.counts(link), "link {link}");
        }
        assert_eq!(found.leases.open, reference.open_leases());
        assert_eq!(found.leases.next_end.map(Timestamp::as_millis), reference.next_end());
        assert_eq!(found.leases.exhausted, reference.exhausted());
        reference.keeps_its_bounds();
    }

    /// The events are those of the reference, each once, under the id that DESIGN §4 gives it.
    async fn compare_events(&self) {
        let link_of = |n: usize| link_of(self.transfer.id(), u8::try_from(n).unwrap());
        let name = |(kind, operation, n, link, bytes): &Told| {
            format!("{kind} {} {} {} {bytes:?}", id_of(*operation), file(file_of(*n)), link_of(*link))
        };
        let mut expected: Vec<String> = self.reference.told.iter().map(name).collect();
        let entries = self.store.outbox(0, 0, 100_000).await.unwrap();
        let events = entries.iter().map(|entry| &entry.event);
        let mut ids: Vec<&str> = events.clone().map(|event| event.id.as_str()).collect();
        let mut told: Vec<String> = events
            .filter(|event| event.kind.as_str().starts_with("download."))
            .map(|event| {
                let (operation, _) = event.id.split_once('.').unwrap();
                let (file, link) = (event.file.unwrap(), event.link.unwrap());
                format!("{} {operation} {file} {link} {:?}", event.kind.as_str(), event.bytes)
            })
            .collect();
        expected.sort();
        told.sort();
        assert_eq!(told, expected);
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all, "no event twice");
    }
}

async fn live(made: Made, limits: [Option<u32>; LINKS], ops: Vec<Op>) {
    let Made { store, clock, _keep } = made;
    let sizes = SIZES.map(|pieces| pieces * PIECE);
    let available = uploaded(team(1), Expires::After(DAY), &sizes, &system(START))
        .and_then(|transfer, context| {
            let links = (0..).zip(limits).map(|(n, limit)| new_link(transfer.id(), n, limit)).collect();
            transfer.complete(links, b"owner slot".to_vec(), context)
        })
        .unwrap();
    let transfer = available.record().clone();
    store.commit(available).await.unwrap();
    let reference = Reference::new(START.as_millis(), START.as_millis() + DAY, limits);
    let mut world =
        World { reference, transfer, store, clock, streams: Vec::new(), sent: Vec::new(), asked: 0 };
    for op in ops {
        world.step(op).await;
        world.compare().await;
    }
    world.compare_events().await;
}

fn run(made: impl Future<Output = Made>, limits: [Option<u32>; LINKS], ops: Vec<Op>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { live(made.await, limits, ops).await });
}

fn limits() -> impl Strategy<Value = [Option<u32>; LINKS]> {
    [prop::option::weighted(0.9, 1..4_u32), prop::option::weighted(0.7, 1..3_u32)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn every_life_of_leases_is_as_the_text_says(limits in limits(), ops in ops()) {
        run(make_sqlite(""), limits, ops);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 500, ..ProptestConfig::default() })]
    #[test]
    fn every_life_of_leases_in_redis_is_as_the_text_says(limits in limits(), ops in ops()) {
        run(make_redis(""), limits, ops);
    }
}
