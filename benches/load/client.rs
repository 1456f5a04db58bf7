//! A client that costs little: blocking HTTP/1.1 over one connection, from and into one buffer.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::server::Server;

/// Bytes of [`pattern`], and of each write and read.
pub const BLOCK: usize = 1 << 20;

/// What is sent, over and over: bytes without a short period.
pub fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..BLOCK).map(|_| next()).collect()
}

/// A link as a tool uses it.
pub struct Link {
    path: String,
    secret: String,
}

/// One connection, kept alive.
pub struct Client<'a> {
    stream: BufReader<TcpStream>,
    token: &'a str,
    pattern: &'a [u8],
    buffer: Vec<u8>,
}

impl<'a> Client<'a> {
    pub fn connect(server: &'a Server, pattern: &'a [u8]) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let stream = BufReader::with_capacity(16 << 10, stream);
        Self { stream, token: &server.token, pattern, buffer: vec![0; BLOCK / 4] }
    }

    /// Sends a file of so many bytes. When it returns they are durable.
    pub fn send(&mut self, size: u64) -> Link {
        let auth = STANDARD.encode(format!(":{}", self.token));
        let socket = self.stream.get_mut();
        let head = format!(
            "PUT /load.bin HTTP/1.1\r\nhost: bench\r\nauthorization: Basic {auth}\r\ncontent-length: {size}\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).unwrap();
        let mut left = size;
        while left > 0 {
            let count = usize::try_from(left).unwrap().min(BLOCK);
            socket.write_all(&self.pattern[..count]).unwrap();
            left -= count as u64;
        }
        let length = self.answer("201");
        let mut text = vec![0; usize::try_from(length).unwrap()];
        self.stream.read_exact(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let (url, secret) = text.trim_end().split_once('#').unwrap();
        let path = url.splitn(4, '/').nth(3).unwrap();
        Link { path: format!("/{path}"), secret: secret.to_owned() }
    }

    /// Fetches a file and compares it with what was sent.
    pub fn fetch(&mut self, link: &Link, size: u64) {
        let auth = STANDARD.encode(format!("x:{}", link.secret));
        let head =
            format!("GET {} HTTP/1.1\r\nhost: bench\r\nauthorization: Basic {auth}\r\n\r\n", link.path);
        self.stream.get_mut().write_all(head.as_bytes()).unwrap();
        assert_eq!(self.answer("200"), size);
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

    /// Reads a head of this status; how long the body is.
    fn answer(&mut self, status: &str) -> u64 {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let begun = head.len();
            assert!(self.stream.read_line(&mut head).unwrap() > 0, "no answer: {head}");
            let line = head[begun..].trim_end();
            if line.is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.parse().unwrap();
            }
        }
        if head.split(' ').nth(1) != Some(status) {
            let mut text = String::new();
            let _ = self.stream.by_ref().take(length).read_to_string(&mut text);
            panic!("{head}{text}");
        }
        length
    }
}
