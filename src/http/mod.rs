//! HTTP: the connections, and what is said to browsers and tools (DESIGN §10).

mod accounts;
pub mod client;
pub mod edge;
pub mod error;
pub mod extract;
pub mod file;
pub mod incoming;
pub mod json;
mod layers;
pub mod limit;
mod link;
pub mod metrics;
pub mod negotiate;
pub mod options;
pub mod pages;
mod plain;
pub mod problems;
pub mod range;
pub mod router;
mod send;
pub mod state;
mod teams;
mod tokens;
mod transfers;
