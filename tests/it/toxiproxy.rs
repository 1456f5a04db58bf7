//! A real `toxiproxy-server` on a random port, stopped by its own pid: what lies between two ends, and spoils it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::support::{free_port, wait_for};
use crate::tools::tool;

/// A toxic that is not there or not gone by then waits for a connection that takes nothing.
const STUCK: Duration = Duration::from_secs(2);

/// The server. Dropped, it and its proxies are gone.
pub struct Toxiproxy {
    child: Child,
    api: String,
}

impl Toxiproxy {
    pub async fn start() -> Self {
        let port = free_port();
        let child = Command::new(tool("toxiproxy-server"))
            .args(["-host", "127.0.0.1", "-port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, api: format!("http://127.0.0.1:{port}") };
        let url = format!("{}/version", server.api);
        wait_for("toxiproxy", async || reqwest::get(&url).await.ok()).await;
        server
    }

    /// A new way to `upstream`, an address with its port.
    pub async fn proxy(&self, name: &str, upstream: &str) -> Proxy {
        let address = format!("127.0.0.1:{}", free_port());
        let proxy = Proxy { api: format!("{}/proxies", self.api), name: name.to_owned(), address };
        let body = json!({ "name": name, "listen": proxy.address, "upstream": upstream, "enabled": true });
        proxy.post("", &body).await;
        proxy
    }
}

impl Drop for Toxiproxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One way.
#[derive(Clone, Debug)]
pub struct Proxy {
    api: String,
    name: String,
    /// Where it begins.
    pub address: String,
}

/// What is wrong with a way.
#[derive(Clone, Copy, Debug)]
pub enum Toxic {
    /// Nothing comes through, and connections are refused.
    Down,
    /// Every connection is reset.
    Reset,
    /// What comes down is so many milliseconds late.
    Latency(u64),
    /// An end comes so many milliseconds late.
    SlowClose(u64),
    /// So many KB a second come up.
    Bandwidth(u64),
    /// Nothing comes through, and nobody is told.
    Silence,
}

impl Toxic {
    /// Any.
    pub fn random(random: &mut StdRng) -> Self {
        match random.random_range(0..6) {
            0 => Self::Down,
            1 => Self::Reset,
            2 => Self::Latency(random.random_range(50..1500)),
            3 => Self::SlowClose(random.random_range(100..1000)),
            4 => Self::Bandwidth(random.random_range(500..4000)),
            _ => Self::Silence,
        }
    }
}

impl Proxy {
    async fn post(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.api);
        let answer = reqwest::Client::new().post(url).body(body.to_string()).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// From now on it is like this.
    pub async fn spoil(&self, toxic: Toxic) {
        let (kind, stream, attributes) = match toxic {
            Toxic::Down => return self.enable(false).await,
            Toxic::Reset => ("reset_peer", "downstream", json!({ "timeout": 0 })),
            Toxic::Latency(late) => ("latency", "downstream", json!({ "latency": late, "jitter": late / 2 })),
            Toxic::SlowClose(late) => ("slow_close", "downstream", json!({ "delay": late })),
            Toxic::Bandwidth(rate) => ("bandwidth", "upstream", json!({ "rate": rate })),
            Toxic::Silence => ("timeout", "upstream", json!({ "timeout": 0 })),
        };
        let body = json!({ "name": "fault", "type": kind, "stream": stream, "attributes": attributes });
        let url = format!("{}/{}/toxics", self.api, self.name);
        let add = reqwest::Client::new().post(url).body(body.to_string()).send();
        let (status, broken) = self.or_break(add).await;
        // Where its connections had to be broken it may have given up: then that was the fault.
        assert!(status.is_success() || broken, "{status}");
        if broken {
            self.enable(true).await;
        }
    }

    /// The answer, and whether every connection had to be broken for it.
    async fn or_break(
        &self,
        change: impl Future<Output = reqwest::Result<reqwest::Response>>,
    ) -> (reqwest::StatusCode, bool) {
        let mut change = std::pin::pin!(change);
        if let Ok(answer) = tokio::time::timeout(STUCK, &mut change).await {
            return (answer.unwrap().status(), false);
        }
        self.enable(false).await;
        (change.await.unwrap().status(), true)
    }

    /// Nothing is wrong any more.
    pub async fn heal(&self) {
        let url = format!("{}/{}/toxics/fault", self.api, self.name);
        let (status, _) = self.or_break(reqwest::Client::new().delete(url).send()).await;
        // None is there where the way was down.
        assert!(status.is_success() || status == 404, "{status}");
        self.enable(true).await;
    }

    async fn enable(&self, enabled: bool) {
        self.post(&format!("/{}", self.name), &json!({ "enabled": enabled })).await;
    }
}
