//! burnbag: a secure, ephemeral file-transfer service.
//!
//! `docs/ARCHITECTURE.md` is the map; each module is one of its rooms.

pub mod audit;
pub mod clock;
pub mod crypto;
pub mod http;
pub mod storage;
pub mod transfer;
pub mod workers;
