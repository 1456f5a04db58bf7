//! Small transfers to try things on.

use std::cell::Cell;
use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::transfer::lease::{LeaseOp, LeaseRequest, LeaseTimes, OpenStream, StreamRef};
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{
    AccountId, BlobKey, Change, Context, FileId, HolderId, InstanceId, LinkId, NewFile, NewLink, NewTransfer,
    Object, StreamId, TeamId, Transfer, TransferId, WholeFile,
};

/// Where clocks begin.
pub const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub const TIMES: LeaseTimes = LeaseTimes { idle: Duration::from_mins(15), retry: Duration::from_mins(1) };

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub fn system(now: Timestamp) -> Context {
    Context::system(InstanceId::from_bytes([1; 16]), now)
}

pub fn team(n: u8) -> TeamId {
    TeamId::from_bytes([n; 16])
}

pub fn owner() -> AccountId {
    AccountId::from_bytes([7; 16])
}

pub fn file(n: u8) -> FileId {
    FileId::from_bytes([n; 16])
}

pub fn holder(n: u8) -> HolderId {
    HolderId::from_bytes([n; 16])
}

thread_local! {
    /// The shard of the store that a test of this thread is on; whoever makes a store says it.
    pub static SHARD: Cell<u8> = const { Cell::new(0) };
}

/// A link id of the test's shard that no other transfer has.
pub fn link_of(transfer: TransferId, n: u8) -> LinkId {
    let mut bytes = *transfer.as_bytes();
    bytes[..2].copy_from_slice(&[n, SHARD.get()]);
    bytes.rotate_left(1);
    LinkId::from_bytes(bytes)
}

pub fn create(of: TeamId, expires: Expires, context: &Context) -> Change {
    let id = TransferId::generate(context.now);
    let new = NewTransfer {
        id,
        team: of,
        owner: owner(),
        expires,
        commitment: [5; 32],
        owner_slot: b"owner slot until the hard end".to_vec(),
        upload_deadline: context.now.after(secs(900)),
    };
    Transfer::create(new, context)
}

pub fn new_file(transfer: TransferId, id: FileId) -> NewFile {
    NewFile {
        id,
        object: BlobKey::generate(0, transfer, id, 0),
        sealed: b"sealed name".to_vec(),
        upload_deadline: Timestamp::default(),
    }
}

pub fn whole_file(transfer: TransferId, id: FileId, size: u64) -> WholeFile {
    WholeFile {
        id,
        objects: vec![Object { key: BlobKey::generate(0, transfer, id, 0), size: Some(size + 56) }],
        sealed: b"sealed name, size and digest".to_vec(),
        runs: vec![b"sealed runs".to_vec()],
        size,
        content_mac: [6; 32],
    }
}

pub fn new_link(transfer: TransferId, n: u8, downloads: Option<u32>) -> NewLink {
    let id = link_of(transfer, n);
    NewLink {
        id,
        n: Some(u32::from(n)),
        downloads,
        deadline: None,
        label: None,
        password: None,
        slot: format!("slot of link {id}").into_bytes(),
    }
}

/// Created and with these files whole, as one change.
pub fn uploaded(of: TeamId, expires: Expires, sizes: &[u64], context: &Context) -> Change {
    let mut change = create(of, expires, context);
    for (n, size) in (1..).zip(sizes) {
        change = change
            .and_then(|transfer, context| {
                let new = new_file(transfer.id(), file(n));
                transfer.start_file(new, context)
            })
            .unwrap()
            .and_then(|transfer, context| {
                let whole = whole_file(transfer.id(), file(n), *size);
                transfer.finish_file(whole, context)
            })
            .unwrap();
    }
    change
}

/// Available with one link, as one change.
pub fn available(
    of: TeamId,
    expires: Expires,
    sizes: &[u64],
    downloads: Option<u32>,
    context: &Context,
) -> Change {
    uploaded(of, expires, sizes, context)
        .and_then(|transfer, context| {
            let link = new_link(transfer.id(), 0, downloads);
            transfer.complete(vec![link], b"owner slot".to_vec(), context)
        })
        .unwrap()
}

pub fn stream() -> StreamId {
    StreamId::generate(START)
}

/// A request under its stream's id, as DESIGN §4 asks.
pub fn request(transfer: &Transfer, op: LeaseOp, now: Timestamp) -> LeaseRequest {
    let mut context = system(now);
    match &op {
        LeaseOp::Open(open) => context.operation = open.stream.into(),
        LeaseOp::Renew { stream, .. } | LeaseOp::Settle { stream, .. } => {
            context.operation = stream.stream.into();
        }
        LeaseOp::EndDue => {}
    }
    LeaseRequest { team: transfer.team(), transfer: transfer.id(), op, context, times: TIMES }
}

pub fn open(transfer: &Transfer, by: HolderId, id: StreamId, from: u64, to: u64) -> LeaseOp {
    LeaseOp::Open(OpenStream {
        stream: id,
        link: transfer.links()[0].id,
        holder: by,
        file: file(1),
        from,
        to,
    })
}

pub fn settle(stream: StreamRef, written: u64) -> LeaseOp {
    LeaseOp::Settle { stream, written }
}
