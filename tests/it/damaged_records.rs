//! Records that another hand changed: refused as damaged, or reckoned with, and never a reason to fall over.

use burnbag::clock::Timestamp;
use burnbag::transfer::Transfer;
use burnbag::transfer::lease::{Counts, FileLease, Hold};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::sample::{START, create, system, team};

fn lease(delivered: &Value, stream: &Value) -> Result<FileLease, serde_json::Error> {
    let id = "08080808080808080808080808080808";
    let [from, to, written] = [0, 1, 2].map(|at| stream[at].clone());
    let stream = json!({ "id": id, "from": from, "to": to, "written": written, "renewed": 5 });
    serde_json::from_value(json!({ "starts": 1, "sent": 0, "delivered": delivered, "streams": [stream] }))
}

#[test]
fn a_lease_whose_ranges_are_none_is_refused() {
    let whole = json!([5, 9, 4]);
    assert!(lease(&json!([[0, 2], [4, 5]]), &whole).is_ok());
    for delivered in [
        json!([[9, 2]]),
        json!([[2, 2]]),
        json!([[9, 12], [4, 5]]),
        json!([[0, 4], [4, 5]]),
        json!([[0, 5], [4, 9]]),
        json!((0..65).map(|n| [n * 4, n * 4 + 1]).collect::<Vec<_>>()),
    ] {
        let error = lease(&delivered, &whole).unwrap_err().to_string();
        assert!(error.contains("in order and apart"), "{delivered}: {error}");
    }
}

#[test]
fn a_stream_that_writes_past_its_end_is_refused() {
    for stream in [json!([9, 2, 0]), json!([9, 12, 4]), json!([9, 12, u64::MAX])] {
        let error = lease(&json!([]), &stream).unwrap_err().to_string();
        assert!(error.contains("past its end"), "{stream}: {error}");
    }
}

#[test]
fn sizes_and_counts_without_end_are_the_most_that_there_is() {
    let created = create(team(1), burnbag::transfer::policy::Expires::After(1000), &system(START));
    let mut record = serde_json::to_value(created.record()).unwrap();
    let file = |n: u8| {
        let id = format!("{n:02x}").repeat(16);
        json!({ "id": id, "state": "whole", "objects": [], "sealed": "", "size": u64::MAX })
    };
    record["files"] = json!([file(1), file(2)]);
    let transfer: Transfer = serde_json::from_value(record).unwrap();
    assert_eq!(transfer.bytes(), u64::MAX);
    let full = Counts { used: u32::MAX, held: u32::MAX, returned: u32::MAX, last: None };
    for moves in [(None, Some(Hold::Held)), (Some(Hold::Held), Some(Hold::Used)), (Some(Hold::Held), None)] {
        assert!(full.moved(moves.0, moves.1, START).used == u32::MAX);
    }
}

#[test]
fn the_last_instant_is_the_last_that_can_be_written() {
    let last = Timestamp::MAX.to_string();
    assert_eq!(last, "9999-12-30T22:00:00.000Z");
    assert_eq!(last.parse(), Ok(Timestamp::MAX));
    let later: Timestamp = serde_json::from_value(json!(u64::MAX)).unwrap();
    assert_eq!(later, Timestamp::MAX, "a record's too");
}

proptest! {
    #[test]
    fn an_instant_comes_back_from_text_and_record(millis in prop_oneof![any::<u64>(), 253_402_207_199_000..253_402_207_202_000_u64]) {
        let time = Timestamp::from_millis(millis);
        prop_assert_eq!(time.to_string().parse(), Ok(time));
        prop_assert_eq!(serde_json::from_value::<Timestamp>(json!(millis)).unwrap(), time);
        prop_assert_eq!(serde_json::to_value(time).unwrap(), json!(time.as_millis()));
    }
}
