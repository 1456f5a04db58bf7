//! What goes on beside the requests: one loop a file, each with a stop.
pub mod relay;
