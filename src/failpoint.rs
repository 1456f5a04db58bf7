//! Points at which a test ends the process, as a machine that loses its power would. Only builds with debug assertions have
//! them: in a release build [`hit`] is nothing (ADR 17).

/// Every point, in the order in which a transfer comes to them.
pub const POINTS: &[&str] = &[
    "after_record",
    "after_open",
    "after_journal",
    "after_part",
    "before_complete",
    "after_complete",
    "before_commit",
    "after_commit",
    "before_end",
    "after_end",
    "before_delete",
    "after_delete",
    "after_purge",
];

/// Whether this build has them.
pub const COMPILED: bool = cfg!(debug_assertions);

/// Ends the process here, if the environment variable `FAILPOINT` is this point, or this point with `:` and a number, and
/// it is reached for that time.
#[cfg(debug_assertions)]
pub fn hit(point: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    struct Armed {
        point: String,
        left: AtomicU32,
    }
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    #[expect(clippy::disallowed_methods, reason = "not a setting: no release build reads it")]
    let armed = ARMED.get_or_init(|| {
        let text = std::env::var("FAILPOINT").ok()?;
        let (point, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Armed { point: point.to_owned(), left: AtomicU32::new(times.parse().ok()?) })
    });
    if let Some(armed) = armed
        && armed.point == point
        && armed.left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        tracing::error!(point, "failpoint: the process ends here");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub const fn hit(_point: &'static str) {}
