//! Wires and disks: the record store and the blob store, two real backends each.

pub mod blob;
pub mod measured;
pub mod records;
pub mod reserve;

pub use blob::{BlobError, BlobReader, BlobStore, BlobUpload, Listed, Part};
pub use records::{RecordStore, StoreError};
pub use reserve::Reserve;
