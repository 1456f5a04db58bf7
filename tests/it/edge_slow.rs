//! Bodies that come too slowly (DESIGN §5).

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use axum::routing::any;
use burnbag::http::edge::{EdgeLimits, is_body_timeout};
use futures_util::StreamExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Notify;

use crate::edge_support::{Server, Stop, ask, counting, read_all, read_head};

const WINDOW: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_millis(50);

fn limits() -> EdgeLimits {
    EdgeLimits { body_window: WINDOW, slowest_body: 4096, ..EdgeLimits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_slow_is_a_timeout() {
    let server = Server::start(counting(), limits()).await;
    let _stop = Stop(server.stop.clone());
    let (mut client, begin) = (server.connect().await, Instant::now());
    ask(&mut client, "PUT / HTTP/1.1\r\nContent-Length: 1000000").await;
    // 2,000 bytes a second at the most, and never a pause.
    while begin.elapsed() < 6 * WINDOW && client.write_all(&[b'x'; 100]).await.is_ok() {
        let answered = tokio::time::timeout(EVERY, client.readable()).await;
        if answered.is_ok() {
            break;
        }
    }
    let after = begin.elapsed();
    assert!(after >= WINDOW && after < 4 * WINDOW, "{after:?}");
    let (answer, _) = read_all(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.ends_with("body_timeout\n"), "{answer}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_slow_but_fast_enough_is_taken() {
    let server = Server::start(counting(), limits()).await;
    let _stop = Stop(server.stop.clone());
    let (mut client, begin) = (server.connect().await, Instant::now());
    let (length, part) = (60 * 4000, [b'x'; 4000]);
    ask(&mut client, &format!("PUT / HTTP/1.1\r\nContent-Length: {length}")).await;
    for _ in 0..length / part.len() {
        client.write_all(&part).await.unwrap();
        tokio::time::sleep(EVERY).await;
    }
    assert!(begin.elapsed() > 2 * WINDOW);
    assert!(read_head(&mut client).await.0.starts_with("HTTP/1.1 200"));
    // One that ends in time was not too slow, however little it was.
    ask(&mut client, "PUT / HTTP/1.1\r\nContent-Length: 2").await;
    for _ in 0..2 {
        tokio::time::sleep(WINDOW * 2 / 3).await;
        client.write_all(b"x").await.unwrap();
    }
    assert!(read_head(&mut client).await.0.starts_with("HTTP/1.1 200"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_in_which_the_server_does_not_read_is_not_the_clients() {
    let (paused, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&paused), Arc::clone(&go_on));
    let handler = move |body: Body| async move {
        let mut parts = body.into_data_stream();
        let mut length = 0;
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => length += part.len(),
                Err(error) if is_body_timeout(&error) => return (StatusCode::REQUEST_TIMEOUT, "late".into()),
                Err(_) => return (StatusCode::BAD_REQUEST, "broken".into()),
            }
            tell.notify_one();
            wait.notified().await;
        }
        (StatusCode::OK, length.to_string())
    };
    let server = Server::start(Router::new().fallback(any(handler)), limits()).await;
    let _stop = Stop(server.stop.clone());
    let mut client = server.connect().await;
    ask(&mut client, "PUT / HTTP/1.1\r\nContent-Length: 30").await;
    for n in 0..3 {
        client.write_all(&[b'x'; 10]).await.unwrap();
        paused.notified().await;
        // Far longer than the window, in which far too little came.
        if n < 2 {
            tokio::time::sleep(2 * WINDOW).await;
        }
        go_on.notify_one();
    }
    let (head, _) = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    server.end().await;
}
