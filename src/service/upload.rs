//! What is said of an upload, and what its task is told.

use bytes::Bytes;

use crate::transfer::FileName;
use crate::transfer::policy::Settled;

/// What is said of a file before its bytes.
#[derive(Clone, Debug)]
pub struct NewUpload {
    /// Its name.
    pub name: FileName,
    /// Its media type, as the sender says.
    pub media_type: Option<String>,
    /// Its length in bytes, if the sender says; then exactly so many must come.
    pub length: Option<u64>,
}

/// What the task is told, in order.
pub(super) enum Order {
    /// The next file.
    File(NewUpload),
    /// Its bytes.
    Data(Bytes),
    /// It is whole.
    EndFile,
    /// All files are whole.
    Complete(Settled),
}
