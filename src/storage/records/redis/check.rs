//! Whether a Redis keeps what it answers (DESIGN §7). Each refusal says what to type.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::Value;

use super::super::{RecordStore as _, StoreError};
use super::keys::Shard;
use super::line::Lost;
use super::{RedisRecords, parsed};
use crate::clock::Clock;

/// Scripts say what they do by flags from this version on.
const LEAST_VERSION: u32 = 7;
/// Expired keys are told by their names.
const NOTIFY: &str = "Ex";

/// A setting with the value that it must have, and what another one means.
const NEEDED: &[(&str, &str, &str)] = &[
    ("maxmemory-policy", "noeviction", "it may throw records away when its memory is full"),
    ("appendonly", "yes", "a crash of Redis may undo what it answered since its last snapshot"),
    ("appendfsync", "always", "a crash of Redis may undo what it answered in the last second or more"),
];

impl RedisRecords {
    /// Refuses a Redis that is too old or may lose what it answered; what is taken all the same goes among the remarks.
    pub(super) async fn check(&self, strict: bool) -> Result<(), StoreError> {
        for shard in self.every_shard() {
            self.check_node(shard, strict).await?;
        }
        Ok(())
    }

    async fn check_node(&self, shard: Shard, strict: bool) -> Result<(), StoreError> {
        // In a cluster a key leads to its node; the questions that follow name none.
        let mut ask = redis::pipe();
        ask.cmd("EXISTS").arg(shard.meta());
        self.read_one::<u32>(shard, &ask).await?;
        self.check_version(shard).await?;
        let mut ask = redis::pipe();
        ask.cmd("CONFIG").arg("GET");
        for (name, ..) in NEEDED {
            ask.arg(*name);
        }
        ask.arg("notify-keyspace-events");
        let answer = self.read(shard, &mut ask).await?.pop().unwrap_or(Ok(Value::Nil));
        let settings = match answer {
            Ok(settings) => parsed::<HashMap<String, String>>(Ok(settings))?,
            Err(error) if error.code().is_some() => {
                tracing::warn!(%error, "Redis does not say how it is set: allow CONFIG GET, or see to noeviction, appendonly and appendfsync by hand");
                self.remark("Redis does not say how it is set (CONFIG GET is refused): what a crash may undo is not known");
                return Ok(());
            }
            Err(error) => return Err(super::line::store_error(&error)),
        };
        for (name, wanted, means) in NEEDED {
            let found = settings.get(*name).map_or("", String::as_str);
            // Without a log there is nothing to sync.
            if found == *wanted
                || (*name == "appendfsync" && settings.get("appendonly").is_some_and(|log| log == "no"))
            {
                continue;
            }
            if strict {
                return Err(StoreError::Unavailable(format!(
                    "its {name} is {found}: {means}; type `redis-cli CONFIG SET {name} {wanted}` and set the same in its \
                     configuration file, or BURNBAG_REDIS_DURABILITY=relaxed if that may be"
                )));
            }
            tracing::warn!(setting = name, found, wanted, "{means}");
            self.remark(format!("{means} ({name} is {found})"));
        }
        self.notify(shard, settings.get("notify-keyspace-events").map_or("", String::as_str)).await
    }

    async fn check_version(&self, shard: Shard) -> Result<(), StoreError> {
        let mut ask = redis::pipe();
        ask.cmd("INFO").arg("server");
        let answer = self.read(shard, &mut ask).await?.pop().unwrap_or(Ok(Value::Nil));
        if let Err(error) = &answer
            && error.code() == Some("NOPERM")
        {
            return Ok(());
        }
        let info: String = parsed(answer)?;
        let version = info.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
        let major: u32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
        if major >= LEAST_VERSION {
            return Ok(());
        }
        Err(StoreError::Unavailable(format!(
            "it is version {version}, and burnbag needs Redis {LEAST_VERSION}.0 or newer, or Valkey"
        )))
    }

    /// Asks for notifications of expired keys where they are off. Whether they come is proved by the listener.
    async fn notify(&self, shard: Shard, set: &str) -> Result<(), StoreError> {
        let has = |flag| set.contains(flag);
        if has('E') && (has('x') || has('A')) {
            return Ok(());
        }
        let mut ask = redis::pipe();
        ask.cmd("CONFIG").arg("SET").arg("notify-keyspace-events").arg(format!("{set}{NOTIFY}"));
        let answer = self.line(shard)?.send(ask.ignore_errors(), Lost::SendAgain).await?;
        if answer.iter().any(Result::is_err) {
            tracing::warn!(
                "Redis does not tell which keys expire, and does not let that be set: type `redis-cli CONFIG SET \
                 notify-keyspace-events {NOTIFY}`; until then the index alone ends what is due"
            );
        }
        Ok(())
    }

    /// How far the clock of Redis is from another, in either direction, less what the question took.
    ///
    /// # Errors
    /// Redis does not answer.
    pub async fn apart(&self, clock: &dyn Clock) -> Result<Duration, StoreError> {
        let (before, asked) = (clock.now(), Instant::now());
        let there = self.now().await?;
        let (after, took) = (clock.now(), asked.elapsed());
        let apart = there.since(after).max(before.since(there));
        Ok(apart.saturating_sub(took))
    }
}
