//! What lies in the record store as JSON: a record that another hand changed is refused or lived with, and comes back
//! from its text.

use std::fmt::Debug;
use std::time::Duration;

use burnbag::clock::Timestamp;
use burnbag::transfer::access::{Account, Team, TokenRecord};
use burnbag::transfer::lease::{
    Counts, Hold, Lease, LeaseSummary, LeaseTimes, Leases, OpenStream, StreamRef, is_exhausted, open_stream,
};
use burnbag::transfer::{
    Context, Event, HolderId, InstanceId, Journal, OperationId, StreamId, Touch, Transfer, due,
};
use serde::{Serialize, de::DeserializeOwned};

const NOW: Timestamp = Timestamp::from_millis(1_900_000_000_000);
const TIMES: LeaseTimes = LeaseTimes { idle: Duration::from_mins(15), retry: Duration::from_mins(1) };

pub fn run(data: &[u8]) {
    // Two records, since a lease means nothing without its transfer.
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    comes_back::<Event>(first);
    comes_back::<Account>(first);
    comes_back::<Team>(first);
    if let Some(token) = comes_back::<TokenRecord>(first) {
        let _ = token.stands(NOW);
    }
    let journal = comes_back::<Journal>(second).unwrap_or_default();
    let Some(transfer) = comes_back::<Transfer>(first) else { return };
    of_transfer(&transfer, journal);
    if let Some(lease) = comes_back::<Lease>(second) {
        of_lease(&transfer, &lease);
    }
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(json: &[u8]) -> Option<T> {
    let value: T = serde_json::from_slice(json).ok()?;
    let again: T = serde_json::from_slice(&serde_json::to_vec(&value).unwrap()).unwrap();
    assert_eq!(again, value);
    Some(value)
}

fn system() -> Context {
    Context::system(InstanceId::from_bytes([7; 16]), NOW)
}

fn of_transfer(transfer: &Transfer, mut journal: Journal) {
    let _ = (transfer.bytes(), transfer.deadline_from(NOW), transfer.deadline().to_string());
    assert!(transfer.blob_keys().count() <= transfer.files().iter().map(|file| file.objects.len()).sum());
    let leases = LeaseSummary { open: 1, next_end: Some(NOW), exhausted: false, changed: NOW };
    assert!(due(transfer, &journal, &leases).is_some_and(|due| due <= NOW), "a lease ends in time");
    let counts = |_| Counts::default().moved(None, Some(Hold::Held), NOW).moved(Some(Hold::Held), None, NOW);
    assert!(!is_exhausted(transfer, counts, 1, NOW));
    assert!(journal.backoff() <= Duration::from_mins(10));
    journal.retry(NOW);
    let Some(file) = transfer.files().first() else { return };
    let touch = Touch {
        team: transfer.team(),
        transfer: transfer.id(),
        file: file.id,
        epoch: u64::MAX,
        opener: OperationId::from_bytes([9; 16]),
        upload: None,
        bytes: 1,
        upload_deadline: NOW,
    };
    if journal.touch(transfer, &touch).is_ok() {
        assert_eq!(journal.files[&file.id].epoch, u64::MAX);
    }
}

fn of_lease(transfer: &Transfer, lease: &Lease) {
    let _ = lease.ends(transfer, TIMES);
    for (file, held) in &lease.files {
        for stream in &held.streams {
            let at = StreamRef { lease: lease.id, file: *file, stream: stream.id };
            for written in [0, u64::MAX] {
                let change = lease.clone().progress(at, written, true, transfer, TIMES, &system());
                if let Some(change) = change {
                    assert!(change.lease().files[file].streams.len() < held.streams.len());
                }
            }
        }
        let mut delivered = held.delivered.clone();
        delivered.add(3, 5);
        assert!(delivered.total() >= 2);
    }
    if let Some(ended) = lease.clone().end_due(transfer, TIMES, &system()) {
        assert_eq!(ended.holds().1, None);
    }
    let Some(file) = transfer.files().first() else { return };
    let leases =
        Leases { transfer, counts: Counts::default(), held: std::slice::from_ref(lease), open: 1, now: NOW };
    let ask = OpenStream {
        stream: StreamId::from_bytes([8; 16]),
        link: lease.link,
        holder: HolderId::from_bytes([6; 16]),
        file: file.id,
        from: 0,
        to: file.size.unwrap_or_default(),
    };
    if let Ok((at, Some(change))) = open_stream(leases, &ask, TIMES, &system()) {
        assert_eq!((at.file, at.stream), (file.id, ask.stream));
        assert!(change.ends() >= NOW);
    }
}
