//! The real binary on a random loopback port and in a fresh directory, stopped by its own pid.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stores::{Stored, Stores};

/// How long anything that must happen is waited for.
pub const SOON: Duration = Duration::from_secs(20);

/// Polls until `condition` gives something; fails the test after [`SOON`].
pub async fn wait_for<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let end = Instant::now() + SOON;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < end, "waited {SOON:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A port that was free a moment ago, and is given to nobody else in this process: who starts a server on it takes whatever
/// answers there for its own.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        if GIVEN.lock().unwrap().insert(port) {
            return port;
        }
    }
}

/// A running `burnbag serve`. Dropped, it is killed; its directory goes with it.
pub struct Server {
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    /// A token of the account `admin`.
    pub token: String,
    environment: Vec<(String, String)>,
    child: Child,
    dir: TempDir,
    /// What it stands on.
    pub stores: Stores,
}

impl Server {
    /// With the defaults, on a fresh directory.
    pub async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With further settings, such as `("BURNBAG_UPLOAD_IDLE", "5s")`, on a fresh directory.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Stores::default(), settings).await
    }

    /// [`Server::with`] on these stores.
    pub async fn on(stores: Stores, settings: &[(&str, &str)]) -> Self {
        let mut server = Self::spawn(stores, settings);
        server.ready().await;
        let made = server.burnbag(&["token", "create"]);
        assert!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().clone_into(&mut server.token);
        server
    }

    /// On stores that belonged to others: with a token that took the account over.
    pub async fn taken_over(stores: Stores, settings: &[(&str, &str)]) -> Self {
        let mut server = Self::spawn(stores, settings);
        server.ready().await;
        let made = server.burnbag(&["token", "create", "--reset"]);
        assert!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().clone_into(&mut server.token);
        server
    }

    /// Another instance on the same stores and the same data directory, with its own port and further settings.
    pub async fn beside(&self, settings: &[(&str, &str)]) -> Self {
        let data = self.data().display().to_string();
        let shared = [&[("BURNBAG_DATA_DIR", data.as_str())], settings].concat();
        let mut server = Self::spawn(self.stores.clone(), &shared);
        server.ready().await;
        self.token.clone_into(&mut server.token);
        server
    }

    fn spawn(stores: Stores, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let mut environment = vec![
            ("BURNBAG_DATA_DIR".to_owned(), dir.path().join("data").display().to_string()),
            ("BURNBAG_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
            // Tests come from one address, with one token; what limits them has tests of its own.
            ("BURNBAG_RATE".to_owned(), "off".to_owned()),
            ("BURNBAG_RATE_TOKEN".to_owned(), "off".to_owned()),
            ("BURNBAG_RATE_LINK".to_owned(), "off".to_owned()),
        ];
        environment.extend(stores.settings());
        for (name, value) in settings {
            environment.retain(|(known, _)| known != name);
            environment.push(((*name).to_owned(), (*value).to_owned()));
        }
        let url = format!("http://127.0.0.1:{port}");
        let child = spawn(&environment, &dir);
        Self { url, token: String::new(), environment, child, dir, stores }
    }

    /// Waits until it answers `/readyz` with 200.
    pub async fn ready(&mut self) {
        let url = format!("{}/readyz", self.url);
        let client = reqwest::Client::new();
        let end = Instant::now() + SOON;
        loop {
            let ready = client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
            if ready {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server ended: {ended:?}\n{}", self.log());
            assert!(Instant::now() < end, "the server is not ready\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Runs another command of the binary with the same settings.
    pub fn burnbag(&self, arguments: &[&str]) -> Output {
        command(&self.environment).args(arguments).stdin(Stdio::null()).output().unwrap()
    }

    /// `BURNBAG_DATA_DIR`.
    pub fn data(&self) -> PathBuf {
        let set = self.environment.iter().find(|(name, _)| name == "BURNBAG_DATA_DIR");
        set.map(|(_, dir)| PathBuf::from(dir)).unwrap()
    }

    /// Its settings.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(log_file(&self.dir)).unwrap()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGSTOP: it takes connections and answers nothing.
    pub fn freeze(&self) {
        self.signal(rustix::process::Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.signal(rustix::process::Signal::CONT);
    }

    fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> std::process::ExitStatus {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGTERM, and waits for its end; the exit code must be 0.
    pub async fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        let end = Instant::now() + Duration::from_secs(45);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                assert!(status.success(), "{status}\n{}", self.log());
                return;
            }
            assert!(Instant::now() < end, "it does not stop\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts it again on the same directory and port, after [`Server::kill`] or [`Server::stop`].
    pub async fn start_again(&mut self) {
        self.child = spawn(&self.environment, &self.dir);
        self.ready().await;
    }

    /// Changes a setting for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// What it says to bytes that no client library would send, read to the end of the connection.
    ///
    /// A client that leaves half-way is `stay: false`: it shuts its side after the bytes.
    pub async fn raw(&self, request: &[u8], stay: bool) -> String {
        let talk = async {
            let mut stream = tokio::net::TcpStream::connect(self.address()).await.unwrap();
            stream.write_all(request).await.unwrap();
            if !stay {
                stream.shutdown().await.unwrap();
            }
            let mut answer = Vec::new();
            // A reset after the answer is no matter: what came before it counts.
            let _ = stream.read_to_end(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        tokio::time::timeout(SOON, talk).await.expect("no end of the answer")
    }

    /// `Authorization` of the account, as curl sends it.
    pub fn basic(&self) -> String {
        basic("", &self.token)
    }

    /// The audit lines that are written so far.
    pub fn events(&self) -> Vec<serde_json::Value> {
        let mut files = files_below(&self.data().join("audit"));
        files.retain(|file| file.extension().is_some_and(|end| end == "jsonl"));
        files.sort();
        let text: String = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        // The last line may be on its way.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Sends bytes under a name with options as query, and returns the link.
    pub async fn send(&self, name: &str, bytes: impl Into<reqwest::Body>, query: &str) -> Link {
        let answer = reqwest::Client::new()
            .put(format!("{}/{name}?{query}", self.url))
            .basic_auth("", Some(&self.token))
            .body(bytes)
            .send()
            .await
            .unwrap();
        let status = answer.status();
        let transfer = answer
            .headers()
            .get("burnbag-transfer")
            .map(|id| id.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let text = answer.text().await.unwrap();
        assert_eq!(status, 201, "{text}");
        Link::parse(text.trim_end(), &transfer)
    }

    /// The transfer as the API shows it.
    pub async fn transfer(&self, id: &str) -> serde_json::Value {
        let url = format!("{}/api/v1/transfers/{id}", self.url);
        let answer = reqwest::Client::new().get(url).bearer_auth(&self.token).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }

    /// Every object, wherever objects are.
    pub async fn stored(&self) -> Vec<Stored> {
        self.stores.stored(&self.data()).await
    }

    /// The one object of a transfer.
    pub async fn key_of(&self, link: &Link) -> String {
        let objects = self.stored().await.into_iter();
        objects.map(|object| object.key).find(|key| key.contains(&link.transfer)).unwrap()
    }

    /// The bytes of an object as it lies there.
    pub async fn object(&self, key: &str) -> Vec<u8> {
        self.stores.object(&self.data(), key).await
    }

    /// Puts other bytes in an object's place.
    pub async fn put_object(&self, key: &str, bytes: &[u8]) {
        self.stores.put_object(&self.data(), key, bytes).await;
    }

    /// Takes an object away, past burnbag.
    pub async fn lose_object(&self, key: &str) {
        self.stores.lose_object(&self.data(), key).await;
    }

    /// Every object file under the data directory.
    pub fn objects(&self) -> Vec<PathBuf> {
        files_below(&self.data().join("objects/o"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A link as a receiver has it.
#[derive(Clone, Debug)]
pub struct Link {
    /// The whole, with its secret.
    pub whole: String,
    /// Without the fragment.
    pub url: String,
    /// The part after the `#`.
    pub secret: String,
    /// The transfer that it opens.
    pub transfer: String,
}

impl Link {
    pub fn parse(whole: &str, transfer: &str) -> Self {
        let (url, secret) = whole.split_once('#').expect("a link has a fragment");
        Self {
            whole: whole.to_owned(),
            url: url.to_owned(),
            secret: secret.to_owned(),
            transfer: transfer.to_owned(),
        }
    }

    /// A GET with the secret as a tool sends it.
    pub fn get(&self, client: &reqwest::Client) -> reqwest::RequestBuilder {
        client.get(&self.url).basic_auth("x", Some(&self.secret))
    }
}

/// `Basic …` of a user and a password.
pub fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Runs a client to its end, at most a minute; `timeout` ends one that hangs.
pub async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", program]).args(arguments).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

/// As text, whatever it is.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes that look random and are the same for the same seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// Regular files below a directory.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&entry.path())),
            Ok(_) => files.push(entry.path()),
            Err(_) => {}
        }
    }
    files
}

fn log_file(dir: &TempDir) -> PathBuf {
    dir.path().join("log")
}

pub fn command(environment: &[(String, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
    command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
    command
}

fn spawn(environment: &[(String, String)], dir: &TempDir) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log_file(dir)).unwrap();
    command(environment).arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}
