//! A client that costs little: blocking HTTP/1.1 over one connection, from and into one buffer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::server::Server;

/// Bytes of [`pattern`].
pub const BLOCK: usize = 1 << 20;
/// Bytes of one write, as curl has them.
const WRITE: usize = 64 << 10;

/// What is sent, over and over: bytes without a short period.
pub fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..BLOCK).map(|_| next()).collect()
}

/// Where a file that was sent can be fetched, and with what.
#[derive(Clone)]
pub struct Link {
    pub path: String,
    /// The link's secret; nginx asks for none.
    pub secret: Option<String>,
    /// What burnbag calls the transfer.
    pub transfer: String,
}

/// One connection, kept alive.
pub struct Client<'a> {
    stream: BufReader<TcpStream>,
    /// `Authorization` of the sender, as a line.
    sender: String,
    /// What stands before names where the server wants it.
    prefix: &'static str,
    pattern: &'a [u8],
    buffer: Vec<u8>,
}

/// The credentials of a token or a link's secret, for `Authorization`.
pub fn basic(secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("x:{secret}")))
}

fn authorization(secret: Option<&str>) -> String {
    secret.map_or_else(String::new, |secret| format!("authorization: {}\r\n", basic(secret)))
}

/// So many bytes of the pattern, a write each.
fn pieces(pattern: &[u8], size: u64) -> impl Iterator<Item = &[u8]> {
    (0..size).step_by(WRITE).map(move |at| {
        let start = usize::try_from(at).unwrap() % BLOCK;
        &pattern[start..start + usize::try_from(size - at).unwrap().min(WRITE)]
    })
}

impl<'a> Client<'a> {
    pub fn connect(server: &Server, pattern: &'a [u8]) -> Self {
        Self { prefix: server.prefix, ..Self::to(server.address, server.token.as_deref(), pattern) }
    }

    pub fn to(address: SocketAddr, token: Option<&str>, pattern: &'a [u8]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = BufReader::with_capacity(16 << 10, stream);
        Self { stream, sender: authorization(token), prefix: "", pattern, buffer: vec![0; BLOCK / 4] }
    }

    /// Sends a file of so many bytes. When burnbag has answered they are durable.
    pub fn send(&mut self, name: &str, size: u64) -> Link {
        self.begin(name, &format!("content-length: {size}"));
        for piece in pieces(self.pattern, size) {
            self.stream.get_mut().write_all(piece).unwrap();
        }
        self.sent(name)
    }

    /// The same without saying how many they are.
    pub fn send_in_chunks(&mut self, name: &str, size: u64) -> Link {
        self.begin(name, "transfer-encoding: chunked");
        let mut chunk = Vec::with_capacity(WRITE + 16);
        for piece in pieces(self.pattern, size) {
            chunk.clear();
            chunk.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            chunk.extend_from_slice(piece);
            chunk.extend_from_slice(b"\r\n");
            self.stream.get_mut().write_all(&chunk).unwrap();
        }
        self.stream.get_mut().write_all(b"0\r\n\r\n").unwrap();
        self.sent(name)
    }

    fn begin(&mut self, name: &str, length: &str) {
        let (sender, prefix) = (&self.sender, self.prefix);
        let head = format!("PUT {prefix}/{name} HTTP/1.1\r\nhost: bench\r\n{sender}{length}\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
    }

    fn sent(&mut self, name: &str) -> Link {
        // MinIO says 200.
        let answer = self.answer("20");
        let mut text = vec![0; usize::try_from(answer.length).unwrap()];
        self.stream.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        match text.trim_end().split_once('#') {
            Some((url, secret)) => {
                let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
                Link { path, secret: Some(secret.to_owned()), transfer: answer.transfer }
            }
            None => Link { path: format!("{}/{name}", self.prefix), secret: None, transfer: String::new() },
        }
    }

    /// Fetches a file and throws it away, as `curl -o /dev/null` does: what the client does is not to be measured.
    pub fn fetch(&mut self, link: &Link, size: u64) {
        self.ask("GET", &link.path, &authorization(link.secret.as_deref()));
        assert_eq!(self.answer("200").length, size);
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap().min(self.buffer.len());
            let got = self.stream.read(&mut self.buffer[..wanted]).unwrap();
            assert!(got > 0, "the download broke off with {left} bytes to come");
            left -= got as u64;
        }
    }

    /// Fetches a file and compares it with what was sent.
    pub fn verify(&mut self, link: &Link, size: u64) {
        self.ask("GET", &link.path, &authorization(link.secret.as_deref()));
        assert_eq!(self.answer("200").length, size);
        let mut at = 0;
        while at < size {
            let start = usize::try_from(at).unwrap() % BLOCK;
            let wanted = usize::try_from(size - at).unwrap().min(self.buffer.len()).min(BLOCK - start);
            let got = self.stream.read(&mut self.buffer[..wanted]).unwrap();
            assert!(got > 0, "the download broke off at {at}");
            assert!(self.buffer[..got] == self.pattern[start..start + got], "other bytes at {at}");
            at += got as u64;
        }
    }

    /// Asks for a file's head alone.
    pub fn look(&mut self, link: &Link) {
        self.ask("HEAD", &link.path, &authorization(link.secret.as_deref()));
        self.answer("200");
    }

    /// Asks for a file that is not served any more.
    pub fn miss(&mut self, link: &Link) {
        self.ask("GET", &link.path, &authorization(link.secret.as_deref()));
        let length = self.answer("404").length;
        self.stream.by_ref().take(length).read_to_end(&mut Vec::new()).unwrap();
    }

    /// Ends a transfer.
    pub fn delete(&mut self, link: &Link) {
        let path = format!("/api/v1/transfers/{}", link.transfer);
        let sender = self.sender.clone();
        self.ask("DELETE", &path, &sender);
        let length = self.answer("204").length;
        assert_eq!(length, 0);
    }

    fn ask(&mut self, method: &str, path: &str, authorization: &str) {
        let head = format!("{method} {path} HTTP/1.1\r\nhost: bench\r\n{authorization}\r\n");
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
    }

    /// Reads a head whose status begins so.
    fn answer(&mut self, status: &str) -> Answer {
        let (mut head, mut answer) = (String::new(), Answer::default());
        loop {
            let begun = head.len();
            assert!(self.stream.read_line(&mut head).unwrap() > 0, "no answer: {head}");
            let line = head[begun..].trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value)) {
                Some((name, value)) if name == "content-length" => answer.length = value.parse().unwrap(),
                Some((name, value)) if name == "burnbag-transfer" => value.clone_into(&mut answer.transfer),
                _ => {}
            }
        }
        if !head.split(' ').nth(1).is_some_and(|answered| answered.starts_with(status)) {
            let mut text = String::new();
            let _ = self.stream.by_ref().take(answer.length).read_to_string(&mut text);
            panic!("{head}{text}");
        }
        answer
    }
}

#[derive(Default)]
struct Answer {
    length: u64,
    transfer: String,
}
