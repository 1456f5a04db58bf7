//! HTTP: the connections, and what is said to browsers and tools (DESIGN §10).

pub mod client;
pub mod edge;
pub mod error;
pub mod extract;
mod fields;
pub mod file;
pub mod incoming;
pub mod json;
mod layers;
pub mod limit;
mod link;
mod listing;
pub mod metrics;
pub mod negotiate;
pub mod options;
pub mod pages;
mod plain;
pub mod problems;
pub mod range;
pub mod router;
mod send;
mod session;
pub mod state;
mod transfer_page;
mod transfers;
mod unlock;
