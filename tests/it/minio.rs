//! A real MinIO on random loopback ports, in a fresh directory and under fresh keys, stopped by its own pid.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{
    BehaviorVersion, Config, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation,
};
use burnbag::storage::blob::s3::{S3Limits, S3Settings};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::stores::Stored;
use crate::support::{SOON, files_below, free_port, wait_for};
use crate::tools::tool;

/// The one that tests share, a bucket each.
static SHARED: OnceCell<Minio> = OnceCell::const_new();

/// Runs a server until its input ends, which it does with the test, however that ends; then nothing of it is left,
/// unless a word came before.
const KEEPER: &str = r#""$@" & server=$!; echo "$server"; read -r keep; kill -KILL "$server"; wait
[ "$keep" ] || rm -rf "$DIR""#;

/// A running `minio server`. Dropped, it is killed, and its directory goes with it.
pub struct Minio {
    address: SocketAddr,
    access_key: String,
    secret_key: String,
    dir: PathBuf,
    keeper: Option<Keeper>,
}

struct Keeper {
    shell: Child,
    server: Pid,
}

impl Keeper {
    fn start(server: &mut Command, dir: &std::path::Path) -> Self {
        let arguments = std::iter::once(server.get_program()).chain(server.get_args());
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "keeper"]).args(arguments).env("DIR", dir);
        for (name, value) in server.get_envs() {
            shell.env(name, value.unwrap_or_default());
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped());
        let log = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("log")).unwrap();
        let mut shell = shell.stderr(log).spawn().unwrap();
        let mut line = String::new();
        let said = shell.stdout.as_mut().unwrap();
        // Not buffered past the line: nothing else is read from it.
        BufReader::new(said.by_ref()).read_line(&mut line).unwrap();
        let server = Pid::from_raw(line.trim().parse().expect("the keeper names the server")).unwrap();
        Self { shell, server }
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.server, signal).unwrap();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// A bucket of its own on a server.
pub struct Bucket {
    pub name: String,
    pub settings: S3Settings,
    /// To look at what is there, past burnbag.
    pub client: Client,
}

impl Minio {
    /// The one that is there for all tests. It is never stopped or frozen.
    pub async fn shared() -> &'static Self {
        SHARED.get_or_init(Self::start).await
    }

    /// One for this test alone.
    pub async fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("minio-").tempdir().unwrap();
        let (access_key, secret_key) = (hex::encode(rand::random::<[u8; 8]>()), random_secret());
        let mut minio = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            access_key,
            secret_key,
            dir: TempDir::keep(dir),
            keeper: None,
        };
        // A free port may be taken by the time that it is used.
        for _ in 0..5 {
            minio.address.set_port(free_port());
            if minio.serve().await {
                return minio;
            }
        }
        panic!("minio does not start:\n{}", minio.log());
    }

    /// Starts it on its directory and port; whether it is there.
    async fn serve(&mut self) -> bool {
        let mut command = Command::new(tool("minio"));
        command.arg("server").arg("--quiet").arg("--address").arg(self.address.to_string());
        command.arg("--console-address").arg(format!("127.0.0.1:{}", free_port()));
        command.arg("--certs-dir").arg(self.dir.join("certs")).arg(self.dir.join("data"));
        command.env("MINIO_ROOT_USER", &self.access_key).env("MINIO_ROOT_PASSWORD", &self.secret_key);
        command.env("MINIO_BROWSER", "off").env("MINIO_UPDATE", "off").env("HOME", &self.dir);
        self.keeper = Some(Keeper::start(&mut command, &self.dir));
        let server = self.keeper.as_ref().unwrap().server;
        let url = format!("http://{}/minio/health/ready", self.address);
        let client = reqwest::Client::new();
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            let asked = client.get(&url).timeout(Duration::from_secs(2)).send().await;
            if asked.is_ok_and(|answer| answer.status() == 200) {
                return true;
            }
            let state = std::fs::read_to_string(format!("/proc/{}/stat", server.as_raw_nonzero()));
            if state.is_ok_and(|state| state.contains(") Z ")) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// `127.0.0.1:<port>`.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it keeps of uploads that were begun and not completed, in whatever bucket: it lists them by their whole keys alone.
    pub fn unfinished(&self) -> Vec<PathBuf> {
        files_below(&self.dir.join("data/.minio.sys/multipart"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut keeper = self.keeper.take().unwrap();
        keeper.shell.stdin.as_mut().unwrap().write_all(b"keep\n").unwrap();
        drop(keeper);
    }

    /// After [`Minio::kill`]: the same server again.
    pub async fn start_again(&mut self) {
        assert!(self.serve().await, "minio does not start again:\n{}", self.log());
    }

    /// SIGSTOP: connections are taken by the kernel, and nothing is answered.
    pub fn freeze(&self) {
        self.keeper.as_ref().unwrap().signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self) {
        self.keeper.as_ref().unwrap().signal(Signal::CONT);
    }

    /// A fresh bucket.
    pub async fn bucket(&self) -> Bucket {
        let name = format!("test-{}", hex::encode(rand::random::<[u8; 6]>()));
        let bucket = self.reach(&name, self.address);
        bucket.client.create_bucket().bucket(&name).send().await.unwrap();
        bucket
    }

    /// A bucket of this server by another way to it.
    pub fn reach(&self, name: &str, through: SocketAddr) -> Bucket {
        let settings = S3Settings {
            bucket: name.to_owned(),
            endpoint: Some(format!("http://{through}")),
            region: "us-east-1".to_owned(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone().into(),
            limits: S3Limits::default(),
        };
        Bucket { name: name.to_owned(), client: client(&settings), settings }
    }
}

impl Drop for Minio {
    fn drop(&mut self) {
        drop(self.keeper.take());
        // Where it was killed before, nobody else does it.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn random_secret() -> String {
    hex::encode(rand::random::<[u8; 16]>())
}

/// Another client than burnbag's own.
pub fn client(settings: &S3Settings) -> Client {
    let credentials =
        Credentials::new(&settings.access_key, settings.secret_key.as_str(), None, None, "tests");
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(settings.region.clone()))
        .endpoint_url(settings.endpoint.as_ref().unwrap())
        .force_path_style(true)
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .credentials_provider(credentials);
    Client::from_conf(config.build())
}

impl Bucket {
    /// Every object that is there.
    pub async fn objects(&self) -> Vec<Stored> {
        let mut found = Vec::new();
        let mut pages = self.client.list_objects_v2().bucket(&self.name).into_paginator().send();
        while let Some(page) = pages.next().await {
            found.extend(page.unwrap().contents.unwrap_or_default().into_iter().map(|object| Stored {
                key: object.key.unwrap(),
                size: object.size.unwrap().try_into().unwrap(),
            }));
        }
        found
    }

    /// Every key that is there.
    pub async fn keys(&self) -> Vec<String> {
        self.objects().await.into_iter().map(|object| object.key).collect()
    }

    /// What leads a server to it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let settings = &self.settings;
        let set = [
            ("BURNBAG_S3_BUCKET", self.name.as_str()),
            ("BURNBAG_S3_ENDPOINT", settings.endpoint.as_deref().unwrap()),
            ("BURNBAG_S3_REGION", &settings.region),
            ("BURNBAG_S3_ACCESS_KEY", &settings.access_key),
            ("BURNBAG_S3_SECRET_KEY", &settings.secret_key),
        ];
        set.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    /// The unfinished uploads of a key.
    pub async fn uploads(&self, key: &str) -> Vec<String> {
        let listed =
            self.client.list_multipart_uploads().bucket(&self.name).prefix(key).send().await.unwrap();
        listed.uploads.unwrap_or_default().into_iter().filter_map(|upload| upload.upload_id).collect()
    }

    /// How many parts an unfinished upload has.
    pub async fn parts(&self, key: &str, upload: &str) -> usize {
        let list = self.client.list_parts().bucket(&self.name).key(key).upload_id(upload);
        list.send().await.unwrap().parts.unwrap_or_default().len()
    }

    /// Takes an unfinished upload away from whoever sends it.
    pub async fn abort(&self, key: &str, upload: &str) {
        let abort = self.client.abort_multipart_upload().bucket(&self.name).key(key).upload_id(upload);
        abort.send().await.unwrap();
    }

    /// Every version and delete marker that is there.
    pub async fn versions(&self) -> usize {
        let listed = self.client.list_object_versions().bucket(&self.name).send().await.unwrap();
        listed.versions.unwrap_or_default().len() + listed.delete_markers.unwrap_or_default().len()
    }
}

/// A server of another make, with one bucket.
pub struct S3s {
    _keeper: Keeper,
}

impl S3s {
    /// None where it is not installed.
    pub async fn start() -> Option<(S3Settings, Self)> {
        let installed = std::env::home_dir().map(|home| home.join(".cargo/bin/s3s-fs"))?;
        installed.is_file().then_some(())?;
        let dir = TempDir::keep(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(dir.join("data/bucket")).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let settings = S3Settings {
            bucket: "bucket".to_owned(),
            endpoint: Some(format!("http://{address}")),
            region: "us-east-1".to_owned(),
            access_key: "tests".to_owned(),
            secret_key: random_secret().into(),
            limits: S3Limits::default(),
        };
        let mut command = Command::new(installed);
        command.args(["--host", "127.0.0.1", "--port", &address.port().to_string()]);
        command.args(["--access-key", &settings.access_key, "--secret-key", &settings.secret_key]);
        command.arg(dir.join("data"));
        let keeper = Keeper::start(&mut command, &dir);
        wait_for("s3s-fs", || async { tokio::net::TcpStream::connect(address).await.ok() }).await;
        Some((settings, Self { _keeper: keeper }))
    }
}
