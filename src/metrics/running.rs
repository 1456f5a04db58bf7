//! What is counted from its beginning to its end, whichever way it ends.

use std::time::Instant;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Histograms, Metrics, Store};

/// A number that only grows. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Count(Counter);

impl Count {
    pub(super) const fn of(counter: Counter) -> Self {
        Self(counter)
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.inc_by(more);
    }
}

/// How many there are now. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Level(Gauge);

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Entered(Gauge);

impl Level {
    pub(super) const fn of(gauge: Gauge) -> Self {
        Self(gauge)
    }

    /// One more, until what is given back is dropped.
    #[must_use]
    pub fn enter(&self) -> Entered {
        self.0.inc();
        Entered(self.0.clone())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// An upload or a download in flight.
#[derive(Debug)]
pub struct Running {
    _entered: Entered,
    seconds: Histograms<1>,
    begun: Instant,
    outcome: &'static str,
}

impl Running {
    pub(super) fn begin(level: &Level, seconds: Histograms<1>) -> Self {
        Self { _entered: level.enter(), seconds, begun: Instant::now(), outcome: "stopped" }
    }

    /// It ended in this way: a word out of a fixed set.
    pub fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let labels = [("outcome", self.outcome.into())];
        self.seconds.get_or_create(&labels).observe(self.begun.elapsed().as_secs_f64());
    }
}

/// A call of a store under way. Dropped before its end it counts as given up: whoever asked waits no longer.
#[derive(Debug)]
pub struct Operation {
    metrics: Metrics,
    store: Store,
    name: &'static str,
    begun: Instant,
    answered: bool,
}

impl Operation {
    pub(super) fn begin(metrics: Metrics, store: Store, name: &'static str) -> Self {
        Self { metrics, store, name, begun: Instant::now(), answered: false }
    }

    /// The store did not do it, or not this one of several, for a reason out of a fixed set.
    pub fn failed(&self, error: &'static str) {
        self.metrics.store_failed(self.store, self.name, error);
    }

    /// The store answered.
    pub fn end(mut self) {
        self.answered = true;
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.answered {
            self.failed("given_up");
        }
        self.metrics.store_took(self.store, self.name, self.begun);
    }
}
