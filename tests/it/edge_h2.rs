//! HTTP/2 without TLS, beside HTTP/1.1 on the same port: what is counted as written, every time limit, the drain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::get;
use burnbag::http::edge::EdgeLimits;
use h2::client::SendRequest;
use h2::{Reason, RecvStream};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::edge_support::{CHUNK, MIB, Server, Tally, counting, read_all, refusing, start, wait_for};

const SHORT: Duration = Duration::from_millis(500);

struct Client {
    requests: SendRequest<Bytes>,
    ping: h2::PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    /// Its window, of each stream and of the connection.
    async fn with(server: &Server, window: u32) -> Self {
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(window).initial_connection_window_size(window.max(65_535));
        let (requests, mut connection) = builder.handshake(server.connect().await).await.unwrap();
        let ping = connection.ping_pong().unwrap();
        Self { requests, ping, connection: tokio::spawn(connection) }
    }

    async fn start(server: &Server) -> Self {
        Self::with(server, 1 << 20).await
    }

    async fn get(&self, path: &str) -> Response<RecvStream> {
        let uri = format!("http://localhost{path}");
        let request = Request::get(uri).body(()).unwrap();
        let mut ready = self.requests.clone().ready().await.unwrap();
        ready.send_request(request, true).unwrap().0.await.unwrap()
    }

    /// A request whose body is not sent yet.
    async fn put(&self) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let request = Request::builder().method(Method::PUT).uri("http://localhost/a").body(()).unwrap();
        self.requests.clone().ready().await.unwrap().send_request(request, false).unwrap()
    }

    /// How the connection ended, once it did.
    async fn end(self) -> Result<(), h2::Error> {
        let Self { requests, ping: _ping, connection } = self;
        let ended = tokio::time::timeout(Duration::from_secs(10), connection).await;
        drop(requests);
        ended.expect("the connection did not end").unwrap()
    }
}

/// Reads on until it ends or `most` bytes came.
async fn read(body: &mut RecvStream, most: u64) -> (u64, Result<(), h2::Error>) {
    let mut read = 0;
    while read < most {
        match body.data().await {
            None => break,
            Some(Err(error)) => return (read, Err(error)),
            Some(Ok(bytes)) => {
                read += bytes.len() as u64;
                let _ = body.flow_control().release_capacity(bytes.len());
            }
        }
    }
    (read, Ok(()))
}

async fn text(response: Response<RecvStream>) -> String {
    let (mut body, mut text) = (response.into_body(), Vec::new());
    while let Some(bytes) = body.data().await {
        text.extend_from_slice(&bytes.unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_download_over_http2_is_counted_as_written() {
    // Small and odd windows make small pieces, which h2 copies.
    for window in [1 << 20, 65_535, 16_384 + 100, 130] {
        for path in ["", "chunked/"] {
            let tally = Tally::default();
            let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
            let client = Client::with(&server, window).await;
            let length = if window < 1000 { CHUNK + 1 } else { 16 * MIB + 1 };
            let response = client.get(&format!("/{path}{length}")).await;
            let said = response.headers().get("content-length").cloned();
            assert_eq!(said.is_some(), path.is_empty());
            let (came, end) = read(&mut response.into_body(), u64::MAX).await;
            end.unwrap();
            assert_eq!(came, length);
            tally.wait_until_all_is_dropped().await;
            assert_eq!(tally.written(), length, "window {window}");
            assert!(!tally.exchange().is_broken());
            server.stop.cancel();
            client.end().await.unwrap();
            server.end().await;
            assert!(!tally.exchange().is_broken());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_reset_stream_left_behind_is_not_counted_and_the_connection_goes_on() {
    let tally = Tally::default();
    let router = tally.router().route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let client = Client::with(&server, 200_000).await;
    let mut body = client.get(&format!("/{}", 64 * MIB)).await.into_body();
    let (came, end) = read(&mut body, MIB).await;
    end.unwrap();
    // Until the window is shut, with chunks that only the server holds.
    let held = || tally.made() > tally.dropped.load(Ordering::SeqCst) + CHUNK / 2;
    wait_for("the window is shut", held).await;
    // Dropped, it is reset.
    drop(body);
    tally.wait_until_all_is_dropped().await;
    assert!(tally.exchange().is_broken());
    let written = tally.written();
    assert!(written < tally.made(), "{written} written");
    // All that came was written, but for the chunk that was cut through; and no more than the windows let through.
    assert!(written + CHUNK >= came && written <= came + 200_000, "{written} written, {came} came");
    assert_eq!(text(client.get("/").await).await, "fine");
    server.stop.cancel();
    client.end().await.unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_counts_nothing_that_was_not_written() {
    for cut_by_server in [false, true] {
        let tally = Tally::default();
        let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
        let client = Client::with(&server, 300_000).await;
        let mut body = client.get(&format!("/{}", 64 * MIB)).await.into_body();
        let (came, end) = read(&mut body, MIB).await;
        end.unwrap();
        if cut_by_server {
            tally.exchange().abort();
            let (_, end) = read(&mut body, u64::MAX).await;
            assert!(end.unwrap_err().is_reset());
        } else {
            client.connection.abort();
        }
        tally.wait_until_all_is_dropped().await;
        assert!(tally.exchange().is_broken());
        let written = tally.written();
        assert!(written < tally.made(), "{written} written");
        assert!(written + CHUNK >= came && written <= came + 2 * MIB, "{written} written, {came} came");
        server.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_resets_its_stream_at_once_though_the_window_is_shut_and_no_other() {
    let tally = Tally::default();
    let router = tally.router().route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let client = Client::with(&server, 100_000).await;
    // One whose last bytes are all with h2, and one that has more.
    for length in [100_001, 64 * MIB] {
        let mut body = client.get(&format!("/{length}")).await.into_body();
        let mut came = 0;
        while came < 100_000 {
            // Nothing is released: the window shuts.
            came += body.data().await.unwrap().unwrap().len();
        }
        assert_eq!(came, 100_000);
        tally.exchange().abort();
        tally.wait_until_all_is_dropped().await;
        let error = body.data().await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.reason() == Some(Reason::CANCEL), "{error}");
        assert!(tally.written() < length);
        let _ = body.flow_control().release_capacity(came);
        assert_eq!(text(client.get("/").await).await, "fine");
    }
    server.stop.cancel();
    client.end().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_stays_shut_ends_its_stream_in_time() {
    let limits = EdgeLimits { idle_write: SHORT, ..EdgeLimits::default() };
    // The last bytes of the first are all with h2; the second has more.
    for length in [100_001, 64 * MIB] {
        let tally = Tally::default();
        let router = tally.router().route("/", get(async || "fine"));
        let (server, _stop) = start(router, limits).await;
        let client = Client::with(&server, 100_000).await;
        let begin = Instant::now();
        let mut body = client.get(&format!("/{length}")).await.into_body();
        let mut came = 0;
        let error = loop {
            match body.data().await.unwrap() {
                Ok(bytes) => came += bytes.len() as u64,
                Err(error) => break error,
            }
        };
        assert!(error.is_reset(), "{error}");
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < 6 * SHORT, "{:?}", begin.elapsed());
        tally.wait_until_all_is_dropped().await;
        assert!(tally.written() <= came && tally.written() + CHUNK > came);
        let _ = body.flow_control().release_capacity(100_000);
        assert_eq!(text(client.get("/").await).await, "fine");
        server.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_little_at_a_time_keeps_its_stream() {
    let tally = Tally::default();
    let limits = EdgeLimits { idle_write: 2 * SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(tally.router(), limits).await;
    let client = Client::with(&server, 20_000).await;
    let mut body = client.get(&format!("/{}", 64 * MIB)).await.into_body();
    let begin = Instant::now();
    while begin.elapsed() < 6 * SHORT {
        let (_, end) = read(&mut body, 1).await;
        end.unwrap();
        tokio::time::sleep(SHORT / 5).await;
    }
    assert!(!tally.exchange().is_broken());
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_fails_half_way_is_reset() {
    let tally = Tally::default();
    let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
    let client = Client::start(&server).await;
    let mut body = client.get("/broken/1000000").await.into_body();
    let (_, end) = read(&mut body, u64::MAX).await;
    assert!(end.unwrap_err().is_reset());
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_over_http2_shows_its_reason_and_leaves_the_connection() {
    let (server, _stop) = start(refusing(StatusCode::UNAUTHORIZED), EdgeLimits::default()).await;
    let client = Client::start(&server).await;
    for _ in 0..20 {
        let (answer, mut body) = client.put().await;
        // As much as the server takes: more than one window.
        let sending = tokio::spawn(async move {
            body.reserve_capacity(1 << 20);
            let mut reset = false;
            for _ in 0..64 {
                reset = body.send_data(Bytes::from(vec![0; 1 << 20]), false).is_err();
                if reset {
                    break;
                }
                tokio::task::yield_now().await;
            }
            reset
        });
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert!(!answer.headers().contains_key("connection"));
        assert_eq!(text(answer).await, "burnbag: the reason (401)\n");
        sending.await.unwrap();
    }
    server.stop.cancel();
    client.end().await.unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_http2_that_stops_is_a_timeout() {
    let limits = EdgeLimits { idle_body: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(counting(), limits).await;
    let client = Client::start(&server).await;
    let (answer, mut body) = client.put().await;
    body.send_data(Bytes::from_static(b"some"), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), StatusCode::REQUEST_TIMEOUT);
    let (answer, mut body) = client.put().await;
    body.send_data(Bytes::from_static(b"all"), true).unwrap();
    assert_eq!(text(answer.await.unwrap()).await, "3\n");
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn pings_alone_keep_no_connection() {
    for requests in [0, 1] {
        let limits = EdgeLimits { header: SHORT, keep_alive: SHORT, ..EdgeLimits::default() };
        let (server, _stop) = start(counting(), limits).await;
        let mut client = Client::start(&server).await;
        for _ in 0..requests {
            assert_eq!(client.get("/").await.status(), StatusCode::OK);
        }
        let begin = Instant::now();
        while begin.elapsed() < 10 * SHORT && client.ping.ping(h2::Ping::opaque()).await.is_ok() {
            tokio::time::sleep(SHORT / 10).await;
        }
        assert!(begin.elapsed() > SHORT / 2 && begin.elapsed() < 4 * SHORT, "{:?}", begin.elapsed());
        server.stop.cancel();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preface_has_the_time_limit_of_a_head() {
    let limits = EdgeLimits { header: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(counting(), limits).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for length in [1, 3, 23, 24] {
        let mut client = server.connect().await;
        let begin = Instant::now();
        client.write_all(&preface[..length]).await.unwrap();
        let (_, end) = read_all(&mut client).await;
        end.unwrap();
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < 4 * SHORT, "{:?}", begin.elapsed());
    }
    // What only looks like it is HTTP/1.1.
    let mut client = server.connect().await;
    client.write_all(b"P").await.unwrap();
    client.write_all(b"RI").await.unwrap();
    client.write_all(b"NT / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(read_all(&mut client).await.0.starts_with("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_over_http2_lets_streams_end_and_takes_leave_of_the_idle() {
    let (gate, begun) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held, seen) = (Arc::clone(&gate), Arc::clone(&begun));
    let slow = move || async move {
        seen.notify_one();
        held.notified().await;
        "ended"
    };
    let router = Router::new().route("/slow", get(slow)).route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let (idle, running) = (Client::start(&server).await, Client::start(&server).await);
    assert_eq!(text(idle.get("/").await).await, "fine");
    let requests = running.requests.clone();
    let answer = tokio::spawn(async move {
        let request = Request::get("http://localhost/slow").body(()).unwrap();
        requests.ready().await.unwrap().send_request(request, true).unwrap().0.await
    });
    begun.notified().await;
    server.stop.cancel();
    idle.end().await.unwrap();
    assert!(!server.task.is_finished());
    gate.notify_one();
    assert_eq!(text(answer.await.unwrap().unwrap()).await, "ended");
    running.end().await.unwrap();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_outlasts_the_drain_is_cut() {
    let tally = Tally::default();
    let limits = EdgeLimits { drain: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(tally.router(), limits).await;
    let client = Client::with(&server, 100_000).await;
    let mut body = client.get(&format!("/{}", 64 * MIB)).await.into_body();
    let begin = Instant::now();
    server.end().await;
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < 6 * SHORT);
    tally.wait_until_all_is_dropped().await;
    assert!(tally.written() < tally.made());
    let (came, end) = read(&mut body, u64::MAX).await;
    end.unwrap_err();
    assert!(came <= MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_resets_its_own_stream_only() {
    let router = Router::new()
        .route("/panic", get(async || if true { panic!("on purpose") } else { "" }))
        .route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let client = Client::start(&server).await;
    let request = Request::get("http://localhost/panic").body(()).unwrap();
    let mut ready = client.requests.clone().ready().await.unwrap();
    assert!(ready.send_request(request, true).unwrap().0.await.unwrap_err().is_reset());
    assert_eq!(text(client.get("/").await).await, "fine");
    server.stop.cancel();
    client.end().await.unwrap();
    server.end().await;
}
