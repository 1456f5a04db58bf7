//! Time: the only room that asks the machine what time it is.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// An instant in UTC, in whole milliseconds since the Unix epoch. Shown as RFC 3339 with milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(from = "u64")]
pub struct Timestamp(u64);

impl From<u64> for Timestamp {
    fn from(millis: u64) -> Self {
        Self::from_millis(millis)
    }
}

impl Timestamp {
    /// The last instant that is written in the year 9999 in every time zone: what [`FromStr`] reads goes no further.
    pub const MAX: Self = Self(253_402_207_200_000);

    /// Instants past [`Timestamp::MAX`] become it.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        if millis > Self::MAX.0 { Self::MAX } else { Self(millis) }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant moved on by `by`, at most to [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self::from_millis(self.0.saturating_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{time:.3}")
    }
}

/// The text is not an RFC 3339 instant at or after 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not an RFC 3339 instant such as 2030-01-31T18:00:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        u64::try_from(time.as_millisecond()).map(Self::from_millis).map_err(|_| InvalidTimestamp)
    }
}

/// A source of time. The machine's, one that a test turns by hand, and one over either that never goes back.
pub trait Clock: Send + Sync + 'static {
    /// The time now. May jump in either direction when the machine's clock is set.
    fn now(&self) -> Timestamp;

    /// Ends when the clock shows `at` or later, also when the clock is set forward in between.
    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// How far the machine's clock is behind the latest time that was seen; zero where that is not watched.
    fn behind(&self) -> Duration {
        Duration::ZERO
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that is set forward is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_secs(1);

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the machine")]
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Timestamp::default().after(since_epoch.unwrap_or_default())
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(LONGEST_NAP)).await;
            }
        })
    }
}

/// A step back that is waited out: the time stands still until the machine's clock has come up to it again.
const WAITED_OUT: Duration = Duration::from_mins(1);

/// A clock that never goes back (ADR 12): what was past once stays past. Where the clock below is set back by more
/// than a minute, the time goes on from the latest that was seen, by the seconds that really pass.
pub struct SteadyClock {
    below: Arc<dyn Clock>,
    latest: AtomicU64,
    /// Whether there is something in `behind`; asked at each look.
    is_behind: AtomicBool,
    behind: Mutex<Option<Behind>>,
}

/// The clock below was set back.
struct Behind {
    /// When that was noticed, and what was the latest then.
    noticed: Instant,
    latest: Timestamp,
}

impl SteadyClock {
    /// Over another clock.
    #[must_use]
    pub fn new(below: Arc<dyn Clock>) -> Self {
        let latest = AtomicU64::new(below.now().as_millis());
        Self { below, latest, is_behind: AtomicBool::new(false), behind: Mutex::default() }
    }

    /// A time that is on record: it is not earlier than that.
    pub fn raise(&self, to: Timestamp) {
        self.latest.fetch_max(to.as_millis(), Ordering::SeqCst);
    }

    fn set_back(&self, below: Timestamp, latest: Timestamp) -> Timestamp {
        let mut behind = self.behind.lock().unwrap_or_else(PoisonError::into_inner);
        self.is_behind.store(true, Ordering::SeqCst);
        let since = behind.get_or_insert_with(|| {
            tracing::error!(
                shown = %below,
                %latest,
                "the clock was set back: what has ended stays ended, and deadlines go on by the seconds that pass; set \
                 the clock right, uploads are refused while it is more than a minute behind"
            );
            Behind { noticed: Instant::now(), latest }
        });
        let now = since.latest.after(since.noticed.elapsed());
        self.raise(now);
        now.max(latest)
    }

    fn is_right_again(&self) {
        *self.behind.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.is_behind.store(false, Ordering::SeqCst);
        tracing::info!("the clock has come up to the latest time that was seen");
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        let below = self.below.now();
        let latest = Timestamp::from_millis(self.latest.fetch_max(below.as_millis(), Ordering::SeqCst));
        match latest.since(below) {
            Duration::ZERO => {
                if self.is_behind.load(Ordering::Relaxed) {
                    self.is_right_again();
                }
                below
            }
            // Mostly it is another thread that looked a moment later.
            step if step <= WAITED_OUT => latest,
            _ => self.set_back(below, latest),
        }
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let left = at.since(self.now());
                if left.is_zero() {
                    return;
                }
                tokio::select! {
                    () = self.below.sleep_until(at) => {}
                    () = tokio::time::sleep(left.min(LONGEST_NAP)) => {}
                }
            }
        })
    }

    fn behind(&self) -> Duration {
        self.now().since(self.below.now())
    }
}

/// A clock that stands still until it is turned. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    /// A clock that shows `start`.
    #[must_use]
    pub fn new(start: Timestamp) -> Self {
        Self(watch::Sender::new(start))
    }

    /// Turns the clock on and wakes who waited for it.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = now.after(by));
    }

    /// Sets the clock, backwards too, and wakes who waited for it.
    pub fn set(&self, now: Timestamp) {
        self.0.send_replace(now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut shown = self.0.subscribe();
            // The sender lives as long as `self`, so the wait ends only when the time has come.
            let _ = shown.wait_for(|now| *now >= at).await;
        })
    }
}
