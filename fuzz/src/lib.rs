//! What is held of every reader of bytes from outside or from a store, whatever bytes come in.
//!
//! One module a target, each with one function `run`, which panics where a promise is broken. `cargo fuzz` calls them by
//! `fuzz_targets/`; the service's own tests call them with the kept corpus (`tests/it/fuzz_corpus.rs`).

pub mod account_key;
pub mod audit_log;
pub mod basic;
pub mod config;
pub mod file_name;
pub mod form;
pub mod forwarded_for;
pub mod head;
pub mod ids;
mod input;
pub mod kek_file;
pub mod layout;
pub mod options;
pub mod password_block;
pub mod range;
pub mod records;
pub mod run;
pub mod sealed_file;
pub mod secrets;
pub mod slot;
pub mod ticket;
pub mod token;
pub mod words;
