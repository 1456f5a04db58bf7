//! HTTP: the connections, and what is said to browsers and tools (DESIGN §10).

pub mod client;
pub mod edge;
pub mod error;
mod extract;
pub mod file;
mod layers;
pub mod limit;
mod link;
mod negotiate;
mod options;
pub mod pages;
mod plain;
pub mod problems;
pub mod range;
pub mod router;
mod send;
pub mod state;
mod transfers;
