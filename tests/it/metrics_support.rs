//! A scrape of a server's metrics, read.

use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};

use crate::stores::Stores;
use crate::support::{Server, free_port};

/// Settings of a server that shows its metrics, and where.
pub struct Shown {
    /// `127.0.0.1:<port>`.
    pub address: String,
}

impl Shown {
    pub fn new() -> Self {
        Self { address: format!("127.0.0.1:{}", free_port()) }
    }

    /// The setting.
    pub fn setting(&self) -> (&'static str, &str) {
        ("BURNBAG_METRICS_LISTEN", &self.address)
    }

    /// A server with this and further settings.
    pub async fn server(&self, settings: &[(&str, &str)]) -> Server {
        self.server_on(Stores::default(), settings).await
    }

    /// [`Shown::server`] on these stores.
    pub async fn server_on(&self, stores: Stores, settings: &[(&str, &str)]) -> Server {
        let settings: Vec<_> = settings.iter().copied().chain([self.setting()]).collect();
        Server::on(stores, &settings).await
    }

    pub fn url(&self) -> String {
        format!("http://{}/metrics", self.address)
    }

    /// What stands there now, in the text format of Prometheus.
    pub async fn scrape(&self) -> Scrape {
        let answer = reqwest::get(self.url()).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Scrape(answer.text().await.unwrap())
    }
}

/// The text of a scrape.
#[derive(Debug)]
pub struct Scrape(pub String);

impl Scrape {
    /// One sample, by its name with its labels as they are written.
    pub fn value(&self, sample: &str) -> Option<f64> {
        let mut values = self.0.lines().filter_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        values.next().map(|value| value.parse().unwrap())
    }

    /// The sum of all samples of a name whose labels have this text in them.
    pub fn sum(&self, name: &str, labels: &str) -> f64 {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.filter_map(|line| {
            let (sample, value) = line.rsplit_once(' ')?;
            let (named, has) = sample.split_once('{').unwrap_or((sample, ""));
            (named == name && has.contains(labels)).then(|| value.parse::<f64>().unwrap())
        });
        samples.sum()
    }

    /// Every metric, by the name in its description.
    pub fn names(&self) -> BTreeSet<&str> {
        let typed = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        typed.map(|line| line.split(' ').next().unwrap()).collect()
    }
}

/// Runs `promtool`; `input` is what it reads.
pub fn promtool(arguments: &[&str], input: &str) -> Output {
    use std::io::Write as _;
    let spawned = Command::new("promtool")
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.expect("promtool is missing: install Debian's prometheus, or run ./check");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
