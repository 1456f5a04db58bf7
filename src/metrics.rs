//! What the service counts of itself, and the text in which that is scraped.
//!
//! Labels are words out of fixed sets: routes, codes, operations. Never an id, a name or an address (`DESIGN §2`, 6).

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

mod observed;
mod process;
mod running;
mod text;

pub use observed::{Observed, Swept};
pub use running::{Count, Entered, Level, Operation, Running};
pub use text::Form;

type Labels<const N: usize> = [(&'static str, Cow<'static, str>); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Histograms<const N: usize> = Family<Labels<N>, Histogram>;

/// Answers and single operations: half a millisecond to half a minute.
const SHORT: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];
/// How late: the targets of DESIGN §8 are 1 s and 5 s.
const LATE: [f64; 13] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0];
/// Whole files on their way: up to hours.
const LONG: [f64; 11] = [0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1200.0, 3600.0, 14400.0];

/// One of the two stores.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Store {
    /// The record store.
    Records,
    /// The blob store.
    Blobs,
}

impl Store {
    const fn word(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Blobs => "blobs",
        }
    }
}

/// Who noticed that something was over (DESIGN §8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layer {
    /// The record store told that a key had expired.
    Notification,
    /// It was due in the index.
    Index,
    /// The sweep found an object that no live record has.
    Sweep,
}

impl Layer {
    const ALL: [Self; 3] = [Self::Notification, Self::Index, Self::Sweep];

    const fn word(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Index => "index",
            Self::Sweep => "sweep",
        }
    }
}

/// How Argon2id over a password ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checked {
    /// It opened the link.
    Right,
    /// It did not.
    Wrong,
    /// It was for a link that is being made.
    New,
}

impl Checked {
    const ALL: [Self; 3] = [Self::Right, Self::Wrong, Self::New];

    const fn word(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::New => "new",
        }
    }
}

/// Every metric of this process. Clones count together.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    requests: Counters<3>,
    request_seconds: Histograms<1>,
    problems: Counters<1>,
    connections: Level,
    uploads: Level,
    downloads: Level,
    upload_seconds: Histograms<1>,
    download_seconds: Histograms<1>,
    received: Count,
    sent: Count,
    store_seconds: Histograms<2>,
    store_errors: Counters<3>,
    store_retries: Counters<2>,
    ends: Counters<1>,
    noticed: Counters<1>,
    end_late: Histogram,
    deletion_late: Histogram,
    put_off: Counter,
    passwords: Counters<1>,
    swept: Mutex<Option<Swept>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

fn short() -> Histogram {
    Histogram::new(SHORT)
}

fn late() -> Histogram {
    Histogram::new(LATE)
}

fn long() -> Histogram {
    Histogram::new(LONG)
}

/// Registers a metric and hands it back. The library ends the names of counters with `_total`, and help with a full stop.
fn add<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Nothing is counted yet.
    #[must_use]
    #[rustfmt::skip] // One line a metric, as far as it goes.
    pub fn new() -> Self {
        let mut to = Registry::default();
        let version: Labels<1> = [("version", Cow::Borrowed(env!("CARGO_PKG_VERSION")))];
        let build: Family<Labels<1>, Gauge> = Family::default();
        build.get_or_create(&version).set(1);
        to.register("burnbag_build_info", "The version that runs", build);
        let metrics = Self(Arc::new(Inner {
            requests: add(&mut to, "burnbag_http_requests", "Requests answered", Family::default()),
            request_seconds: add(&mut to, "burnbag_http_request_duration_seconds", "From the head of a request to the head of its answer; an upload is read in between", Family::new_with_constructor(short)),
            problems: add(&mut to, "burnbag_problems", "Answers that were a refusal or a failure, by problem code", Family::default()),
            connections: Level::of(add(&mut to, "burnbag_connections", "Connections that are open", Gauge::default())),
            uploads: Level::of(add(&mut to, "burnbag_uploads_running", "Uploads in flight", Gauge::default())),
            downloads: Level::of(add(&mut to, "burnbag_downloads_running", "Downloads in flight", Gauge::default())),
            upload_seconds: add(&mut to, "burnbag_upload_duration_seconds", "From the first commit of an upload to its end, by how it ended", Family::new_with_constructor(long)),
            download_seconds: add(&mut to, "burnbag_download_duration_seconds", "From the lease of a download to its last byte, by how it ended", Family::new_with_constructor(long)),
            received: Count::of(add(&mut to, "burnbag_received_bytes", "Bytes of files taken from senders", Counter::default())),
            sent: Count::of(add(&mut to, "burnbag_sent_bytes", "Bytes of files written to receivers", Counter::default())),
            store_seconds: add(&mut to, "burnbag_store_operation_duration_seconds", "How long a store took for one call, its own retries included", Family::new_with_constructor(short)),
            store_errors: add(&mut to, "burnbag_store_errors", "Calls that a store did not do, by why", Family::default()),
            store_retries: add(&mut to, "burnbag_store_retries", "Attempts after the first", Family::default()),
            ends: add(&mut to, "burnbag_ends", "Transfers that ended, by why: their keys are destroyed", Family::default()),
            noticed: add(&mut to, "burnbag_ends_noticed", "Ends by the layer that noticed them; for the sweep: objects that only it found", Family::default()),
            end_late: add(&mut to, "burnbag_end_lateness_seconds", "From a deadline to the destruction of the keys", late()),
            deletion_late: add(&mut to, "burnbag_deletion_lateness_seconds", "From a deadline, or an earlier end, until the objects are confirmed gone", late()),
            put_off: add(&mut to, "burnbag_deletions_put_off", "Deletions that failed and are tried again", Counter::default()),
            passwords: add(&mut to, "burnbag_password_checks", "Runs of Argon2id over a password of a link, by how they ended", Family::default()),
            swept: Mutex::default(),
            registry: to,
        }));
        metrics.begin();
        metrics
    }

    /// What a rule watches is there from the start, or its first rise is not seen.
    fn begin(&self) {
        for layer in Layer::ALL {
            self.noticed(layer, 0);
        }
        for checked in Checked::ALL {
            let _ = self.0.passwords.get_or_create(&[("outcome", checked.word().into())]);
        }
        for reason in ["expired", "exhausted", "deleted", "rejected", "abandoned"] {
            let _ = self.0.ends.get_or_create(&[("reason", reason.into())]);
        }
    }

    /// A request was answered. `route` is the template, never the path.
    pub fn answered(
        &self,
        method: &str,
        route: &str,
        status: u16,
        code: Option<&'static str>,
        took: Duration,
    ) {
        let method = match method {
            "GET" => "GET",
            "HEAD" => "HEAD",
            "PUT" => "PUT",
            "POST" => "POST",
            "DELETE" => "DELETE",
            "OPTIONS" => "OPTIONS",
            "PATCH" => "PATCH",
            _ => "other",
        };
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        let route = Cow::from(route.to_owned());
        let labels = [("method", method.into()), ("route", route.clone()), ("status", class.into())];
        self.0.requests.get_or_create(&labels).inc();
        self.0.request_seconds.get_or_create(&[("route", route)]).observe(took.as_secs_f64());
        if let Some(code) = code {
            self.0.problems.get_or_create(&[("code", code.into())]).inc();
        }
    }

    /// The connections that are open.
    #[must_use]
    pub fn connections(&self) -> Level {
        self.0.connections.clone()
    }

    /// An upload begins; it runs until what is given back is dropped.
    #[must_use]
    pub fn upload(&self) -> Running {
        Running::begin(&self.0.uploads, self.0.upload_seconds.clone())
    }

    /// A download begins; it runs until what is given back is dropped.
    #[must_use]
    pub fn download(&self) -> Running {
        Running::begin(&self.0.downloads, self.0.download_seconds.clone())
    }

    /// Bytes of files that came in.
    pub fn received(&self, bytes: usize) {
        self.0.received.add(bytes as u64);
    }

    /// Counts bytes of files that went out.
    #[must_use]
    pub fn sent(&self) -> Count {
        self.0.sent.clone()
    }

    /// A call of a store begins.
    #[must_use]
    pub fn operation(&self, store: Store, operation: &'static str) -> Operation {
        Operation::begin(self.clone(), store, operation)
    }

    /// A store is asked once more for the same thing.
    pub fn retried(&self, store: Store, operation: &'static str) {
        let labels = [("store", store.word().into()), ("operation", operation.into())];
        self.0.store_retries.get_or_create(&labels).inc();
    }

    fn store_took(&self, store: Store, operation: &'static str, begun: Instant) {
        let labels = [("store", store.word().into()), ("operation", operation.into())];
        self.0.store_seconds.get_or_create(&labels).observe(begun.elapsed().as_secs_f64());
    }

    fn store_failed(&self, store: Store, operation: &'static str, error: &'static str) {
        let labels =
            [("store", store.word().into()), ("operation", operation.into()), ("error", error.into())];
        self.0.store_errors.get_or_create(&labels).inc();
    }

    /// A transfer ended; one whose deadline passed so long after it.
    pub fn ended(&self, reason: &'static str, late: Option<Duration>) {
        self.0.ends.get_or_create(&[("reason", reason.into())]).inc();
        if let Some(late) = late {
            self.0.end_late.observe(late.as_secs_f64());
        }
    }

    /// This layer noticed so many ends.
    pub fn noticed(&self, layer: Layer, ends: usize) {
        self.0.noticed.get_or_create(&[("layer", layer.word().into())]).inc_by(ends as u64);
    }

    /// The objects of a transfer are confirmed gone, so long after they should have been.
    pub fn deleted(&self, late: Duration) {
        self.0.deletion_late.observe(late.as_secs_f64());
    }

    /// A deletion failed and is tried again.
    pub fn put_off(&self) {
        self.0.put_off.inc();
    }

    /// Argon2id was run over a password.
    pub fn checked(&self, checked: Checked) {
        self.0.passwords.get_or_create(&[("outcome", checked.word().into())]).inc();
    }

    /// The sweep has passed over the blob store.
    pub fn swept(&self, swept: Swept) {
        *self.0.swept.lock().unwrap_or_else(PoisonError::into_inner) = Some(swept);
    }

    /// All of it as text, with what was looked at for this scrape.
    #[must_use]
    pub fn text(&self, form: Form, observed: &Observed) -> String {
        let swept = *self.0.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_now = Registry::default();
        observed.register(swept, &mut of_now);
        process::register(&mut of_now);
        text::write(form, &[&self.0.registry, &of_now])
    }
}
