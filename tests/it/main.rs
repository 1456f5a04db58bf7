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
mod pages;
