//! A server at the edge, and a download that counts what was written.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use burnbag::http::edge::{self, EdgeLimits, Exchange};
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const CHUNK: u64 = 64 * 1024;
pub const MIB: u64 = 1024 * 1024;

pub struct Server {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub task: JoinHandle<io::Result<()>>,
}

impl Server {
    pub async fn start(router: Router, limits: EdgeLimits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(edge::serve(listener, router, limits, stop.clone()));
        Self { address, stop, task }
    }

    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// A client whose kernel takes little ahead.
    pub async fn connect_small(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(64 * 1024).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    /// Stops it; it must drain in time.
    pub async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.task).await.unwrap().unwrap().unwrap();
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Stops a server when a test fails.
pub struct Stop(pub CancellationToken);

/// A server that is also stopped when its test fails.
pub async fn start(router: Router, limits: EdgeLimits) -> (Server, Stop) {
    let server = Server::start(router, limits).await;
    let stop = Stop(server.stop.clone());
    (server, stop)
}

pub async fn wait_for(what: &str, done: impl Fn() -> bool) {
    crate::support::wait_for(what, async || done().then_some(())).await;
}

pub async fn ask(stream: &mut TcpStream, head: &str) {
    stream.write_all(format!("{head}\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
}

/// What comes until the connection ends, and how it ends.
pub async fn read_all(stream: &mut TcpStream) -> (String, io::Result<()>) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes)).await;
    let end = end.expect("the connection did not end").map(|_| ());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

/// Reads a head, and gives what came after it.
pub async fn read_head(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    loop {
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "ended within the head");
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return (String::from_utf8(bytes).unwrap(), rest);
        }
    }
}

/// What became of the chunks of a download.
#[derive(Clone, Default)]
pub struct Tally {
    pub made: Arc<AtomicU64>,
    pub dropped: Arc<AtomicU64>,
    pub written: Arc<AtomicU64>,
    pub exchange: Arc<Mutex<Option<Exchange>>>,
}

impl Tally {
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    pub async fn wait_until_all_is_dropped(&self) {
        let all = || self.made() > 0 && self.made() == self.dropped.load(Ordering::SeqCst);
        wait_for("every chunk is dropped", all).await;
    }

    pub fn exchange(&self) -> Exchange {
        self.exchange.lock().unwrap().clone().unwrap()
    }

    pub fn router(&self) -> Router {
        Router::new()
            .route("/{length}", get(download))
            .route("/chunked/{length}", get(download))
            .route("/broken/{length}", get(download))
            .with_state(self.clone())
    }
}

/// Counts itself as written when it is dropped over a connection that is whole.
struct Chunk {
    bytes: Vec<u8>,
    tally: Tally,
    exchange: Exchange,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let length = self.bytes.len() as u64;
        if !self.exchange.is_broken() {
            self.tally.written.fetch_add(length, Ordering::SeqCst);
        }
        self.tally.dropped.fetch_add(length, Ordering::SeqCst);
    }
}

async fn download(
    State(tally): State<Tally>,
    Extension(exchange): Extension<Exchange>,
    axum::extract::OriginalUri(uri): axum::extract::OriginalUri,
) -> Response {
    let path = uri.path().to_owned();
    let length: u64 = path.rsplit('/').next().unwrap().parse().unwrap();
    *tally.exchange.lock().unwrap() = Some(exchange.clone());
    let breaks = path.starts_with("/broken");
    let chunks = stream::unfold(0, move |from| {
        let (tally, exchange) = (tally.clone(), exchange.clone());
        async move {
            if from >= length {
                return breaks
                    .then(|| (Err(io::Error::other("half-way")), u64::MAX))
                    .filter(|_| from < u64::MAX);
            }
            let size = CHUNK.min(length - from);
            tally.made.fetch_add(size, Ordering::SeqCst);
            let bytes = vec![b'x'; usize::try_from(size).unwrap()];
            Some((Ok(Bytes::from_owner(Chunk { bytes, tally, exchange })), from + size))
        }
    });
    let mut response = Response::builder();
    if !path.starts_with("/chunked") && !breaks {
        response = response.header(header::CONTENT_LENGTH, length);
    }
    response.body(Body::from_stream(chunks)).unwrap()
}

/// Answers at once, without a look at the body.
pub fn refusing(status: StatusCode) -> Router {
    let refuse = move || async move { (status, format!("burnbag: the reason ({})\n", status.as_u16())) };
    Router::new().fallback(any(refuse))
}

/// Reads the body and says how long it was.
pub fn counting() -> Router {
    async fn count(body: Body) -> Result<(StatusCode, String), Infallible> {
        match axum::body::to_bytes(body, usize::MAX).await {
            Ok(bytes) => Ok((StatusCode::OK, format!("{}\n", bytes.len()))),
            Err(error) if edge::is_body_timeout(&error) => {
                Ok((StatusCode::REQUEST_TIMEOUT, "body_timeout\n".into()))
            }
            Err(_) => Ok((StatusCode::BAD_REQUEST, "broken body\n".into())),
        }
    }
    Router::new().fallback(any(count))
}
