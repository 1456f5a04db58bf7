//! The release binary on a fresh directory, and what it costs.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Linux counts the CPU time of a process in hundredths of a second.
const TICKS: f64 = 100.0;

/// A running `burnbag serve`. Dropped, it is killed; its directory stays.
pub struct Server {
    pub address: SocketAddr,
    /// A token of the account `admin`.
    pub token: String,
    /// From the spawn to the first 200 of `/readyz`.
    pub ready: Duration,
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// On a fresh directory below `root`, with the defaults but without a limit on requests.
    pub fn start(root: &Path) -> Self {
        let dir = TempDir::new_in(root).unwrap().keep();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let data = dir.join("data");
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
            command
                .env_clear()
                .env("BURNBAG_DATA_DIR", &data)
                .env("BURNBAG_LISTEN", address.to_string())
                .env("BURNBAG_RATE", "off")
                .stdin(Stdio::null());
            command
        };
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let begun = Instant::now();
        let child = command().arg("serve").stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let mut server = Self { address, token: String::new(), ready: Duration::ZERO, child, dir };
        while !is_ready(address) {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended: {}", server.log());
            assert!(begun.elapsed() < Duration::from_secs(20), "the server is not ready: {}", server.log());
            park_timeout(Duration::from_millis(1));
        }
        server.ready = begun.elapsed();
        let made = command().args(["token", "create"]).output().unwrap();
        assert!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        let token = String::from_utf8(made.stdout).unwrap();
        token.trim().clone_into(&mut server.token);
        server
    }

    /// Where its data are, for a yardstick on the same disk.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap()
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// CPU seconds since its start: in user space, and in the kernel for it.
    pub fn cpu(&self) -> (f64, f64) {
        let [user, system, ..] = times(&self.proc("stat"));
        (user, system)
    }

    /// Resident memory in MiB: now, and at its peak.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
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

/// CPU seconds of this process's children that have ended.
pub fn children_cpu() -> f64 {
    let [_, _, user, system] = times(Path::new("/proc/self/stat"));
    user + system
}

/// utime, stime, cutime and cstime.
fn times(stat: &Path) -> [f64; 4] {
    let stat = std::fs::read_to_string(stat).unwrap();
    // The name, in brackets, may hold anything. The times are the 12th to 15th field after it.
    let mut fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11);
    std::array::from_fn(|_| fields.next().unwrap().parse::<f64>().unwrap() / TICKS)
}

fn is_ready(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok() && answer.starts_with("HTTP/1.1 200")
}
