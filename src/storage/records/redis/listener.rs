//! The doorbell: Redis tells which keys expire (DESIGN §8). What it does not tell, the due index knows.

use std::time::Duration;

use futures_util::StreamExt as _;
use redis::{Msg, RedisError};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval_at, sleep, timeout};

use super::super::{Heard, StoreError};
use super::RedisRecords;
use super::keys::Shard;
use super::line::{Lost, store_error};
use crate::transfer::TransferId;

/// Connecting, subscribing and every ping must be done within this time.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection on which nothing is said is tried so often.
const PING_EVERY: Duration = Duration::from_secs(10);
/// The key that proves that notifications come lives so long, and is told within so long after that.
const PROBE: Duration = Duration::from_millis(20);
const PROVED: Duration = Duration::from_secs(3);
/// After the first failure it waits so long, after each further one twice as long.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// What is said in `/readyz` while nothing is heard.
const DEAF: &str = "Redis does not tell which keys expire; the index alone ends what is due";

fn lost(what: &str) -> StoreError {
    StoreError::Unavailable(format!("the listener's connection to Redis {what}"))
}

/// Waits for an answer of Redis, not for ever.
async fn answered<T>(answer: impl Future<Output = Result<T, RedisError>>) -> Result<T, StoreError> {
    match timeout(ANSWER, answer).await {
        Ok(answer) => answer.map_err(|error| store_error(&error)),
        Err(_) => Err(lost("does not answer")),
    }
}

impl RedisRecords {
    /// Listens for ever: connects, subscribes, has the index looked at for what was missed, and then tells each.
    pub(super) async fn listen_to(&self, shard: Shard, tell: &mpsc::Sender<Heard>) {
        let mut backoff = FIRST_BACKOFF;
        let mut told = false;
        while !tell.is_closed() {
            let began = Instant::now();
            let Err(error) = self.hear(shard, tell).await else { return };
            self.set_deaf(true);
            if began.elapsed() > LONGEST_BACKOFF {
                (backoff, told) = (FIRST_BACKOFF, false);
            }
            // A Redis that stays away is told once.
            if !std::mem::replace(&mut told, true) {
                tracing::warn!(error = %error, "expired keys are not heard; the index ends what is due");
            }
            sleep(backoff + backoff.mul_f64(rand::random::<f64>() / 2.0)).await;
            backoff = LONGEST_BACKOFF.min(backoff * 2);
        }
    }

    /// One connection, until it breaks. Ends well only when nobody is told any more.
    async fn hear(&self, shard: Shard, tell: &mpsc::Sender<Heard>) -> Result<(), StoreError> {
        let line = self.line(shard)?;
        let (client, mut moves) = (line.client()?, line.moves());
        let database = client.get_connection_info().redis_settings().db();
        let (mut sink, mut stream) = answered(client.get_async_pubsub()).await?.split();
        answered(sink.subscribe(format!("__keyevent@{database}__:expired"))).await?;
        let _ = tell.try_send(Heard::Again);
        let probe = self.probe(shard).await?;
        let mut proved = probe.is_none();
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        let mut unproved = Box::pin(sleep(PROVED));
        let prefix = shard.slots_prefix();
        loop {
            tokio::select! {
                heard = stream.next() => {
                    let key: String = heard_key(heard.as_ref())?;
                    if probe.as_ref() == Some(&key) {
                        proved = true;
                        self.set_deaf(false);
                    }
                    let Some(id) = key.strip_prefix(&prefix).and_then(|id| id.parse::<TransferId>().ok()) else { continue };
                    self.set_deaf(false);
                    match tell.try_send(Heard::Expired(id)) {
                        Err(mpsc::error::TrySendError::Closed(_)) => return Ok(()),
                        // What is too much to be told is left to the index.
                        Ok(()) | Err(mpsc::error::TrySendError::Full(_)) => {}
                    }
                }
                () = tell.closed() => return Ok(()),
                // The events come only from the node that has the slot.
                _ = moves.changed() => return Err(lost("leads to a node that no longer has the slot")),
                () = &mut unproved, if !proved => {
                    proved = true;
                    self.set_deaf(true);
                    tracing::warn!("{DEAF}: type `redis-cli CONFIG SET notify-keyspace-events Ex`");
                }
                _ = pings.tick() => answered(sink.ping::<redis::Value>()).await.map(drop)?,
            }
        }
    }

    /// Makes a key that expires at once; its name, where one could be made.
    async fn probe(&self, shard: Shard) -> Result<Option<String>, StoreError> {
        let key = shard.probe(rand::random());
        let mut set = redis::pipe();
        set.cmd("SET").arg(&key).arg("").arg("PX").arg(u64::try_from(PROBE.as_millis()).unwrap_or(1));
        let made = self.line(shard)?.send(set.ignore_errors(), Lost::Fail).await?;
        if made.iter().any(Result::is_err) {
            // A full Redis takes no key; it tells those that expire all the same.
            return Ok(None);
        }
        sleep(PROBE * 2).await;
        // Redis looks for expired keys by samples; one that is asked for it finds at once.
        let mut look = redis::pipe();
        look.cmd("EXISTS").arg(&key);
        self.read(shard, &mut look).await?;
        Ok(Some(key))
    }

    fn set_deaf(&self, deaf: bool) {
        let mut remarks = self.remarks.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let known = remarks.iter().any(|remark| remark == DEAF);
        if deaf && !known {
            remarks.push(DEAF.to_owned());
        } else if !deaf && known {
            remarks.retain(|remark| remark != DEAF);
            tracing::info!("Redis tells which keys expire");
        }
    }
}

fn heard_key(message: Option<&Msg>) -> Result<String, StoreError> {
    let message = message.ok_or_else(|| lost("was closed"))?;
    // A key that is no text is none of ours.
    Ok(message.get_payload().unwrap_or_default())
}
