//! The composition root: the only place that knows which backend runs. Start, serve, drain.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{AuditGate, DirLock, Relay, RelayConfig};
use crate::clock::{Clock, SteadyClock, Timestamp};
use crate::config::{Config, ConfigErrors, Worker};
use crate::crypto::{KekRing, Token};
use crate::http;
use crate::http::edge::{self, EdgeLimits};
use crate::http::router::router;
use crate::http::state::AppState;
use crate::metrics::Metrics;
use crate::service::{
    Bell, Buffers, KeySource, Passwords, Permits, Rates, Refusals, Room, Rules, Service, ServiceError,
    TokenKind, TokenTerms,
};
use crate::storage::measured::{MeasuredBlobs, MeasuredRecords};
use crate::storage::{BlobError, RecordStore, Reserve, StoreError};
use crate::transfer::InstanceId;
use crate::transfer::access::{Account, Role};
use crate::transfer::lease::LeaseTimes;
use crate::transfer::policy::Policy;
use crate::transfer::quota::{Limits, STEP};
use crate::workers;

mod objects;
mod records;

/// Connections that the kernel completes before they are accepted; it takes no more than `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// What goes on when the last connection is gone is waited for so long.
const SETTLE: Duration = Duration::from_secs(10);

/// Why the service does not start. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {path}: {error}; {}", what_to_do(.error))]
    DataDir {
        /// Which.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// Another process runs on the data directory.
    #[error("another burnbag serves from {path}{}: stop it first, or choose another BURNBAG_DATA_DIR", .by.as_ref().map(|by| format!(" (process {by})")).unwrap_or_default())]
    Locked {
        /// Which.
        path: String,
        /// The id of the process, where it says.
        by: Option<String>,
    },
    /// The records cannot be opened.
    #[error("cannot open the records in {path}: {error}")]
    Records {
        /// Where.
        path: String,
        /// Why.
        error: StoreError,
    },
    /// Deadlines would not hold.
    #[error("the clock of the Redis {url} and this machine's are {} s apart: let NTP set both, then start again", .apart.as_secs())]
    Clocks {
        /// Which.
        url: String,
        /// By how much.
        apart: Duration,
    },
    /// The objects cannot be opened.
    #[error("cannot open the objects in {path}: {error}")]
    Blobs {
        /// Where.
        path: String,
        /// Why.
        error: BlobError,
    },
    /// The bucket cannot be used.
    #[error("cannot use the bucket: {0}")]
    Bucket(BlobError),
    /// The KEK file does not hold the keys that the records were made with.
    #[error("{0}")]
    Keks(String),
    /// Anything that a use case says.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: std::io::Error,
    },
}

/// The service on its stores, before it serves.
pub struct App {
    /// The use cases.
    pub service: Arc<Service>,
    config: Config,
    reserve: Arc<Reserve>,
    lock: Option<std::fs::File>,
    metrics: Option<TcpListener>,
}

impl App {
    /// Opens the stores of a configuration to serve from them, and makes them where there are none.
    ///
    /// # Errors
    /// See [`StartError`]; nothing of a store that is in use was changed.
    pub async fn open(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        make_dir(&config.data_dir)?;
        let shared = config.redis_url.is_some();
        let (lock, alone) =
            if shared { records::share(&config.data_dir).await? } else { (lock(&config.data_dir)?, true) };
        let mut app = Self::assemble(config, clock, alone).await?;
        app.service.join_stores().await?;
        if shared && alone {
            let path = app.config.data_dir.join("lock").display().to_string();
            lock.lock_shared().map_err(|error| StartError::DataDir { path, error })?;
        }
        app.lock = Some(lock);
        Ok(app)
    }

    /// Opens the stores as [`App::open`] does, whether they belong together or not, to join them on purpose.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn apart(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        make_dir(&config.data_dir)?;
        let lock = lock(&config.data_dir)?;
        let mut app = Self::assemble(config, clock, true).await?;
        app.lock = Some(lock);
        Ok(app)
    }

    /// Opens the stores beside a running service, for a short command.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn beside(config: Config, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        make_dir(&config.data_dir)?;
        // Where nothing serves, the command has the directory to itself, and may begin it.
        let lock = lock(&config.data_dir).ok();
        let mut app = Self::assemble(config, clock, lock.is_some()).await?;
        app.lock = lock;
        if app.lock.is_some() {
            app.service.join_stores().await?;
        }
        Ok(app)
    }

    async fn assemble(config: Config, clock: Arc<dyn Clock>, alone: bool) -> Result<Self, StartError> {
        let unusable = |error| StartError::DataDir { path: config.data_dir.display().to_string(), error };
        let reserve = Arc::new(Reserve::open(&config.data_dir).map_err(unusable)?);
        let clock = Arc::new(SteadyClock::new(clock));
        let records = records::open(&config, &clock, &reserve, alone).await?;
        if let Some(seen) = records.meta("clock").await.map_err(ServiceError::from)? {
            clock.raise(Timestamp::from_millis(seen.parse().unwrap_or_default()));
        }
        let clock: Arc<dyn Clock> = clock;
        let blobs = objects::open(&config, &clock, alone).await?;
        let metrics = Metrics::new();
        let records: Arc<dyn RecordStore> =
            Arc::new(MeasuredRecords::new(records, Arc::clone(&clock), metrics.clone()));
        let keks = open_keks(&config, records.as_ref()).await?;
        let room = Room::new(Arc::clone(&reserve));
        let shards = records.shards();
        let service = Service {
            records,
            blobs: Arc::new(MeasuredBlobs::new(blobs, metrics.clone())),
            keks,
            gate: AuditGate::of_shards(shards),
            rules: rules(&config),
            buffers: Buffers::new(config.buffer_bytes),
            room,
            instance: InstanceId::generate(clock.now()),
            clock,
            due: Bell::new(shards),
            outbox: Bell::new(shards),
            permits: Permits::default(),
            refusals: Refusals::default(),
            passwords: Passwords::default(),
            metrics,
            tasks: TaskTracker::new(),
        };
        if alone {
            match service.keep_room().await {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    "the disk is too full to set room aside, and uploads are refused: make room"
                ),
                Err(error) => tracing::warn!(%error, "no room is set aside for a full disk; tried again"),
            }
        }
        Ok(Self { service: Arc::new(service), config, reserve, lock: None, metrics: None })
    }

    /// The data directory in force, as an absolute path where the system gives one.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.config.data_dir.canonicalize().unwrap_or_else(|_| self.config.data_dir.clone())
    }

    /// The first admin, if no account has a token yet.
    ///
    /// # Errors
    /// The record store's.
    pub async fn unkeyed_account(&self) -> Result<Option<Account>, ServiceError> {
        let accounts = self.service.records.accounts().await?;
        if accounts.iter().any(|account| account.keyed) {
            return Ok(None);
        }
        Ok(accounts.into_iter().find(|account| account.role == Role::Admin))
    }

    /// The first token of an account.
    ///
    /// # Errors
    /// [`Service::create_token`]'s.
    pub async fn first_token(&self, account: Account) -> Result<Token, ServiceError> {
        let terms = TokenTerms { kind: TokenKind::Usr, scope: None, expires: None };
        let made = self.service.create_token(account, terms, KeySource::First).await?;
        Ok(made.token)
    }

    /// The address that it is to listen on.
    ///
    /// # Errors
    /// It is taken, or not this machine's.
    pub fn bind(&self) -> Result<TcpListener, StartError> {
        listen(self.config.listen)
    }

    /// Takes the address where metrics are read, if there is one; [`App::serve`] serves them there.
    ///
    /// # Errors
    /// It is taken, or not this machine's.
    pub fn bind_metrics(&mut self) -> Result<(), StartError> {
        self.metrics = self.config.metrics_listen.map(listen).transpose()?;
        Ok(())
    }

    /// Serves on `listener` until `stop`, then lets running transfers end, settles what is open, and stops the workers:
    /// the relay last, so that what the others did is in the log.
    ///
    /// # Errors
    /// The listener's.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> Result<(), std::io::Error> {
        let Self { service, config, reserve, lock, metrics } = self;
        let stop_workers = CancellationToken::new();
        let stop_relay = CancellationToken::new();
        let workers = TaskTracker::new();
        let relay = TaskTracker::new();
        let lock_of_log = DirLock::default();
        for shard in 0..service.records.shards() {
            let place = RelayConfig { dir: config.audit_dir.clone(), shard };
            let (records, gate) = (Arc::clone(&service.records), service.gate.for_shard(shard));
            let mut to_log =
                Relay::new(records, place, gate, Arc::clone(&service.clock)).under(lock_of_log.clone());
            if reserve.is_beside(&config.audit_dir) {
                to_log = to_log.with_reserve(Arc::clone(&reserve));
            }
            if config.redis_url.is_some() {
                to_log = to_log.shared();
            }
            if config.workers.runs(Worker::Relay) {
                relay.spawn(workers::relay::run(to_log, service.outbox.of(shard), stop_relay.clone()));
            } else if config.redis_url.is_some() {
                relay.spawn(workers::relay::watch(to_log, stop_relay.clone()));
            }
            let index = config.workers.runs(Worker::Index);
            if index {
                workers.spawn(workers::reaper::run(Arc::clone(&service), shard, stop_workers.clone()));
            }
            if config.workers.runs(Worker::Listener) {
                let (service, stop) = (Arc::clone(&service), stop_workers.clone());
                workers.spawn(workers::listener::run(service, shard, index, stop));
            }
        }
        if config.workers.runs(Worker::Sweep) {
            let every = config.sweep_every;
            workers.spawn(workers::sweep::run(Arc::clone(&service), every, stop_workers.clone()));
        }
        workers.spawn(workers::room::run(Arc::clone(&service), stop_workers.clone()));
        workers.spawn(workers::clock::run(Arc::clone(&service.clock), stop_workers.clone()));
        workers.spawn(workers::refusals::run(Arc::clone(&service), stop_workers.clone()));
        workers.spawn(workers::passwords::run(Arc::clone(&service), stop_workers.clone()));
        let state =
            AppState { service: Arc::clone(&service), proxies: Arc::new(config.trusted_proxies.clone()) };
        let limits = EdgeLimits { connections: config.connections, ..EdgeLimits::default() };
        if let Some(listener) = metrics {
            // To the last: what goes on while it drains is looked at too.
            let (router, stop) = (http::metrics::router(Arc::clone(&service)), stop_relay.clone());
            tokio::spawn(edge::serve(listener, router, http::metrics::LIMITS, stop));
        }
        let connections = service.metrics.connections();
        let served =
            edge::serve_counted(listener, router(state, config.rate), limits, stop, connections).await;
        service.tasks.close();
        let mut ended = within(service.tasks.wait(), "transfers were not settled in time").await;
        stop_workers.cancel();
        workers.close();
        ended &= within(workers.wait(), "workers did not stop in time").await;
        stop_relay.cancel();
        relay.close();
        ended &= within(relay.wait(), "the relay did not stop in time").await;
        if !ended {
            // What still runs must not meet another process on the same directory: held until this one ends.
            std::mem::forget(lock);
        }
        served
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let listen = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // Or a restart would wait for the connections of the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|error| StartError::Listen { address: address.to_string(), error })
}

/// Whether it was done in time.
async fn within(done: impl Future<Output = ()>, otherwise: &'static str) -> bool {
    let in_time = tokio::time::timeout(SETTLE, done).await.is_ok();
    if !in_time {
        tracing::warn!("{otherwise}");
    }
    in_time
}

fn rules(config: &Config) -> Rules {
    Rules {
        policy: Policy {
            expires_default: config.expires_default,
            expires_max: config.expires_max,
            max_upload_bytes: config.max_upload_bytes,
        },
        quota: Limits {
            file_bytes: config.max_upload_bytes,
            expires: Some(config.expires_max.as_secs()),
            ..config.quota
        },
        reserve_step: STEP,
        leases: LeaseTimes { idle: config.lease_idle, retry: config.lease_retry },
        upload_idle: config.upload_idle,
        tombstones: config.tombstones,
        sweep_min_age: config.sweep_min_age,
        min_free_bytes: config.min_free_bytes,
        rates: Rates { token: config.rate_token, link: config.rate_link },
        public_url: config.public_url.clone(),
    }
}

fn what_to_do(error: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ReadOnlyFilesystem => {
            "its file system is read-only: make it writable, or choose another BURNBAG_DATA_DIR"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on its disk",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory => "something else than a directory is there",
        _ => "check that it exists and belongs to this user",
    }
}

fn make_dir(dir: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| StartError::DataDir { path: dir.display().to_string(), error })
}

/// One `serve` a directory: the lock is held as long as the file is open, also by a process that is killed.
fn lock(dir: &Path) -> Result<std::fs::File, StartError> {
    let path = dir.join("lock");
    let failed = |error| StartError::DataDir { path: path.display().to_string(), error };
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            // For the message of a second one; without it that says less.
            let pid = std::process::id().to_string();
            let _ = file.set_len(0).and_then(|()| file.write_all_at(pid.as_bytes(), 0));
            Ok(file)
        }
        Err(std::fs::TryLockError::WouldBlock) => {
            let by = std::fs::read_to_string(&path).ok().filter(|by| !by.is_empty());
            Err(StartError::Locked { path: dir.display().to_string(), by })
        }
        Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The KEKs of the file, each the one that the records were made with (DESIGN §6).
async fn open_keks(config: &Config, records: &dyn RecordStore) -> Result<KekRing, StartError> {
    let stored = |error: StoreError| StartError::Service(error.into());
    // Every version that the records were ever wrapped under, in the order in which they came.
    let mut known = Vec::new();
    while let Some(version) = records.meta(&format!("kek:{}", known.len())).await.map_err(stored)? {
        known.push(version);
    }
    // A KEK is made only where there is none.
    let text = config.read_keks(|| known.is_empty().then(KekRing::generate_text))?;
    let file = config.kek_file.display();
    let ring = KekRing::parse(&text)
        .map_err(|error| StartError::Keks(format!("the KEK file {file} cannot be used: {error}")))?;
    let held: Vec<String> = ring.versions().map(|version| version.to_string()).collect();
    if let Some(missing) = known.iter().find(|version| !held.contains(version)) {
        return Err(StartError::Keks(format!(
            "the records were made with version {missing} of the KEK, which {file} does not hold: put it back from where you keep it"
        )));
    }
    for version in ring.versions() {
        let Some(check) = ring.check(version).map(hex::encode) else { continue };
        let name = format!("kek-check:{version}");
        if records.set_meta(&name, &check).await.map_err(stored)? != check {
            return Err(StartError::Keks(format!(
                "version {version} of the KEK in {file} is not the one that the records were made with: put the right file back"
            )));
        }
        let text = version.to_string();
        if !known.contains(&text) {
            records.set_meta(&format!("kek:{}", known.len()), &text).await.map_err(stored)?;
            known.push(text);
        }
    }
    Ok(ring)
}
