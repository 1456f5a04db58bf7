//! Which record store runs: Redis where it is configured, else `SQLite` in the data directory.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{StartError, lock};
use crate::clock::{Clock, SteadyClock};
use crate::config::{Config, Durability};
use crate::storage::records::redis::{RedisOptions, RedisRecords};
use crate::storage::records::sqlite::{SqliteRecords, Tuning};
use crate::storage::{RecordStore, Reserve, StoreError};

/// The clocks of Redis and of this machine may differ by so much; deadlines hold by the one that is ahead.
const CLOCKS_WARN: Duration = Duration::from_millis(250);
const CLOCKS_REFUSE: Duration = Duration::from_secs(5);
/// The first of several instances has the data directory to itself until its stores are open.
const FIRST: Duration = Duration::from_secs(30);

/// Opens the record store; `alone` in the data directory, it may be begun.
pub(super) async fn open(
    config: &Config,
    clock: &Arc<SteadyClock>,
    reserve: &Arc<Reserve>,
    alone: bool,
) -> Result<Arc<dyn RecordStore>, StartError> {
    let Some(url) = &config.redis_url else {
        return Ok(Arc::new(open_sqlite(config, clock, reserve, alone)?));
    };
    let failed = |error| StartError::Records { path: url.to_string(), error };
    let options = RedisOptions {
        url: url.secret().to_owned(),
        shards: config.redis_shards,
        wait: config.redis_wait,
        strict: config.redis_durability == Durability::Strict,
    };
    let records = RedisRecords::connect(options).await.map_err(failed)?;
    let apart = records.apart(clock.as_ref()).await.map_err(failed)?;
    if apart > CLOCKS_REFUSE {
        return Err(StartError::Clocks { url: url.to_string(), apart });
    }
    if apart > CLOCKS_WARN {
        let apart_ms = u64::try_from(apart.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(apart_ms, "the clocks of Redis and of this machine differ: let NTP set both");
    }
    Ok(Arc::new(records))
}

/// The lock of a data directory that several instances share, and whether this one is the first: then it has the
/// directory to itself until it lets the others in.
pub(super) async fn share(dir: &Path) -> Result<(std::fs::File, bool), StartError> {
    let give_up = Instant::now() + FIRST;
    loop {
        match lock(dir) {
            Ok(file) => return Ok((file, true)),
            Err(error @ StartError::Locked { .. }) => {
                let path = dir.join("lock");
                let unusable = |error| StartError::DataDir { path: path.display().to_string(), error };
                let file = std::fs::OpenOptions::new().write(true).open(&path).map_err(unusable)?;
                if file.try_lock_shared().is_ok() {
                    return Ok((file, false));
                }
                if Instant::now() > give_up {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn open_sqlite(
    config: &Config,
    clock: &Arc<SteadyClock>,
    reserve: &Arc<Reserve>,
    alone: bool,
) -> Result<SqliteRecords, StartError> {
    let database = config.data_dir.join("burnbag.db");
    let open = || {
        // What a service has set aside is the service's to let go.
        let reserve = alone.then(|| Arc::clone(reserve));
        let tuning = Tuning { reserve, ..Tuning::default() };
        SqliteRecords::open_with(&database, Arc::clone(clock) as Arc<dyn Clock>, tuning)
    };
    let opened = match open() {
        Err(StoreError::Full(_)) if alone => {
            reserve.release();
            open()
        }
        opened => opened,
    };
    opened.map_err(|error| StartError::Records { path: database.display().to_string(), error })
}
