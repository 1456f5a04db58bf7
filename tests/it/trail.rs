//! The audit log as a test reads it, and other things that several end-to-end tests need.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use burnbag::clock::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::support::{Link, Server, files_below};

/// The machine's time.
pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Ends when the machine's time is this.
pub async fn until(at: Timestamp) {
    SystemClock.sleep_until(at).await;
}

/// Every line of the log, in order.
pub fn lines(audit: &Path) -> Vec<Value> {
    let mut files = files_below(&audit.join("0"));
    files.sort();
    files
        .iter()
        .flat_map(|file| {
            std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
        })
        // The last line may be under way.
        .filter_map(|line| serde_json::from_str(&line).ok())
        .collect()
}

/// How often each type of event is there for a transfer.
pub fn counts(lines: &[Value], transfer: &str) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for line in lines.iter().filter(|line| line["transfer"] == transfer) {
        *counts.entry(line["type"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    counts
}

/// How many lines of this type there are for a transfer.
pub fn count(server: &Server, transfer: &str, kind: &str) -> usize {
    counts(&lines(&server.data().join("audit")), transfer).get(kind).copied().unwrap_or_default()
}

/// The instant in a field.
pub fn instant(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// A client that keeps no connection for the next request, under a name of its own.
pub fn client(user_agent: &str) -> reqwest::Client {
    reqwest::Client::builder().user_agent(user_agent.to_owned()).pool_max_idle_per_host(0).build().unwrap()
}

/// A download over a bare socket with a small receive buffer, so that what the client took is known.
pub struct SlowReader {
    socket: TcpStream,
    /// Bytes of the body that came.
    pub taken: usize,
    /// What the head promised.
    pub length: usize,
}

impl SlowReader {
    /// Asks for a link's file, and reads its head.
    pub fn get(link: &Link, user_agent: &str) -> Self {
        let (host, path) = link.url.trim_start_matches("http://").split_once('/').unwrap();
        let address: SocketAddr = host.parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(&address.into()).unwrap();
        let mut socket: TcpStream = socket.into();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("x:{}", link.secret));
        write!(
            socket,
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAuthorization: Basic {basic}\r\n\r\n"
        )
        .unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(socket.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&head));
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length = head.to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
        Self { socket, taken: 0, length: length.parse().unwrap() }
    }

    /// Reads up to `most` bytes; false once nothing more comes, by an end or a broken connection.
    pub fn read(&mut self, most: usize) -> bool {
        let mut buffer = vec![0; most];
        match self.socket.read(&mut buffer) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.taken += read;
                true
            }
        }
    }

    /// Reads until nothing more comes.
    pub async fn read_out(mut self) -> Self {
        let read = move || {
            while self.read(1 << 20) {}
            self
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}
