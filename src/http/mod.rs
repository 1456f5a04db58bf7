//! HTTP: the connections, and what is said to browsers and tools (DESIGN §10).

pub mod client;
pub mod edge;
pub mod error;
mod extract;
pub mod file;
mod layers;
mod limit;
mod link;
mod options;
pub mod pages;
mod plain;
pub mod problems;
pub mod range;
pub mod router;
mod send;
mod transfers;
