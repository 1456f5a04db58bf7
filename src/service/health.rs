//! Whether uploads and downloads can be served.

use super::Service;

/// What `/readyz` tells: a line for each part. No path and no error text of a store, since anybody may ask.
#[derive(Clone, Debug)]
pub struct Health {
    /// Everything that serving needs works.
    pub ready: bool,
    /// `<part>: ok`, or what is wrong.
    pub lines: Vec<String>,
}

impl Service {
    /// Asks the stores and the audit log.
    pub async fn health(&self) -> Health {
        let mut health = Health { ready: true, lines: Vec::new() };
        let mut part = |name: &str, failed: Option<String>| {
            health.ready &= failed.is_none();
            health.lines.push(format!("{name}: {}", failed.as_deref().unwrap_or("ok")));
        };
        part("records", self.records.meta("store-id").await.err().map(|_| "not answering".to_owned()));
        part("objects", self.blobs.store_id().await.err().map(|_| "not answering".to_owned()));
        let audit = self.gate.status();
        part(
            "audit log",
            (!audit.ready)
                .then(|| "not written, or too far behind; the log of the service says why".to_owned()),
        );
        if audit.elsewhere {
            health.lines.push("audit relay: another instance has the log".to_owned());
        }
        health.lines.push(self.room_line().await);
        health.lines.extend(self.records.remarks().into_iter().map(|remark| format!("records: {remark}")));
        health.lines.push("audit anchor: none: a cut at the end of the audit log cannot be seen".to_owned());
        health
    }
}
