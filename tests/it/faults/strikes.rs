//! What a fault run stands on, and what strikes it.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::{IndexedMutRandom as _, SliceRandom as _};
use rand::{Rng, RngExt as _};

use super::clients::Way;
use crate::aftermath::with_objects;
use crate::metrics_support::Shown;
use crate::minio::{Bucket, Minio};
use crate::redis_server::RedisServer;
use crate::support::{Server, files_below};
use crate::toxiproxy::{Proxy, Toxic, Toxiproxy};

/// So that what is left goes within the quiet time.
const SETTINGS: [(&str, &str); 4] = [
    ("BURNBAG_UPLOAD_IDLE", "5s"),
    ("BURNBAG_SWEEP_EVERY", "5s"),
    ("BURNBAG_SWEEP_MIN_AGE", "20s"),
    ("BURNBAG_LOG", "warn"),
];
/// How long a store is frozen: at the least, and at the most where the run is long.
const FROZEN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));
/// What cuts a way lasts so long at the least.
const CUT: Duration = Duration::from_millis(300);
/// A way to clients, which is no store, is not cut for longer.
const CUT_OFF: Duration = Duration::from_secs(3);

/// An instance and the ways to it and from it.
pub(super) struct Instance {
    pub(super) server: Server,
    pub(super) shown: Shown,
    way: Proxy,
    /// To Redis and to MinIO, where it is on them.
    to_stores: Option<[Proxy; 2]>,
}

/// Redis and MinIO.
struct Production {
    redis: RedisServer,
    minio: Minio,
    /// Reached straight.
    bucket: Bucket,
}

/// Instances on the same stores.
pub(super) struct Ground {
    pub(super) instances: Vec<Instance>,
    production: Option<Production>,
    toxiproxy: Toxiproxy,
}

/// One of two.
#[derive(Clone, Copy, Debug)]
enum Store {
    Redis,
    Minio,
}

/// What strikes.
#[derive(Clone, Copy, Debug)]
enum Blow {
    /// `kill -9` of an instance.
    Instance,
    /// The way between clients and an instance is spoiled.
    Clients,
    /// The way from one instance, or from all, to a store is spoiled.
    Way(Store),
    /// `kill -9` of a store.
    Kill(Store),
    /// SIGSTOP.
    Freeze(Store),
}

impl Production {
    async fn start() -> Self {
        let minio = Minio::start().await;
        Self { redis: RedisServer::start().await, bucket: minio.bucket().await, minio }
    }

    fn kill(&mut self, store: Store) {
        match store {
            Store::Redis => self.redis.kill(),
            Store::Minio => self.minio.kill(),
        }
    }

    async fn start_again(&mut self, store: Store) {
        match store {
            Store::Redis => self.redis.start_again().await,
            Store::Minio => self.minio.start_again().await,
        }
    }

    fn freeze(&self, store: Store) {
        match store {
            Store::Redis => self.redis.freeze(),
            Store::Minio => self.minio.freeze(),
        }
    }

    fn resume(&self, store: Store) {
        match store {
            Store::Redis => self.redis.resume(),
            Store::Minio => self.minio.resume(),
        }
    }
}

impl Ground {
    /// One instance on the stores that need no configuration.
    pub(super) async fn embedded() -> Self {
        let mut ground =
            Self { instances: Vec::new(), production: None, toxiproxy: Toxiproxy::start().await };
        ground.add().await;
        ground
    }

    /// So many instances on the same Redis and the same MinIO, with one KEK and one directory for the log.
    pub(super) async fn production(instances: usize) -> Self {
        let production = Some(Production::start().await);
        let mut ground = Self { instances: Vec::new(), production, toxiproxy: Toxiproxy::start().await };
        for _ in 0..instances {
            ground.add().await;
        }
        ground
    }

    async fn add(&mut self) {
        let (shown, n) = (Shown::new(), self.instances.len());
        let toxiproxy = &self.toxiproxy;
        let mut settings: Vec<(String, String)> =
            SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let mut to_stores = None;
        if let Some(Production { redis, minio, bucket }) = &self.production {
            let to_redis = toxiproxy.proxy(&format!("redis-{n}"), &redis.address()).await;
            let to_minio = toxiproxy.proxy(&format!("minio-{n}"), &minio.address().to_string()).await;
            settings.push(("BURNBAG_REDIS_URL".to_owned(), format!("redis://{}", to_redis.address)));
            settings.extend(minio.reach(&bucket.name, to_minio.address.parse().unwrap()).environment());
            to_stores = Some([to_redis, to_minio]);
        }
        let mut settings: Vec<(&str, &str)> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        settings.push(shown.setting());
        let server = match self.instances.first() {
            Some(first) => first.server.beside(&settings).await,
            None => Server::with(&settings).await,
        };
        let way = toxiproxy.proxy(&format!("instance-{n}"), server.address()).await;
        self.instances.push(Instance { server, shown, way, to_stores });
    }

    /// How clients reach it.
    pub(super) fn ways(&self) -> Vec<Way> {
        let ways = self.instances.iter().flat_map(|instance| {
            let through = Way { url: format!("http://{}", instance.way.address), straight: false };
            [Way { url: instance.server.url.clone(), straight: true }, through]
        });
        ways.collect()
    }

    /// The directory of the log.
    pub(super) fn audit(&self) -> PathBuf {
        self.instances[0].server.data().join("audit")
    }

    /// The transfer of each object.
    pub(super) async fn with_objects(&self) -> Vec<String> {
        match &self.production {
            Some(Production { bucket, .. }) => {
                let objects = bucket.objects().await.into_iter();
                objects
                    .filter(|object| object.key.starts_with("o/"))
                    .map(|object| object.transfer())
                    .collect()
            }
            None => with_objects(&self.instances[0].server),
        }
    }

    /// Uploads that were begun and not completed.
    pub(super) fn unfinished(&self) -> Vec<PathBuf> {
        match &self.production {
            Some(production) => production.minio.unfinished(),
            None => files_below(&self.instances[0].server.data().join("tmp")),
        }
    }

    /// Each that there is, so that none is left out by chance.
    fn blows(&self, random: &mut StdRng) -> Vec<Blow> {
        let mut blows = vec![Blow::Instance, Blow::Clients];
        if self.production.is_some() {
            for store in [Store::Redis, Store::Minio] {
                blows.extend([Blow::Way(store), Blow::Kill(store), Blow::Freeze(store)]);
            }
        }
        blows.shuffle(random);
        blows
    }

    /// What strikes, one after the other, until the time is over; all is well again after each.
    pub(super) async fn strike(&mut self, random: &mut StdRng, length: Duration) -> u32 {
        let begun = Instant::now();
        let longest = (length / 6).clamp(FROZEN.0, FROZEN.1);
        let (mut blows, mut strikes) = (Vec::new(), 0);
        while begun.elapsed() < length {
            tokio::time::sleep(between(random, Duration::from_millis(200), Duration::from_millis(1500)))
                .await;
            if blows.is_empty() {
                blows = self.blows(random);
            }
            let blow = blows.pop().unwrap();
            strikes += 1;
            eprint!("{:>8.1?} {blow:?}", begun.elapsed());
            let instance = random.random_range(0..self.instances.len());
            match blow {
                Blow::Instance => {
                    eprintln!(" {instance} is killed");
                    self.instances[instance].server.kill();
                    tokio::time::sleep(between(random, Duration::ZERO, Duration::from_secs(1))).await;
                    self.instances[instance].server.start_again().await;
                }
                Blow::Clients => spoil(&[self.instances[instance].way.clone()], random, CUT_OFF).await,
                Blow::Way(store) => {
                    let ways = self.instances.iter().filter_map(|instance| instance.to_stores.as_ref());
                    let mut ways: Vec<Proxy> = ways.map(|ways| ways[store as usize].clone()).collect();
                    if random.random_bool(0.5) {
                        ways = vec![ways.swap_remove(instance)];
                    }
                    spoil(&ways, random, longest).await;
                }
                Blow::Kill(_) | Blow::Freeze(_) => self.strike_store(blow, random, longest).await,
            }
        }
        strikes
    }

    /// Sometimes an instance is killed meanwhile, and comes back when the store is back.
    async fn strike_store(&mut self, blow: Blow, random: &mut StdRng, longest: Duration) {
        let production = self.production.as_mut().unwrap();
        let time = match blow {
            Blow::Freeze(_) => between(random, FROZEN.0, longest),
            _ => between(random, CUT, Duration::from_secs(3)),
        };
        let mut too = self.instances.choose_mut(random).filter(|_| random.random_bool(0.25));
        eprintln!(
            " for {time:.1?}{}",
            if too.is_some() { ", and an instance is killed meanwhile" } else { "" }
        );
        match blow {
            Blow::Freeze(store) => production.freeze(store),
            Blow::Kill(store) => production.kill(store),
            _ => {}
        }
        tokio::time::sleep(time / 2).await;
        if let Some(instance) = &mut too {
            instance.server.kill();
        }
        tokio::time::sleep(time / 2).await;
        match blow {
            Blow::Freeze(store) => production.resume(store),
            Blow::Kill(store) => production.start_again(store).await,
            _ => {}
        }
        if let Some(instance) = too {
            instance.server.start_again().await;
        }
    }
}

fn between(random: &mut impl Rng, least: Duration, most: Duration) -> Duration {
    least + (most.saturating_sub(least)).mul_f64(random.random())
}

/// Spoils these ways for a while, at most so long.
async fn spoil(ways: &[Proxy], random: &mut StdRng, longest: Duration) {
    let (toxic, time) = (Toxic::random(random), between(random, CUT, longest));
    eprintln!(" {toxic:?} on {} for {time:.1?}", ways.len());
    for way in ways {
        way.spoil(toxic).await;
    }
    tokio::time::sleep(time).await;
    for way in ways {
        way.heal().await;
    }
}
