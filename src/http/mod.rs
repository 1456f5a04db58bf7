//! HTTP: the connections, the routes and what they say.

pub mod client;
pub mod edge;
