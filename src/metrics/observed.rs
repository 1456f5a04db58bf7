//! What is looked at when it is asked for, not counted on the way.

use std::time::Duration;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use super::Labels;

/// The state of the service at one instant. What is not known is left out of the text.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "four facts, each a metric of its own")]
pub struct Observed {
    /// The record store answered in time.
    pub records_up: bool,
    /// The blob store answered in time.
    pub blobs_up: bool,
    /// For how long the oldest thing that should have happened has waited; zero: nothing waits.
    pub oldest_overdue: Option<Duration>,
    /// For how long the oldest ended transfer has had objects; zero: none has.
    pub oldest_undeleted: Option<Duration>,
    /// Events that wait for the audit log.
    pub outbox: Option<u64>,
    /// Bytes free for objects, where the blob store says.
    pub free: Option<u64>,
    /// Memory that uploads hold.
    pub buffers: u64,
    /// The most that they may.
    pub buffers_limit: u64,
    /// The audit log lets uploads begin.
    pub gate_uploads: bool,
    /// The audit log lets downloads begin.
    pub gate_downloads: bool,
    /// How far the machine's clock is behind the latest time that was seen.
    pub clock_behind: Duration,
}

/// The last pass of the sweep that went through.
#[derive(Clone, Copy, Debug)]
pub struct Swept {
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// Objects looked at.
    pub objects: usize,
    /// Objects that no record knows, old enough.
    pub orphans: usize,
    /// They were too many to be true.
    pub stopped: bool,
}

impl Observed {
    pub(super) fn register(&self, swept: Option<Swept>, to: &mut Registry) {
        let mut gauge = |name, help, value: Option<f64>| {
            if let Some(value) = value {
                to.register(name, help, ConstGauge::new(value));
            }
        };
        let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs_f64());
        gauge(
            "burnbag_oldest_overdue_seconds",
            "How long the oldest end or deletion that should have happened has waited; absent while the record store does not answer",
            seconds(self.oldest_overdue),
        );
        gauge(
            "burnbag_oldest_undeleted_seconds",
            "How long the oldest ended transfer has waited for the deletion of its objects; absent while the record store does not answer",
            seconds(self.oldest_undeleted),
        );
        gauge("burnbag_outbox_events", "Events that wait for the audit log", self.outbox.map(float));
        gauge(
            "burnbag_blob_store_free_bytes",
            "Room for objects, where the store says",
            self.free.map(float),
        );
        gauge("burnbag_buffer_bytes", "Memory that uploads hold", Some(float(self.buffers)));
        gauge("burnbag_buffer_limit_bytes", "Memory that uploads may hold", Some(float(self.buffers_limit)));
        gauge(
            "burnbag_clock_behind_seconds",
            "How far the clock of the machine is behind the latest time that was seen",
            seconds(Some(self.clock_behind)),
        );
        gauge(
            "burnbag_sweep_objects",
            "Objects that the last sweep saw",
            swept.map(|swept| float(swept.objects as u64)),
        );
        gauge(
            "burnbag_sweep_orphans",
            "Objects without a record that the last sweep found",
            swept.map(|swept| float(swept.orphans as u64)),
        );
        gauge(
            "burnbag_sweep_stopped",
            "1: the last sweep found too many orphans and deleted nothing",
            swept.map(|swept| f64::from(swept.stopped)),
        );
        gauge(
            "burnbag_sweep_timestamp_seconds",
            "When the last sweep went through",
            swept.map(|swept| float(swept.at)),
        );
        let stores = [("records", self.records_up), ("blobs", self.blobs_up)];
        to.register("burnbag_store_up", "1: the store answers", words("store", stores));
        let gate = [("uploads", self.gate_uploads), ("downloads", self.gate_downloads)];
        to.register("burnbag_audit_gate_open", "1: the audit log lets them begin", words("for", gate));
    }
}

fn words(label: &'static str, values: [(&'static str, bool); 2]) -> Family<Labels<1>, Gauge> {
    let family = Family::default();
    for (word, value) in values {
        let gauge: &Gauge = &family.get_or_create(&[(label, word.into())]);
        gauge.set(i64::from(value));
    }
    family
}

/// Every value that is shown is below 2^53.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats in every form of the text")]
pub(super) const fn float(value: u64) -> f64 {
    value as f64
}
