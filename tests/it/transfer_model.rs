//! Random lives of a transfer, on the domain and a real record store, against a reference that shares no code with them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use burnbag::clock::{ManualClock, Timestamp};
use burnbag::storage::RecordStore;
use burnbag::storage::records::{Claim, LeaseAnswer};
use burnbag::transfer::lease::{LeaseOp, LeaseRefused, LeaseRequest, OpenStream, StreamRef};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::quota::Holding;
use burnbag::transfer::{
    Change, Context, InvalidTransition, LeaseId, NewLink, NewSlot, OperationId, Rewrap, SlotOwner, State,
    StreamId, Touch, Transfer,
};
use proptest::prelude::*;

use crate::record_contract::{Made, make_sqlite};
use crate::redis_clock::make_redis;
use crate::sample::{
    START, TIMES, create, file, holder, link_of, new_file, new_link, secs, system, team, whole_file,
};
use reference::{Answer, At, FileAt, Link, Model, SIZES};

mod reference;

const CLAIM: u64 = 30_000;

#[derive(Clone, Debug)]
enum Op {
    Start(usize),
    Finish(usize),
    Drop(usize),
    Remove(usize),
    Reserve(u64),
    Complete,
    Hold,
    Release,
    Reject,
    Delete,
    Expire,
    Abandon,
    Exhaust,
    Revoke(usize),
    CloseLinks,
    SetDeadline { secs: u64 },
    Purge { second_look: bool },
    LookedAgain,
    Forget,
    Touch { file: usize, epoch: u64, opener: u64, secs: u64 },
    Retry { secs: u64 },
    Claim,
    Open { link: usize, holder: u8, file: usize, from: u64, to: u64 },
    Progress { stream: prop::sample::Index, written: u64, ended: bool },
    EndDue,
    Again,
    Later(u64),
}

/// Mostly one, so that leases of one holder come to stand beside each other.
fn few() -> impl Strategy<Value = u8> {
    prop_oneof![5 => Just(0), 1 => Just(1)]
}

fn ops() -> impl Strategy<Value = Op> {
    let file = 0..3_usize;
    let seconds = prop_oneof![
        4 => 1..20_u64,
        4 => Just(29),
        4 => Just(30),
        4 => Just(60),
        3 => Just(900),
        1 => 1000..5000_u64,
        1 => Just(604_800),
    ];
    let upload =
        prop_oneof![
            file.clone().prop_map(Op::Start),
            file.clone().prop_map(Op::Finish),
            file.clone().prop_map(Op::Finish),
            file.clone().prop_map(Op::Drop),
            file.clone().prop_map(Op::Remove),
            (1..10_u64).prop_map(Op::Reserve),
            (file.clone(), 1..3_u64, 0..2_u64, 0..2000_u64)
                .prop_map(|(file, epoch, opener, secs)| Op::Touch { file, epoch, opener, secs }),
        ];
    let rare = prop_oneof![
        3 => Just(Op::Complete),
        1 => Just(Op::Hold),
        1 => Just(Op::Release),
        1 => Just(Op::Reject),
        1 => Just(Op::Delete),
        2 => Just(Op::Expire),
        1 => Just(Op::Abandon),
        1 => Just(Op::Exhaust),
        1 => (0..2_usize).prop_map(Op::Revoke),
        2 => Just(Op::CloseLinks),
        2 => prop_oneof![1..4000_u64, Just(900_000)].prop_map(|secs| Op::SetDeadline { secs }),
        1 => any::<bool>().prop_map(|second_look| Op::Purge { second_look }),
        1 => any::<bool>().prop_map(|second_look| Op::Purge { second_look }),
        2 => Just(Op::LookedAgain),
        2 => Just(Op::Forget),
        1 => (0..200_u64).prop_map(|secs| Op::Retry { secs }),
    ];
    let download = prop_oneof![
        3 => (few(), few(), file, 0..5_u64, 0..6_u64).prop_map(|(link, holder, file, from, len)| {
            let size = SIZES[file];
            // Whole files often, and parts of them.
            let (from, to) = if len == 0 || size == 0 { (0, size) } else { (from.min(size - 1), size.min(from.min(size - 1) + len)) };
            Op::Open { link: usize::from(link), holder, file, from, to }
        }),
        4 => (any::<prop::sample::Index>(), 0..7_u64, any::<bool>())
            .prop_map(|(stream, written, ended)| Op::Progress { stream, written, ended }),
        1 => Just(Op::EndDue),
    ];
    prop_oneof![
        4 => upload,
        2 => rare,
        10 => download,
        1 => Just(Op::Claim),
        2 => Just(Op::Again),
        3 => seconds.prop_map(Op::Later),
    ]
}

/// A stream that was let in.
#[derive(Clone, Copy, Debug)]
struct Running {
    id: u64,
    lease: u64,
    file: usize,
}

#[derive(Clone)]
enum Sent {
    Change(Box<Change>),
    Lease(Box<LeaseRequest>, LeaseAnswer),
    Touch(Touch),
}

struct World {
    model: Model,
    record: Transfer,
    store: Arc<dyn RecordStore>,
    clock: ManualClock,
    streams: Vec<Running>,
    opened: u64,
    last: Option<Sent>,
}

fn id_of(stream: u64) -> StreamId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&stream.to_be_bytes());
    StreamId::from_bytes(bytes)
}

fn millis(at: Timestamp) -> u64 {
    at.as_millis()
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.model.now)
    }

    /// Tries a transition on the domain, and where the reference allows it, on the store.
    async fn commit(
        &mut self,
        allowed: bool,
        transition: impl FnOnce(Transfer, &Context) -> Result<Change, InvalidTransition>,
    ) {
        let context = system(self.now());
        let change = transition(self.record.clone(), &context);
        assert_eq!(change.is_ok(), allowed, "{:?}", change.map(|change| change.record().state()));
        let Ok(change) = change else { return };
        let state = change.record().state();
        assert!(state == self.record.state() || !change.events().is_empty(), "no state without an event");
        if change.forgets() && !self.model.forget() {
            assert!(self.store.commit(change).await.is_err(), "a lease is open");
            return;
        }
        self.record = change.record().clone();
        self.store.commit(change.clone()).await.unwrap();
        self.last = Some(Sent::Change(Box::new(change)));
    }

    async fn lease(&mut self, op: LeaseOp) -> LeaseAnswer {
        let request = LeaseRequest {
            team: team(1),
            transfer: self.record.id(),
            op,
            context: system(self.now()),
            times: TIMES,
        };
        let answer = self.store.lease(request.clone()).await.unwrap();
        // A refusal may be asked anew, and a stream that is settled has no repeat of its opening that runs.
        self.last = match (&request.op, answer) {
            (LeaseOp::EndDue, _) | (_, LeaseAnswer::Refused(_)) => None,
            _ => Some(Sent::Lease(Box::new(request), answer)),
        };
        answer
    }

    async fn step(&mut self, op: Op) {
        let now = self.model.now;
        let (ms, s) = (Timestamp::from_millis, |seconds: u64| seconds * 1000);
        match op {
            Op::Start(n) if self.model.files[n] == FileAt::Absent => {
                let allowed = self.model.start(n);
                self.commit(allowed, |t, c| {
                    let new = new_file(t.id(), file(id(n)));
                    t.start_file(new, c)
                })
                .await;
            }
            Op::Start(_) => {}
            Op::Finish(n) => {
                let allowed = self.model.moves(n, FileAt::Running, FileAt::Whole, "upload.completed");
                self.commit(allowed, |t, c| {
                    let whole = whole_file(t.id(), file(id(n)), SIZES[n]);
                    t.finish_file(whole, c)
                })
                .await;
            }
            Op::Drop(n) => {
                let allowed = self.model.moves(n, FileAt::Running, FileAt::Dropped, "upload.aborted");
                self.commit(allowed, |t, c| t.drop_file(file(id(n)), "broken", c)).await;
            }
            Op::Remove(n) => {
                let allowed = self.model.moves(n, FileAt::Whole, FileAt::Dropped, "file.removed");
                self.commit(allowed, |t, c| t.remove_file(file(id(n)), c)).await;
            }
            Op::Reserve(bytes) => {
                let allowed = self.model.reserve(bytes);
                self.commit(allowed, |t, c| t.reserve(bytes, c)).await;
            }
            Op::Touch { file: n, epoch, opener, secs: later } => {
                let touch = Touch {
                    team: team(1),
                    transfer: self.record.id(),
                    file: file(id(n)),
                    epoch,
                    opener: OperationId::from(id_of(opener)),
                    upload: None,
                    bytes: later,
                    upload_deadline: ms(now + s(later)),
                };
                let allowed = self.model.touch(n, epoch, opener, now + s(later));
                assert_eq!(self.store.touch(touch.clone()).await.is_ok(), allowed);
                self.last = allowed.then_some(Sent::Touch(touch));
            }
            Op::Retry { secs: later } => {
                self.model.retry(now + s(later));
                self.store.retry(team(1), self.record.id(), ms(now + s(later))).await.unwrap();
            }
            Op::Claim => {
                let due = self.model.claim(CLAIM);
                let claimed = self
                    .store
                    .claim(0, Claim::All, 9, std::time::Duration::from_millis(CLAIM))
                    .await
                    .unwrap();
                assert_eq!(claimed.transfers.len(), usize::from(due));
            }
            Op::Open { link, holder: by, file: n, from, to } => self.open(link, by, n, from, to).await,
            Op::Progress { stream, written, ended } => self.progress(stream, written, ended).await,
            Op::EndDue => {
                let expected = self.model.end_due();
                assert_eq!(self.lease(LeaseOp::EndDue).await, LeaseAnswer::Ended(expected));
            }
            Op::Again => self.again().await,
            Op::Later(seconds) => {
                self.model.now += s(seconds);
                self.clock.advance(secs(seconds));
                self.last = None;
            }
            other => self.live_on(other).await,
        }
    }

    /// The transitions of a transfer as a whole.
    async fn live_on(&mut self, op: Op) {
        let now = self.model.now;
        let (ms, s) = (Timestamp::from_millis, |seconds: u64| seconds * 1000);
        match op {
            Op::Complete => {
                let allowed = self.model.complete();
                let links = self.model.links;
                self.commit(allowed, |t, c| {
                    let new = |(n, link): (u8, Link)| NewLink {
                        deadline: link.own.map(ms),
                        ..new_link(t.id(), n, link.limit)
                    };
                    let links = (0..).zip(links).map(new).collect();
                    t.complete(links, b"owner".to_vec(), c)
                })
                .await;
            }
            Op::Hold => {
                let allowed = self.model.hold();
                self.commit(allowed, |t, c| t.hold("scan", c)).await;
            }
            Op::Release => {
                let allowed = self.model.release();
                self.commit(allowed, |t, c| t.release(vec![], c)).await;
            }
            Op::Reject => {
                let allowed = self.model.reject();
                self.commit(allowed, Transfer::reject).await;
            }
            Op::Delete => {
                let allowed = self.model.delete();
                self.commit(allowed, Transfer::delete).await;
            }
            Op::Expire => {
                let allowed = self.model.expire();
                self.commit(allowed, Transfer::expire).await;
            }
            Op::Abandon => {
                let allowed = self.model.abandon();
                self.commit(allowed, |t, c| t.abandon("idle", c)).await;
            }
            Op::Exhaust => {
                let allowed = self.model.exhaust();
                self.commit(allowed, Transfer::exhaust).await;
            }
            Op::Revoke(n) => {
                let allowed = self.model.revoke(n);
                self.commit(allowed, |t, c| {
                    let link = link_of(t.id(), u8::try_from(n).unwrap());
                    t.revoke_link(link, c).and_then(|change| change.ok_or(InvalidTransition::NoSuchLink))
                })
                .await;
            }
            Op::CloseLinks => {
                let allowed = self.model.close_links();
                self.commit(allowed, Transfer::close_links).await;
            }
            Op::SetDeadline { secs: later } => {
                let to = ms(now + s(later));
                let allowed = self.model.set_deadline(now + s(later));
                self.commit(allowed, |t, c| {
                    let wrap =
                        |one: Rewrap| NewSlot { owner: one.owner, bytes: one.to.to_string().into_bytes() };
                    let slots = t.rewraps(to, c.now).into_iter().map(wrap).collect();
                    t.set_deadline(to, slots, c)
                })
                .await;
            }
            Op::Purge { second_look } => {
                let look = second_look.then_some(now + s(20));
                let allowed = self.model.purge(look, now + s(40));
                self.commit(allowed, |t, c| t.purge(look.map(ms), ms(now + s(40)), c)).await;
            }
            Op::LookedAgain => {
                let allowed = self.model.looked_again();
                self.commit(allowed, Transfer::looked_again).await;
            }
            Op::Forget => {
                let allowed = self.model.may_forget();
                self.commit(allowed, Transfer::forget).await;
            }
            other => unreachable!("{other:?} is another's"),
        }
    }

    /// What was sent last is sent again.
    async fn again(&mut self) {
        match self.last.clone() {
            Some(Sent::Change(change)) => self.store.commit(*change).await.unwrap(),
            Some(Sent::Lease(request, answer)) => {
                let again = self.store.lease((*request).clone()).await.unwrap();
                // An ended transfer lets nobody in again; all else is answered as before.
                assert!(again == answer || again == LeaseAnswer::Refused(LeaseRefused::Ended));
                if let LeaseOp::Renew { stream, written } = request.op {
                    let running = self.streams.iter().find(|other| id_of(other.id) == stream.stream);
                    let running = *running.unwrap();
                    self.model.progress(running.lease, running.file, running.id, written, false);
                }
            }
            Some(Sent::Touch(touch)) => {
                let n = usize::from(touch.file.as_bytes()[0]) - 1;
                let opener = u64::from(touch.opener.as_bytes()[15]);
                let allowed = self.model.touch(n, touch.epoch, opener, millis(touch.upload_deadline));
                assert_eq!(self.store.touch(touch).await.is_ok(), allowed);
            }
            None => {}
        }
    }

    async fn progress(&mut self, stream: prop::sample::Index, written: u64, ended: bool) {
        if self.streams.is_empty() {
            return;
        }
        let Running { id: stream, lease, file: n } = *stream.get(&self.streams);
        let expected = self.model.progress(lease, n, stream, written, ended);
        let lease = LeaseId::from(id_of(lease));
        let stream = StreamRef { lease, file: file(id(n)), stream: id_of(stream) };
        let op = if ended { LeaseOp::Settle { stream, written } } else { LeaseOp::Renew { stream, written } };
        let answer = self.lease(op).await;
        let goes = matches!(answer, LeaseAnswer::Goes { .. } | LeaseAnswer::Settled);
        assert_eq!(goes, expected == Answer::Goes);
        assert_eq!(answer == LeaseAnswer::Stop, expected == Answer::Stop);
    }

    async fn open(&mut self, link: usize, by: u8, n: usize, from: u64, to: u64) {
        self.opened += 1;
        let stream = self.opened;
        let ask = OpenStream {
            stream: id_of(stream),
            link: link_of(self.record.id(), u8::try_from(link).unwrap()),
            holder: holder(by),
            file: file(id(n)),
            from,
            to,
        };
        let expected = self.model.open(stream, link, by, n, from, to);
        let answer = self.lease(LeaseOp::Open(ask)).await;
        match expected {
            Answer::Opened(lease) => {
                let reference =
                    StreamRef { lease: id_of(lease).into(), file: file(id(n)), stream: id_of(stream) };
                assert_eq!(answer, LeaseAnswer::Opened(reference));
                self.streams.push(Running { id: stream, lease, file: n });
            }
            Answer::Ended => assert_eq!(answer, LeaseAnswer::Refused(LeaseRefused::Ended)),
            Answer::UsedUp => assert_eq!(answer, LeaseAnswer::Refused(LeaseRefused::UsedUp)),
            Answer::Busy => assert_eq!(answer, LeaseAnswer::Refused(LeaseRefused::Busy)),
            Answer::Goes | Answer::Stop => unreachable!("an opening does not answer so"),
        }
    }

    /// The store and the reference tell the same.
    async fn compare(&self) {
        let Self { model, record, store, .. } = self;
        let found = store.transfer(team(1), record.id()).await.unwrap();
        let (bytes, transfers, uploads) = model.holds();
        assert_eq!(store.usage(team(1)).await.unwrap().held, Holding { bytes, transfers, uploads });
        let listed = store.list(team(1), None, 2).await.unwrap();
        assert_eq!(listed.len(), usize::from(model.at != At::Forgotten), "the list of the team");
        assert_eq!(store.next_due(0).await.unwrap().map(millis), model.due(), "due");
        if model.at == At::Forgotten {
            assert!(found.is_none());
            return;
        }
        let found = found.unwrap();
        assert_eq!(found.transfer, *record);
        let state = match model.at {
            At::Uploading => State::Uploading,
            At::Held => State::Held,
            At::Available => State::Available,
            At::Ended => State::Ended,
            At::Purged | At::Forgotten => State::Purged,
        };
        assert_eq!((record.state(), record.version()), (state, model.version));
        assert_eq!(millis(record.deadline()), model.deadline);
        for (n, link) in (0..).zip(&model.links) {
            let counts = found.counts_of(link_of(record.id(), n));
            assert_eq!((counts.used, counts.held, counts.returned), (link.used, link.held, link.returned));
            assert!(link.returned <= 3 && link.limit.is_none_or(|limit| link.used + link.held <= limit));
        }
        assert_eq!(found.leases.open, model.leases.len() as u64);
        assert_eq!(found.leases.next_end.map(millis), model.next_end());
        assert_eq!(found.leases.exhausted, model.exhausted());
        for lease in &model.leases {
            for (n, file) in &lease.files {
                assert!(file.starts <= 3 && file.sent <= 3 * SIZES[*n], "{lease:?}");
            }
        }
        let slot = store.slot(team(1), record.id(), SlotOwner::Owner).await.unwrap();
        let live = matches!(model.at, At::Uploading | At::Held | At::Available);
        assert_eq!(slot.is_some(), live && model.now < model.deadline, "slots");
        for n in 0..2 {
            let link = SlotOwner::Link(link_of(record.id(), u8::try_from(n).unwrap()));
            let slot = store.slot(team(1), record.id(), link).await.unwrap();
            assert_eq!(slot.is_some(), model.has_slot(n), "the slot of a link");
        }
    }

    async fn compare_events(&self) {
        let entries = self.store.outbox(0, 0, 100_000).await.unwrap();
        assert!((1..).zip(&entries).all(|(seq, entry)| entry.seq == seq), "numbers are dense");
        let ids: BTreeSet<&str> = entries.iter().map(|entry| entry.event.id.as_str()).collect();
        assert_eq!(ids.len(), entries.len(), "no event twice");
        let mut told = BTreeMap::new();
        for entry in &entries {
            *told.entry(entry.event.kind.as_str()).or_default() += 1;
        }
        assert_eq!(told, self.model.events);
    }
}

fn id(n: usize) -> u8 {
    u8::try_from(n).unwrap() + 1
}

async fn live(made: Made, ready: bool, (limits, lasts): ([Option<u32>; 2], Option<u64>), ops: Vec<Op>) {
    let Made { store, clock, _keep } = made;
    let first = create(team(1), Expires::After(3_600_000), &system(START));
    let model = Model::new(millis(START), 3_600_000, limits, lasts);
    let record = first.record().clone();
    store.commit(first).await.unwrap();
    let mut world = World { model, record, store, clock, streams: vec![], opened: 10, last: None };
    let begun = (0..3).flat_map(|n| [Op::Start(n), Op::Finish(n)]).chain([Op::Complete]);
    for op in begun.filter(|_| ready).chain(ops) {
        world.step(op).await;
        world.compare().await;
        if world.model.at == At::Forgotten {
            break;
        }
    }
    world.compare_events().await;
}

macro_rules! lives {
    ($($name:ident on $make:path;)+) => {
        proptest! {
            #![proptest_config(ProptestConfig { cases: 128, max_shrink_iters: 2000, ..ProptestConfig::default() })]
            $(
                #[test]
                fn $name(
                    ready in prop::bool::weighted(0.7),
                    limits in prop::array::uniform2(prop::option::weighted(0.8, 1..4_u32)),
                    lasts in prop::option::weighted(0.3, 1..100_000_u64),
                    ops in prop::collection::vec(ops(), 1..100),
                ) {
                    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                    runtime.block_on(async { live($make("").await, ready, (limits, lasts), ops).await });
                }
            )+
        }
    };
}

lives! {
    every_life_of_a_transfer_is_as_the_reference_tells on make_sqlite;
    every_life_of_a_transfer_in_redis_is_as_the_reference_tells on make_redis;
}
