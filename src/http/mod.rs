//! HTTP: the connections, and what is said to browsers and tools.

pub mod client;
pub mod edge;
pub mod pages;
pub mod problems;
