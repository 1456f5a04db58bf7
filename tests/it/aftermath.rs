//! What must hold once crashes and faults are over, by the audit log: it is whole, and what is not live is gone.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use serde_json::Value;

use crate::support::Server;

/// The gauges, without `burnbag_`, that show 0 when nothing is under way and nothing is left.
pub const NOTHING: [&str; 6] = [
    "oldest_overdue_seconds",
    "oldest_undeleted_seconds",
    "outbox_events",
    "uploads_running",
    "downloads_running",
    "buffer_bytes",
];

/// What became of each transfer, by its id.
#[derive(Debug)]
pub struct Lives {
    pub created: BTreeSet<String>,
    /// They were whole once, and have not ended.
    pub live: BTreeSet<String>,
    pub purged: BTreeSet<String>,
}

impl Lives {
    pub fn of(lines: &[Value]) -> Self {
        let of = |kind: &str| -> BTreeSet<String> {
            let found = lines.iter().filter(|line| line["type"] == kind);
            found.map(|line| line["transfer"].as_str().unwrap().to_owned()).collect()
        };
        let mut live = of("transfer.available");
        for end in ["deleted", "abandoned", "expired", "exhausted"] {
            for id in of(&format!("transfer.{end}")) {
                live.remove(&id);
            }
        }
        Self { created: of("transfer.created"), live, purged: of("transfer.purged") }
    }

    /// Whether all that is not live is gone.
    pub fn are_settled(&self) -> bool {
        self.created.iter().all(|id| self.live.contains(id) || self.purged.contains(id))
    }
}

/// The transfer whose object this file is.
pub fn transfer_of(object: &Path) -> String {
    object.components().rev().nth(2).unwrap().as_os_str().to_str().unwrap().to_owned()
}

/// The transfers that have objects in the directory, one for each object.
pub fn with_objects(server: &Server) -> Vec<String> {
    server.objects().iter().map(|object| transfer_of(object)).collect()
}

/// Numbers without a gap, no event twice, one of each kind a transfer, and in a life what belongs together.
pub fn each_event_once(lines: &[Value]) -> HashMap<(&str, &str), usize> {
    let mut ids = HashSet::new();
    let mut life: HashMap<(&str, &str), usize> = HashMap::new();
    for (n, line) in (1..).zip(lines) {
        assert_eq!(line["seq"].as_u64(), Some(n), "a gap in the log");
        assert!(ids.insert(line["id"].as_str().unwrap()), "an event is there twice: {line}");
        if let Some(transfer) = line["transfer"].as_str() {
            *life.entry((transfer, line["type"].as_str().unwrap())).or_default() += 1;
        }
    }
    for ((transfer, kind), count) in &life {
        let once = kind.starts_with("transfer.") || kind.starts_with("upload.") || kind.starts_with("link.");
        assert!(!once || *count == 1, "{transfer} has {count} times {kind}");
    }
    let has = |transfer: &str, kind: &str| life.contains_key(&(transfer, kind));
    for (transfer, _) in life.keys().filter(|(_, kind)| kind.starts_with("transfer.")) {
        assert!(has(transfer, "transfer.created") && has(transfer, "upload.started"));
        let whole = has(transfer, "transfer.available");
        assert_eq!(whole, has(transfer, "upload.completed"), "{transfer}");
        assert_ne!(whole, has(transfer, "transfer.abandoned"), "{transfer}: either whole or abandoned");
    }
    life
}

/// `burnbag audit verify` finds nothing.
pub fn verify(server: &Server, audit: &Path) -> String {
    let verified = server.burnbag(&["audit", "verify", audit.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    String::from_utf8_lossy(&verified.stdout).trim_end().to_owned()
}
