//! One line of the log (DESIGN §9).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::storage::records::OutboxEntry;
use crate::transfer::{Actor, EventType, FileId, InstanceId, LinkId, Outcome, TransferId};

/// No line is longer, in bytes: a longer one is no line. Real ones are below 1 KiB.
pub(super) const MAX_LINE: u64 = 1 << 20;

/// The SHA-256 of a line without its newline, or of the log id.
pub(super) type Hash = [u8; 32];

pub(super) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// A line. The fields' order is that of the text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    v: u8,
    #[serde(borrow)]
    pub(super) id: Cow<'a, str>,
    pub(super) shard: u8,
    pub(super) seq: u64,
    #[serde(with = "rfc3339")]
    pub(super) time: Timestamp,
    instance: InstanceId,
    #[serde(rename = "type")]
    kind: EventType,
    actor: Actor,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transfer: Option<TransferId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<FileId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<LinkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_mac: Option<Cow<'a, str>>,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Cow<'a, str>>,
    #[serde(borrow)]
    prev: Cow<'a, str>,
}

const VERSION: u8 = 1;

impl<'a> Line<'a> {
    /// The line for `entry` behind the line with the hash `prev`.
    pub(super) fn new(entry: &'a OutboxEntry, shard: u8, prev: &Hash) -> Self {
        let OutboxEntry { seq, event } = entry;
        Self {
            v: VERSION,
            id: Cow::Borrowed(&event.id),
            shard,
            seq: *seq,
            time: event.time,
            instance: event.instance,
            kind: event.kind,
            actor: event.actor,
            client: event.client.as_deref().map(Cow::Borrowed),
            transfer: event.transfer,
            file: event.file,
            link: event.link,
            bytes: event.bytes,
            content_mac: event.content_mac.as_deref().map(Cow::Borrowed),
            outcome: event.outcome,
            reason: event.reason.as_deref().map(Cow::Borrowed),
            count: event.count,
            trace: event.trace.as_deref().map(Cow::Borrowed),
            prev: Cow::Owned(hex::encode(prev)),
        }
    }

    /// The text, without a newline.
    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Reads the text of a line. Only the one text that [`Line::to_bytes`] gives is a line; else the answer says why not.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, String> {
        let line: Self =
            serde_json::from_slice(text).map_err(|error| format!("it is not a line of this log: {error}"))?;
        if line.v != VERSION {
            return Err(format!("it has the version {}, and only {VERSION} is known", line.v));
        }
        if line.to_bytes().map_err(|error| error.to_string())? != text {
            return Err(
                "it is not written as the service writes it (order of fields, spaces or forms)".into()
            );
        }
        Ok(line)
    }

    /// Whether it was written behind the line with this hash.
    pub(super) fn follows(&self, hash: &Hash) -> bool {
        *self.prev == hex::encode(hash)
    }
}

mod rfc3339 {
    use std::borrow::Cow;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use crate::clock::Timestamp;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(time)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        Cow::<'_, str>::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}
