//! The stores as they are measured: every call of either trait is timed and its failures counted, whichever backend
//! runs. What a committed change says of ends and deletions is counted here too, so that no way to end one is forgotten.

mod blobs;
mod records;

pub use blobs::MeasuredBlobs;
pub use records::MeasuredRecords;
