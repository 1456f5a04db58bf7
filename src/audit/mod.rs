//! The audit log: every event on one chain of lines, in segments on disk (DESIGN §9).
//!
//! ```text
//! <audit dir>/lock                            held by the one process that writes
//! <audit dir>/log-id                          the log id of the record store whose events these are
//! <audit dir>/<shard>/<16 digits>.jsonl       segments, numbered from 1
//! <audit dir>/<shard>/lost                    gaps that the operator accepted, one `first-last` a line
//! ```
//!
//! Events wait in the record store's outbox until [`crate::workers::relay`] has them in the log. [`AuditGate`] tells the
//! rest of the service whether that goes well.

mod error;
mod gate;
mod line;
mod log;
mod relay;
mod report;
mod rollback;
mod segment;
mod verify;

pub use error::AuditError;
pub use gate::{AuditGate, AuditStatus, AuditUnavailable, DOWNLOADS_STOP, UPLOADS_STOP};
pub use log::{DirLock, Log, SEGMENT_BYTES};
pub use relay::{Relay, RelayConfig, RelayError};
pub use report::{Fault, Mark, Report, ShardReport, Torn, VerifyError};
pub use verify::verify;
