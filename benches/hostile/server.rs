//! The release binary on a fresh directory.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tempfile::TempDir;

/// A running `burnbag serve`. Dropped, it is killed; its directory goes with it.
pub struct Server {
    pub address: SocketAddr,
    /// A token of the account `admin`.
    pub token: Option<String>,
    child: Child,
    _dir: TempDir,
}

impl Server {
    pub fn start(settings: &[(&str, &str)]) -> Self {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
            command
                .env_clear()
                .env("BURNBAG_DATA_DIR", dir.path().join("data"))
                .env("BURNBAG_LISTEN", address.to_string())
                .env("BURNBAG_RATE", "off")
                .envs(settings.iter().copied())
                .stdin(Stdio::null());
            command
        };
        let path = dir.path().join("log");
        let log = std::fs::File::create(&path).unwrap();
        let child = command().arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let begun = Instant::now();
        while !std::fs::read_to_string(&path).unwrap().contains("listening") {
            assert!(begun.elapsed() < Duration::from_secs(20), "the server is not ready");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        let made = command().args(["token", "create"]).output().unwrap();
        assert!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        let token = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        Self { address, token: Some(token), child, _dir: dir }
    }

    /// `Authorization` of the account.
    pub fn sender(&self) -> String {
        basic(self.token.as_deref().unwrap_or_default())
    }

    /// Resident memory in MiB: now, and at its peak.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn basic(token: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!(":{token}")))
}
