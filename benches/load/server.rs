//! What is measured: the release binary on a directory, and nginx as a plaintext peer on the same disk.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::park_timeout;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Linux counts the CPU time of a process in hundredths of a second.
const TICKS: f64 = 100.0;

/// A running server. Dropped, it is killed; its directory stays.
pub struct Server {
    pub address: SocketAddr,
    /// A token of burnbag's account `admin`; nginx lets everybody in.
    pub token: Option<String>,
    /// What stands before names.
    pub prefix: &'static str,
    /// From the spawn to the first good answer.
    pub ready: Duration,
    child: Child,
    dir: PathBuf,
}

/// CPU seconds.
#[derive(Clone, Copy)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Server {
    /// `burnbag serve` on a fresh directory below `root`, with the defaults but without a limit on requests.
    pub fn burnbag(root: &Path) -> Self {
        Self::burnbag_with(root, &[])
    }

    /// [`Server::burnbag`] with further settings, such as `("MAX_UPLOAD_BYTES", …)`.
    pub fn burnbag_with(root: &Path, settings: &[(&str, String)]) -> Self {
        let dir = TempDir::new_in(root).unwrap().keep();
        let mut server = Self::burnbag_on(dir, String::new(), settings);
        let mut create = burnbag(&server.dir, server.address, settings);
        let made = create.args(["token", "create"]).output().unwrap();
        assert!(made.status.success(), "token create: {}", String::from_utf8_lossy(&made.stderr));
        server.token = Some(String::from_utf8(made.stdout).unwrap().trim().to_owned());
        server
    }

    /// `burnbag serve` on a directory, or on other stores, whose records are there already.
    pub fn burnbag_on(dir: PathBuf, token: String, settings: &[(&str, String)]) -> Self {
        let address = free_address();
        let mut command = burnbag(&dir, address, settings);
        command.arg("serve");
        Self::start(command, address, dir, "/readyz", Some(token))
    }

    /// nginx with its `WebDAV` module as Debian ships it, on a fresh directory below `root`. As many workers as processors.
    pub fn nginx(root: &Path) -> Self {
        let dir = TempDir::new_in(root).unwrap().keep();
        let address = free_address();
        for sub in ["files", "tmp"] {
            fs::create_dir(dir.join(sub)).unwrap();
        }
        let path = dir.display();
        // Workers of another user could not enter the directory.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let text = format!(
            "daemon off; worker_processes auto; pid {path}/pid; error_log {path}/errors; {user}
             events {{ worker_connections 1024; }}
             http {{
                 access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000;
                 client_max_body_size 0; client_body_temp_path {path}/tmp;
                 proxy_temp_path {path}/tmp; fastcgi_temp_path {path}/tmp;
                 scgi_temp_path {path}/tmp; uwsgi_temp_path {path}/tmp;
                 server {{
                     listen {address};
                     location = /readyz {{ return 200; }}
                     location / {{ root {path}/files; dav_methods PUT; }}
                 }}
             }}"
        );
        let config = dir.join("nginx.conf");
        fs::write(&config, text).unwrap();
        let mut command = Command::new("nginx");
        command.arg("-e").arg(dir.join("errors")).arg("-c").arg(&config);
        Self::start(command, address, dir, "/readyz", None)
    }

    /// Whether files lie in its directory as they are.
    pub const fn keeps_files(&self) -> bool {
        self.token.is_none() && self.prefix.is_empty()
    }

    pub fn start(
        mut command: Command,
        address: SocketAddr,
        dir: PathBuf,
        ready: &str,
        token: Option<String>,
    ) -> Self {
        let log = File::create(dir.join("log")).unwrap();
        let begun = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child = child.unwrap_or_else(|error| panic!("{command:?}: {error}; is it installed?"));
        let mut server = Self { address, token, prefix: "", ready: Duration::ZERO, child, dir };
        while !answers(address, ready) {
            assert!(server.child.try_wait().unwrap().is_none(), "the server ended: {}", server.log());
            assert!(begun.elapsed() < Duration::from_mins(10), "the server is not ready: {}", server.log());
            park_timeout(Duration::from_millis(1));
        }
        server.ready = begun.elapsed();
        server
    }

    /// Where nginx keeps a file.
    pub fn file(&self, path: &str) -> PathBuf {
        self.dir.join("files").join(path.trim_start_matches('/'))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap()
    }

    /// The process and its children.
    fn processes(&self) -> Vec<PathBuf> {
        let own = PathBuf::from(format!("/proc/{}", self.child.id()));
        let children = own.join(format!("task/{}/children", self.child.id()));
        let children = fs::read_to_string(children).unwrap_or_default();
        let children = children.split_ascii_whitespace().map(|pid| PathBuf::from(format!("/proc/{pid}")));
        children.chain([own.clone()]).collect()
    }

    /// CPU time since its start.
    pub fn cpu(&self) -> Cpu {
        let all = self.processes().into_iter().map(|process| times(&process.join("stat")));
        all.fold(Cpu { user: 0.0, system: 0.0 }, |sum, [user, system, ..]| Cpu {
            user: sum.user + user,
            system: sum.system + system,
        })
    }

    /// Resident memory in MiB, now and at its peak; of several processes the sum.
    pub fn memory(&self) -> (f64, f64) {
        let all = self.processes().into_iter().map(|process| {
            let status = fs::read_to_string(process.join("status")).unwrap();
            let field = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
                line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
            };
            (field("VmRSS:"), field("VmHWM:"))
        });
        all.fold((0.0, 0.0), |sum, (now, peak)| (sum.0 + now, sum.1 + peak))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // nginx's workers end with their master only if it is asked.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            park_timeout(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn burnbag(dir: &Path, address: SocketAddr, settings: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_burnbag"));
    command
        .env_clear()
        .env("BURNBAG_DATA_DIR", dir.join("data"))
        .env("BURNBAG_LISTEN", address.to_string())
        .env("BURNBAG_RATE", "off")
        .env("BURNBAG_RATE_TOKEN", "off")
        .env("BURNBAG_RATE_LINK", "off")
        .envs(settings.iter().map(|(name, value)| (format!("BURNBAG_{name}"), value)));
    command
}

pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// CPU seconds of this process's children that have ended.
pub fn children_cpu() -> f64 {
    let [_, _, user, system] = times(Path::new("/proc/self/stat"));
    user + system
}

/// utime, stime, cutime and cstime.
fn times(stat: &Path) -> [f64; 4] {
    let stat = fs::read_to_string(stat).unwrap();
    // The name, in brackets, may hold anything. The times are the 12th to 15th field after it.
    let mut fields = stat.rsplit_once(')').unwrap().1.split_ascii_whitespace().skip(11);
    std::array::from_fn(|_| fields.next().unwrap().parse::<f64>().unwrap() / TICKS)
}

fn answers(address: SocketAddr, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    let read = stream.write_all(asked.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    read.is_ok() && answer.starts_with("HTTP/1.1 200")
}
