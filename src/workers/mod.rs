//! What goes on beside the requests: one loop a file, each with a stop.

pub mod clock;
pub mod listener;
pub mod passwords;
pub mod reaper;
pub mod refusals;
pub mod relay;
pub mod room;
pub mod sweep;
