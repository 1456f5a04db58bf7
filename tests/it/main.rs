#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod audit_log;
mod audit_relay;
mod audit_support;
mod audit_verify;
mod bad_input;
mod blob_contract;
mod blob_local;
mod canary;
mod client_address;
mod crypto_derivations;
mod crypto_layout;
mod crypto_parsers;
mod crypto_stream;
mod crypto_tink;
mod crypto_wycheproof;
mod edge;
mod edge_clients;
mod edge_support;
mod names;
mod options;
mod pages;
mod ranges;
mod record_contract;
mod round_trip;
mod sample;
mod sqlite_store;
mod support;
mod transfer_model;
mod transfer_states;
