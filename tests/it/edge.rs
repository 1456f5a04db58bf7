//! Connections: what is counted as written, every time limit, the cap, the drain.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use burnbag::http::edge::EdgeLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::edge_support::{CHUNK, MIB, Tally, ask, counting, read_all, read_head, refusing, start, wait_for};

const SHORT: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread")]
async fn every_byte_of_a_download_that_was_read_to_its_end_is_counted_as_written() {
    for path in ["", "chunked/"] {
        let tally = Tally::default();
        let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
        let mut client = server.connect().await;
        ask(&mut client, &format!("GET /{path}{} HTTP/1.1\r\nConnection: close", 64 * MIB + 1)).await;
        let (_, end) = read_all(&mut client).await;
        end.unwrap();
        tally.wait_until_all_is_dropped().await;
        assert_eq!(tally.written(), 64 * MIB + 1);
        assert!(!tally.exchange().is_broken());
        server.end().await;
        assert!(!tally.exchange().is_broken());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_left_behind_is_not_counted_as_written() {
    for reset in [false, true] {
        let tally = Tally::default();
        let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
        let mut client = server.connect_small().await;
        ask(&mut client, &format!("GET /{} HTTP/1.1", 64 * MIB)).await;
        let mut read = vec![0; usize::try_from(MIB).unwrap()];
        client.read_exact(&mut read).await.unwrap();
        // Until the server waits for the client again, with chunks that only it holds.
        let mut before = 0;
        while before != tally.made() {
            before = tally.made();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(tally.made() > tally.dropped.load(Ordering::SeqCst));
        if reset {
            client.set_zero_linger().unwrap();
        }
        drop(client);
        tally.wait_until_all_is_dropped().await;
        assert!(tally.exchange().is_broken());
        assert!(tally.written() + 1024 >= MIB, "{} written", tally.written());
        assert!(tally.written() < tally.made(), "{} written", tally.written());
        server.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_holds_little_and_is_cut() {
    let tally = Tally::default();
    let limits = EdgeLimits { idle_write: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(tally.router(), limits).await;
    let mut client = server.connect_small().await;
    ask(&mut client, &format!("GET /{} HTTP/1.1", 64 * MIB)).await;
    let (_, rest) = read_head(&mut client).await;
    tally.wait_until_all_is_dropped().await;
    assert!(tally.exchange().is_broken());
    let buffers = 2 * MIB;
    assert!(tally.written() < rest.len() as u64 + buffers, "{} written", tally.written());
    assert!(tally.made() <= tally.written() + MIB, "{} made, {} written", tally.made(), tally.written());
    let (_, end) = read_all(&mut client).await;
    end.unwrap_err();
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_reads_slowly_is_not_cut() {
    let tally = Tally::default();
    let limits = EdgeLimits { idle_write: SHORT * 2, ..EdgeLimits::default() };
    let (server, _stop) = start(tally.router(), limits).await;
    let mut client = server.connect_small().await;
    ask(&mut client, &format!("GET /{} HTTP/1.1", 64 * MIB)).await;
    let mut some = vec![0; 32 * 1024];
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        client.read_exact(&mut some).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!tally.exchange().is_broken());
    assert!(tally.written() > 2 * MIB);
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_abort_cuts_at_once_and_throws_away_what_was_not_sent() {
    let tally = Tally::default();
    let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
    let mut client = server.connect_small().await;
    ask(&mut client, &format!("GET /{} HTTP/1.1", 64 * MIB)).await;
    read_head(&mut client).await;
    tally.exchange().abort();
    let made = tally.made();
    tally.wait_until_all_is_dropped().await;
    assert!(tally.made() <= made + 2 * CHUNK);
    assert!(tally.written() < tally.made());
    let (_, end) = read_all(&mut client).await;
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_fails_half_way_never_ends_cleanly() {
    let tally = Tally::default();
    let (server, _stop) = start(tally.router(), EdgeLimits::default()).await;
    for version in ["1.0", "1.1"] {
        let mut client = server.connect().await;
        ask(&mut client, &format!("GET /broken/1000000 HTTP/{version}")).await;
        let (_, end) = read_all(&mut client).await;
        assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset, "HTTP/{version}");
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_says_nothing_is_closed() {
    let limits = EdgeLimits { first_byte: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(refusing(StatusCode::OK), limits).await;
    let (begin, mut client) = (Instant::now(), server.connect().await);
    let (said, end) = read_all(&mut client).await;
    end.unwrap();
    assert_eq!(said, "");
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < 4 * SHORT);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_a_time_limit_however_it_trickles() {
    let limits = EdgeLimits { header: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(refusing(StatusCode::OK), limits).await;
    for first_requests in [0, 1] {
        let mut client = server.connect().await;
        for _ in 0..first_requests {
            ask(&mut client, "GET / HTTP/1.1").await;
            read_head(&mut client).await;
            // The limit is not that of the request before.
            tokio::time::sleep(SHORT * 2).await;
        }
        let begin = Instant::now();
        client.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        while begin.elapsed() < 4 * SHORT && client.write_all(b"a: b\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(begin.elapsed() >= SHORT && begin.elapsed() < 3 * SHORT, "{:?}", begin.elapsed());
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_closed_after_keep_alive() {
    let limits = EdgeLimits { keep_alive: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(counting(), limits).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        ask(&mut client, "GET / HTTP/1.1").await;
        assert!(read_head(&mut client).await.0.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(SHORT / 2).await;
    }
    let begin = Instant::now();
    let (_, end) = read_all(&mut client).await;
    end.unwrap();
    assert!(begin.elapsed() < 2 * SHORT);
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_is_a_timeout_and_one_that_trickles_is_not() {
    let limits = EdgeLimits { idle_body: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(counting(), limits).await;
    let mut client = server.connect().await;
    ask(&mut client, "PUT / HTTP/1.1\r\nContent-Length: 8").await;
    for _ in 0..8 {
        tokio::time::sleep(SHORT / 3).await;
        client.write_all(b"x").await.unwrap();
    }
    let (head, _) = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    ask(&mut client, "PUT / HTTP/1.1\r\nContent-Length: 8").await;
    client.write_all(b"xxxxxxx").await.unwrap();
    let (answer, end) = read_all(&mut client).await;
    end.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.ends_with("body_timeout\n"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_nobody_reads_stays_with_the_client() {
    let gate = Arc::new(Notify::new());
    let begun = Arc::new(Notify::new());
    let (released, reached) = (Arc::clone(&gate), Arc::clone(&begun));
    let hold = move |body: axum::body::Body| async move {
        reached.notify_one();
        released.notified().await;
        drop(body);
    };
    let (server, _stop) = start(Router::new().fallback(hold), EdgeLimits::default()).await;
    let mut client = server.connect().await;
    ask(&mut client, &format!("PUT / HTTP/1.1\r\nContent-Length: {}", 1024 * MIB)).await;
    begun.notified().await;
    let (mut sent, block) = (0, vec![0; 64 * 1024]);
    while let Ok(written) = tokio::time::timeout(SHORT, client.write(&block)).await {
        sent += written.unwrap() as u64;
        assert!(sent < 64 * MIB, "the server takes what nobody reads");
    }
    gate.notify_one();
    assert!(read_head(&mut client).await.0.contains("connection: close"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_past_the_cap_waits_for_a_place() {
    let limits = EdgeLimits { connections: 1, ..EdgeLimits::default() };
    let begun = Arc::new(Notify::new());
    let seen = Arc::clone(&begun);
    let endless = move || async move {
        seen.notify_one();
        std::future::pending::<()>().await;
    };
    let router = Router::new().route("/endless", get(endless)).route("/", get(async || "fine"));
    let (server, _stop) = start(router, limits).await;
    let mut first = server.connect().await;
    ask(&mut first, "GET /endless HTTP/1.1").await;
    begun.notified().await;
    let mut second = server.connect().await;
    ask(&mut second, "GET / HTTP/1.1").await;
    let waits = tokio::time::timeout(SHORT, second.read_u8()).await;
    assert!(waits.is_err(), "served past the cap");
    drop(first);
    assert!(read_head(&mut second).await.0.starts_with("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_own_connection_only() {
    let router = Router::new()
        .route("/panic", get(async || if true { panic!("on purpose") } else { "" }))
        .route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    ask(&mut first, "GET /panic HTTP/1.1").await;
    assert_eq!(read_all(&mut first).await.0, "");
    ask(&mut second, "GET / HTTP/1.1\r\nConnection: close").await;
    assert!(read_all(&mut second).await.0.ends_with("fine"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_closes_idle_connections_at_once_and_lets_requests_end() {
    let gate = Arc::new(Notify::new());
    let begun = Arc::new(Notify::new());
    let (held, seen) = (Arc::clone(&gate), Arc::clone(&begun));
    let slow = move || async move {
        seen.notify_one();
        held.notified().await;
        "ended"
    };
    let router = Router::new().route("/slow", get(slow)).route("/", get(async || "fine"));
    let (server, _stop) = start(router, EdgeLimits::default()).await;
    let (mut silent, mut idle, mut running) =
        (server.connect().await, server.connect().await, server.connect().await);
    ask(&mut idle, "GET / HTTP/1.1").await;
    read_head(&mut idle).await;
    ask(&mut running, "GET /slow HTTP/1.1").await;
    begun.notified().await;
    let stopped = Instant::now();
    server.stop.cancel();
    read_all(&mut silent).await.1.unwrap();
    read_all(&mut idle).await.1.unwrap();
    assert!(stopped.elapsed() < SHORT);
    let refused = || std::net::TcpStream::connect(server.address).is_err();
    wait_for("no new connection", refused).await;
    assert!(!server.task.is_finished());
    gate.notify_one();
    let (answer, end) = read_all(&mut running).await;
    end.unwrap();
    assert!(answer.ends_with("ended") && answer.contains("connection: close"), "{answer}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_outlasts_the_drain_is_cut() {
    let tally = Tally::default();
    let limits = EdgeLimits { drain: SHORT, ..EdgeLimits::default() };
    let (server, _stop) = start(tally.router(), limits).await;
    let mut client = server.connect_small().await;
    ask(&mut client, &format!("GET /{} HTTP/1.1", 64 * MIB)).await;
    read_head(&mut client).await;
    let begin = Instant::now();
    server.end().await;
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < 4 * SHORT);
    tally.wait_until_all_is_dropped().await;
    assert!(tally.written() < tally.made());
    read_all(&mut client).await.1.unwrap_err();
}
