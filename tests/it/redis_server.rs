//! A real `redis-server` on a random port and in a fresh directory, stopped by its own pid.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use burnbag::storage::records::redis::{RedisOptions, RedisRecords};
use redis::FromRedisValue;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::{SOON, files_below, free_port};

/// What burnbag asks of a Redis (docs/OPERATIONS.md).
const SETTINGS: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("appendfsync", "always"),
    ("maxmemory-policy", "noeviction"),
    ("notify-keyspace-events", "Ex"),
    ("hash-max-listpack-value", "4096"),
    ("save", ""),
    ("bind", "127.0.0.1"),
];

/// A running `redis-server`. Dropped, it is killed; its directory goes with it.
pub struct RedisServer {
    port: u16,
    settings: Vec<(String, String)>,
    /// It shows the time of this file, not the machine's.
    clock: Option<PathBuf>,
    child: Child,
    dir: TempDir,
}

impl RedisServer {
    /// With the settings that burnbag asks for.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With other or further settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::begin(settings, None).await
    }

    /// With the time that this file shows.
    pub async fn with_clock(clock: &Path) -> Self {
        Self::begin(&[], Some(clock.to_owned())).await
    }

    /// With further settings, and the time that a file shows.
    pub async fn begin(others: &[(&str, &str)], clock: Option<PathBuf>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut settings: Vec<(String, String)> = Vec::new();
        for (name, value) in SETTINGS.iter().chain(others) {
            settings.retain(|(known, _)| known != name);
            settings.push(((*name).to_owned(), (*value).to_owned()));
        }
        let port = free_port();
        let child = spawn(port, &settings, clock.as_deref(), &dir);
        let mut server = Self { port, settings, clock, child, dir };
        while !server.ready().await {
            // Somebody else was quicker to take the port.
            assert!(server.log().contains("Address already in use"), "redis-server ended:\n{}", server.log());
            server.port = free_port();
            std::fs::remove_file(server.dir.path().join("log")).unwrap();
            server.child = spawn(server.port, &server.settings, server.clock.as_deref(), &server.dir);
        }
        server
    }

    /// Waits until it answers; false if it ended.
    async fn ready(&mut self) -> bool {
        let end = Instant::now() + SOON;
        loop {
            match self.try_ask::<String>(&["PING"]) {
                Ok(_) => return true,
                // It wants a password, and so it is there.
                Err(error) if error.code() == Some("NOAUTH") => return true,
                Err(_) => {}
            }
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < end, "redis-server is not ready\n{}", self.log());
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A store on it.
    pub async fn records(&self) -> RedisRecords {
        RedisRecords::connect(RedisOptions { url: self.url(), shards: 1, wait: 0, strict: true })
            .await
            .unwrap()
    }

    /// One command, on a connection of its own.
    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        self.try_ask(words).unwrap()
    }

    fn try_ask<T: FromRedisValue>(&self, words: &[&str]) -> redis::RedisResult<T> {
        let mut command = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            command.arg(*word);
        });
        command.query(&mut redis::Client::open(self.url())?.get_connection()?)
    }

    /// Its directory, with the append-only file.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same directory and port, after [`RedisServer::kill`].
    pub async fn start_again(&mut self) {
        self.child = spawn(self.port, &self.settings, self.clock.as_deref(), &self.dir);
        assert!(self.ready().await, "redis-server ended:\n{}", self.log());
    }

    /// What it has on disk, while it does not run.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = files_below(&self.dir.path().join("appendonlydir")).into_iter();
        files.map(|file| (file.clone(), std::fs::read(&file).unwrap())).collect()
    }

    /// Goes back to what it had on disk before, while it does not run.
    pub fn go_back(&self, files: &[(PathBuf, Vec<u8>)]) {
        std::fs::remove_dir_all(self.dir.path().join("appendonlydir")).unwrap();
        std::fs::create_dir(self.dir.path().join("appendonlydir")).unwrap();
        for (file, bytes) in files {
            std::fs::write(file, bytes).unwrap();
        }
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn freeze(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    /// SIGCONT.
    pub fn resume(&self) {
        kill_process(Pid::from_child(&self.child), Signal::CONT).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16, settings: &[(String, String)], clock: Option<&Path>, dir: &TempDir) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.path().join("log")).unwrap();
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--dir", dir.path().to_str().unwrap()]);
    for (name, value) in settings {
        command.arg(format!("--{name}")).arg(value);
    }
    if let Some(clock) = clock {
        command.env("CLOCK_FILE", clock).env("LD_PRELOAD", clock_library());
    }
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    child.unwrap_or_else(|error| {
        panic!("redis-server cannot be started ({error}): apt-get install redis-server")
    })
}

/// `redis_clock.c`, compiled once for all tests of this process.
fn clock_library() -> PathBuf {
    static BUILT: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = BUILT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let (source, library) = (
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/redis_clock.c"),
            dir.path().join("redis_clock.so"),
        );
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).output();
        let built = built.expect("no C compiler: apt-get install gcc");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        (dir, library)
    });
    library.clone()
}
