//! burnbag: a secure, ephemeral file-transfer service.
//!
//! `docs/ARCHITECTURE.md` is the map; each module is one of its rooms.

pub mod app;
pub mod audit;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod failpoint;
pub mod http;
pub mod metrics;
pub mod service;
pub mod storage;
pub mod telemetry;
pub mod transfer;
pub mod workers;
