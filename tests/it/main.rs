#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod names;
mod options;
mod record_contract;
mod sample;
mod sqlite_store;
mod transfer_leases;
mod transfer_model;
mod transfer_states;
