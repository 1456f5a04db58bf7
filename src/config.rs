//! Configuration: the only reader of environment and files (DESIGN §12). Later wins: defaults, file, environment, flags.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::http::client::TrustedProxies;
use crate::transfer::policy::{parse_duration, words};
use crate::transfer::quota::Limits;

mod kek;
mod s3;
mod source;
mod values;

pub use s3::Bucket;
use source::Source;
pub use values::{Durability, LogFormat, Rate, RedisUrl, Size, Worker, Workers};

/// The name of a setting, what it is for, and its default as text.
struct Known {
    name: &'static str,
    default: &'static str,
    help: &'static str,
}

const fn known(name: &'static str, default: &'static str, help: &'static str) -> Known {
    Known { name, default, help }
}

/// Every setting there is. In the environment it is `BURNBAG_` and the name; in the file the name in lower case.
const KNOWN: &[Known] = &[
    known("LISTEN", "127.0.0.1:8080", "address and port to listen on"),
    known("PUBLIC_URL", "http://<listen> on loopback", "where links point; needed when not on loopback"),
    known("METRICS_LISTEN", "off", "address and port where metrics are read"),
    known("DATA_DIR", "./burnbag-data", "database, objects, KEK and audit log"),
    known(
        "REDIS_URL",
        "",
        "records in Redis: redis:// or rediss://user:password@host:6379; without it SQLite",
    ),
    known(
        "REDIS_SHARDS",
        "1",
        "hash slots over which teams are spread in a Redis Cluster; never fewer than before",
    ),
    known("REDIS_DURABILITY", "strict", "strict: refuse a Redis that can lose what it answered; or relaxed"),
    known("REDIS_WAIT", "0", "replicas that must have a write before it counts"),
    known("S3_BUCKET", "", "bytes in this bucket; without it in the data directory"),
    known("S3_ENDPOINT", "Amazon's", "the S3 server, e.g. http://127.0.0.1:9000"),
    known("S3_REGION", "us-east-1", "the region that requests are signed for"),
    known("S3_ACCESS_KEY", "", "the name of the bucket's user"),
    known("S3_SECRET_KEY", "", "that user's secret"),
    known("KEK_FILE", "<data dir>/kek", "key-encryption keys; made on the first start, 0600"),
    known("AUDIT_DIR", "<data dir>/audit", "the audit log"),
    known("EXPIRES_DEFAULT", "24h", "time to live of a transfer whose sender asks for nothing"),
    known("EXPIRES_MAX", "7d", "the longest that a sender may ask for"),
    known("MAX_UPLOAD_BYTES", "none", "largest file, e.g. 5GiB"),
    known(
        "QUOTA_BYTES",
        "none",
        "bytes that a team may store, e.g. 100GiB; a team can be given its own limit",
    ),
    known(
        "QUOTA_TRANSFERS",
        "none",
        "live transfers that a team may have; a team can be given its own limit",
    ),
    known("QUOTA_UPLOADS", "none", "uploads that a team may have at once; a team can be given its own limit"),
    known("UPLOAD_IDLE", "15m", "an upload without progress ends after this"),
    known("LEASE_IDLE", "15m", "a download without progress gives its count back after this"),
    known("LEASE_RETRY", "60s", "a delivered file may be fetched again for so long"),
    known("SWEEP_EVERY", "1h", "how often the objects are compared with the records"),
    known("SWEEP_MIN_AGE", "24h", "the sweep leaves younger objects alone"),
    known("TOMBSTONES", "30d", "how long the record of an ended transfer is kept"),
    known("WORKERS", "listener,index,sweep,relay", "what runs beside the requests"),
    known("MIN_FREE_BYTES", "64MiB", "with less room than this uploads are refused (507)"),
    known("RATE", "200/s, burst 400", "requests an address, or off"),
    known("RATE_TOKEN", "100/s, burst 400", "requests a token, over all instances, or off"),
    known("RATE_LINK", "100/s, burst 400", "requests a link, over all instances, or off"),
    known("CONNECTIONS", "4096", "connections at once"),
    known("BUFFER_BYTES", "320MiB", "memory for uploads"),
    known("TRUSTED_PROXIES", "", "whose X-Forwarded-For is believed: addresses and networks"),
    known("LOG", "info", "what is logged, e.g. debug or burnbag=debug,info"),
    known("LOG_FORMAT", "text on a terminal, json otherwise", "text or json"),
];

/// The configuration in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Where metrics are read.
    pub metrics_listen: Option<SocketAddr>,
    /// Where links point, without a slash at the end.
    pub public_url: String,
    /// Database and objects.
    pub data_dir: PathBuf,
    /// The Redis of the records; absent: `SQLite` in the data directory.
    pub redis_url: Option<RedisUrl>,
    /// Hash slots over which teams are spread.
    pub redis_shards: u8,
    /// Whether a Redis that can lose what it answered is refused.
    pub redis_durability: Durability,
    /// Replicas that must have a write.
    pub redis_wait: u32,
    /// The bucket; absent: bytes are in the data directory.
    pub bucket: Option<Bucket>,
    /// The KEKs.
    pub kek_file: PathBuf,
    /// The audit log.
    pub audit_dir: PathBuf,
    /// What senders get and may ask for.
    pub expires_default: Duration,
    /// The longest time to live.
    pub expires_max: Duration,
    /// The largest file in bytes.
    pub max_upload_bytes: Option<u64>,
    /// Bytes, live transfers and uploads at once of a team that has no limits of its own.
    pub quota: Limits,
    /// Uploads without progress.
    pub upload_idle: Duration,
    /// Leases without progress.
    pub lease_idle: Duration,
    /// Retries of what was delivered.
    pub lease_retry: Duration,
    /// Between two sweeps.
    pub sweep_every: Duration,
    /// Age of what the sweep may touch.
    pub sweep_min_age: Duration,
    /// How long tombstones are kept.
    pub tombstones: Duration,
    /// What runs beside the requests.
    pub workers: Workers,
    /// Room that must be free.
    pub min_free_bytes: u64,
    /// Requests an address.
    pub rate: Option<Rate>,
    /// Requests a token.
    pub rate_token: Option<Rate>,
    /// Requests a link.
    pub rate_link: Option<Rate>,
    /// Connections at once.
    pub connections: usize,
    /// Memory for uploads.
    pub buffer_bytes: usize,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// The filter of the log.
    pub log: String,
    /// The form of the log.
    pub log_format: LogFormat,
}

/// Everything that is wrong with a configuration, at once.
#[derive(Debug)]
pub struct ConfigErrors(Vec<String>);

impl std::error::Error for ConfigErrors {}

impl Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration cannot be used:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

/// What the command line says: settings by their name in lower case, and the file.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub file: Option<PathBuf>,
    /// Further flags, by the setting's name.
    pub settings: Vec<(&'static str, String)>,
}

impl Config {
    /// Reads defaults, file, environment and flags.
    ///
    /// # Errors
    /// All that is wrong, each with where it stands and what it should be.
    pub fn load(flags: &Flags) -> Result<Self, ConfigErrors> {
        let mut source = Source::read(flags);
        let config = Self::from(&mut source);
        if source.errors.is_empty() { Ok(config) } else { Err(ConfigErrors(source.errors)) }
    }

    fn from(source: &mut Source) -> Self {
        let listen: SocketAddr = source.value("LISTEN", SocketAddr::from(([127, 0, 0, 1], 8080)));
        let data_dir = source.path("DATA_DIR").unwrap_or_else(|| PathBuf::from("./burnbag-data"));
        let public_url = public_url(source, listen);
        let duration = |source: &mut Source, name, default: &str| {
            let default = parse_duration(default).unwrap_or_default();
            source.parsed(name, "a time such as 90s, 15m, 2h or 7d", parse_duration).unwrap_or(default)
        };
        let config = Self {
            listen,
            metrics_listen: source
                .parsed("METRICS_LISTEN", "off, or an address and port such as 127.0.0.1:9464", |text| {
                    if text == "off" { Some(None) } else { text.parse().ok().map(Some) }
                })
                .flatten(),
            public_url,
            redis_url: source
                .parsed("REDIS_URL", "redis:// or rediss://user:password@host:6379", |text| {
                    if text.is_empty() { Some(None) } else { RedisUrl::parse(text).map(Some) }
                })
                .flatten(),
            redis_shards: source
                .parsed("REDIS_SHARDS", "a whole number from 1 to 255", |text| {
                    text.parse().ok().filter(|shards| *shards > 0)
                })
                .unwrap_or(1),
            redis_durability: source.value("REDIS_DURABILITY", Durability::Strict),
            redis_wait: source.parsed("REDIS_WAIT", "a whole number", |text| text.parse().ok()).unwrap_or(0),
            bucket: Bucket::read(source),
            kek_file: source.path("KEK_FILE").unwrap_or_else(|| data_dir.join("kek")),
            audit_dir: source.path("AUDIT_DIR").unwrap_or_else(|| data_dir.join("audit")),
            data_dir,
            expires_default: duration(source, "EXPIRES_DEFAULT", "24h"),
            expires_max: duration(source, "EXPIRES_MAX", "7d"),
            max_upload_bytes: source
                .parsed("MAX_UPLOAD_BYTES", "a size such as 500MiB or 5GiB, or none", |text| {
                    if text == "none" { Some(None) } else { text.parse::<Size>().ok().map(Some) }
                })
                .flatten()
                .map(|size| size.0),
            quota: values::quota(source),
            upload_idle: duration(source, "UPLOAD_IDLE", "15m"),
            lease_idle: duration(source, "LEASE_IDLE", "15m"),
            lease_retry: duration(source, "LEASE_RETRY", "60s"),
            sweep_every: duration(source, "SWEEP_EVERY", "1h"),
            sweep_min_age: duration(source, "SWEEP_MIN_AGE", "24h"),
            tombstones: duration(source, "TOMBSTONES", "30d"),
            workers: source.value("WORKERS", Workers::default()),
            min_free_bytes: source.value("MIN_FREE_BYTES", Size(64 << 20)).0,
            rate: rate(source, "RATE", 200),
            rate_token: rate(source, "RATE_TOKEN", 100),
            rate_link: rate(source, "RATE_LINK", 100),
            connections: source
                .parsed("CONNECTIONS", "a whole number of at least 1", |text| {
                    text.parse().ok().filter(|number| *number > 0)
                })
                .unwrap_or(4096),
            buffer_bytes: source
                .parsed("BUFFER_BYTES", "a size of at least 8MiB", |text| {
                    let size = text.parse::<Size>().ok().filter(|size| size.0 >= 8 << 20)?;
                    usize::try_from(size.0).ok()
                })
                .unwrap_or(320 << 20),
            trusted_proxies: source.value("TRUSTED_PROXIES", TrustedProxies::default()),
            log: source.text("LOG").unwrap_or_else(|| "info".to_owned()),
            log_format: source.value("LOG_FORMAT", LogFormat::for_stderr()),
        };
        if config.expires_default > config.expires_max {
            source.errors.push(format!(
                "EXPIRES_DEFAULT ({}) is longer than EXPIRES_MAX ({}): raise the one or lower the other",
                words(config.expires_default),
                words(config.expires_max)
            ));
        }
        if !config.log.is_empty() && config.log.parse::<tracing_subscriber::EnvFilter>().is_err() {
            source
                .errors
                .push(format!("LOG is {:?}: it takes a filter such as info or burnbag=debug", config.log));
        }
        source.refuse_unknown();
        config
    }

    /// Whether links lead only to this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.listen.ip().is_loopback()
    }

    /// Reads the KEK file, and makes one where there is none and `make` allows it.
    ///
    /// # Errors
    /// It is missing, cannot be read, can be read by others, or does not have the form of DESIGN §6; says what to do.
    pub fn read_keks(
        &self,
        make: impl FnOnce() -> Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, ConfigErrors> {
        kek::read(&self.kek_file, make).map_err(|error| ConfigErrors(vec![error]))
    }

    /// A token from `BURNBAG_TOKEN` or the file that `BURNBAG_TOKEN_FILE` names.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn token() -> Result<Option<Zeroizing<String>>, ConfigErrors> {
        let source = Source::environment_only();
        let token = source.text("TOKEN").map(Zeroizing::new);
        if source.errors.is_empty() { Ok(token) } else { Err(ConfigErrors(source.errors)) }
    }
}

impl Display for Config {
    /// What is in force, in the form of the environment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &dyn Display| writeln!(f, "BURNBAG_{name}={value}");
        line("LISTEN", &self.listen)?;
        match &self.metrics_listen {
            Some(address) => line("METRICS_LISTEN", address)?,
            None => line("METRICS_LISTEN", &"off")?,
        }
        line("PUBLIC_URL", &self.public_url)?;
        line("DATA_DIR", &self.data_dir.display())?;
        match &self.redis_url {
            Some(url) => line("REDIS_URL", url)?,
            None => line("REDIS_URL", &"")?,
        }
        line("REDIS_SHARDS", &self.redis_shards)?;
        line("REDIS_DURABILITY", &self.redis_durability)?;
        line("REDIS_WAIT", &self.redis_wait)?;
        if let Some(bucket) = &self.bucket {
            line("S3_BUCKET", &bucket.name)?;
            line("S3_ENDPOINT", &bucket.endpoint.as_deref().unwrap_or_default())?;
            line("S3_REGION", &bucket.region)?;
            line("S3_ACCESS_KEY", &bucket.access_key)?;
            line("S3_SECRET_KEY", &"(not shown)")?;
        } else {
            line("S3_BUCKET", &"")?;
        }
        line("KEK_FILE", &self.kek_file.display())?;
        line("AUDIT_DIR", &self.audit_dir.display())?;
        for (name, value) in [
            ("EXPIRES_DEFAULT", self.expires_default),
            ("EXPIRES_MAX", self.expires_max),
            ("UPLOAD_IDLE", self.upload_idle),
            ("LEASE_IDLE", self.lease_idle),
            ("LEASE_RETRY", self.lease_retry),
            ("SWEEP_EVERY", self.sweep_every),
            ("SWEEP_MIN_AGE", self.sweep_min_age),
            ("TOMBSTONES", self.tombstones),
        ] {
            line(name, &words(value))?;
        }
        match self.max_upload_bytes {
            Some(bytes) => line("MAX_UPLOAD_BYTES", &bytes)?,
            None => line("MAX_UPLOAD_BYTES", &"none")?,
        }
        for (name, limit) in [
            ("QUOTA_BYTES", self.quota.bytes),
            ("QUOTA_TRANSFERS", self.quota.transfers),
            ("QUOTA_UPLOADS", self.quota.uploads),
        ] {
            line(name, &limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string()))?;
        }
        line("WORKERS", &self.workers)?;
        line("MIN_FREE_BYTES", &self.min_free_bytes)?;
        for (name, rate) in
            [("RATE", &self.rate), ("RATE_TOKEN", &self.rate_token), ("RATE_LINK", &self.rate_link)]
        {
            match rate {
                Some(rate) => line(name, rate)?,
                None => line(name, &"off")?,
            }
        }
        line("CONNECTIONS", &self.connections)?;
        line("BUFFER_BYTES", &self.buffer_bytes)?;
        line("TRUSTED_PROXIES", &self.trusted_proxies)?;
        line("LOG", &self.log)?;
        line("LOG_FORMAT", &self.log_format)
    }
}

/// A rate, or off; by default so many a second, and 400 at once.
fn rate(source: &mut Source, name: &'static str, per_second: u32) -> Option<Rate> {
    let form = "off, or such as \"200/s, burst 400\"";
    let read = |text: &str| if text == "off" { Some(None) } else { text.parse().ok().map(Some) };
    source.parsed(name, form, read).unwrap_or(Some(Rate { per_second, burst: 400 }))
}

/// The settings with their defaults, for `--help`.
#[must_use]
pub fn settings_help() -> String {
    let row = |known: &Known| {
        let default = if known.default.is_empty() { "none" } else { known.default };
        format!("  BURNBAG_{:<18} {} [{default}]\n", known.name, known.help)
    };
    KNOWN.iter().map(row).collect()
}

fn public_url(source: &mut Source, listen: SocketAddr) -> String {
    let valid = |text: &str| {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
        let host = rest.trim_end_matches('/');
        let plain = !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_graphic())
            && !host.contains(['/', '@', '?', '#', '"', '<', '>', '\\']);
        let origin = text.trim_end_matches('/').to_ascii_lowercase();
        let usual = if origin.starts_with("https:") { ":443" } else { ":80" };
        // As browsers write it in `Origin` (RFC 6454 §6.1), or no form of theirs would be ours.
        plain.then(|| origin.strip_suffix(usual).map(str::to_owned).unwrap_or(origin))
    };
    let form = "an origin such as https://files.example.org, without a path";
    if source.has("PUBLIC_URL") {
        return source.parsed("PUBLIC_URL", form, valid).unwrap_or_default();
    }
    if !listen.ip().is_loopback() {
        source.errors.push(format!(
            "PUBLIC_URL is not set and LISTEN is {listen}, which is not loopback: set BURNBAG_PUBLIC_URL to {form}"
        ));
    }
    format!("http://{listen}")
}
