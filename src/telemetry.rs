//! Logs: events with fields on stderr, in the form that the operator chose. `docs/LOGGING.md` says what is never in them.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;

/// Starts the log of this process, once; a second call changes nothing.
pub fn start(filter: &str, format: LogFormat) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        // Or it would complain on stderr that stderr is closed, and fall over that.
        .log_internal_errors(false)
        .with_target(true);
    let _ = match format {
        LogFormat::Text => builder.finish().try_init(),
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init(),
    };
}
