//! A `redis-server` as burnbag asks for one, on a free port, stopped by its own pid.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use ::redis::FromRedisValue;

use crate::server::free_address;

pub struct Redis {
    url: String,
    child: Child,
}

impl Redis {
    /// With its data in a directory.
    pub fn start(dir: &Path) -> Self {
        let port = free_address().port();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--dir", dir.to_str().unwrap(), "--bind", "127.0.0.1"]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]);
        command.args(["--notify-keyspace-events", "Ex", "--hash-max-listpack-value", "4096", "--save", ""]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        let redis = Self { url: format!("redis://127.0.0.1:{port}"), child };
        let end = Instant::now() + Duration::from_secs(10);
        while redis.try_ask::<String>(&["PING"]).is_err() {
            assert!(Instant::now() < end, "redis-server does not start");
            park_timeout(Duration::from_millis(10));
        }
        redis
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Events that wait for the log.
    pub fn waiting(&self) -> u64 {
        self.try_ask(&["XLEN", "bb:{bb.0}:outbox"]).unwrap()
    }

    /// Bytes of memory in use.
    pub fn bytes(&self) -> f64 {
        let info: String = self.try_ask(&["INFO", "memory"]).unwrap();
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap();
        used.trim().parse().unwrap()
    }

    fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> ::redis::RedisResult<T> {
        let mut command = ::redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query(&mut ::redis::Client::open(self.url.as_str())?.get_connection()?)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
