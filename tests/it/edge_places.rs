//! Connections without a request give way to new ones when all places are taken.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use burnbag::http::edge::EdgeLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::edge_support::{self, Server, Stop, ask, read_all, read_head, refusing};

async fn start(router: Router, connections: usize) -> (Server, Stop) {
    edge_support::start(router, EdgeLimits { connections, ..EdgeLimits::default() }).await
}

/// A connection that has said `bytes`, and is known to have its place: it was accepted before one that is answered.
async fn begun(server: &Server, bytes: &[u8]) -> TcpStream {
    let mut client = server.connect().await;
    client.write_all(bytes).await.unwrap();
    client
}

/// Whether it still waits for what the client will say.
async fn is_open(client: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(100), client.read(&mut [0])).await.is_err()
}

/// Reads until the end. That of a connection with something unread is a reset.
async fn closed(client: &mut TcpStream) {
    let ended = tokio::time::timeout(Duration::from_secs(10), async {
        let mut read = [0; 1024];
        while client.read(&mut read).await.is_ok_and(|read| read > 0) {}
    });
    ended.await.expect("not closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_a_place_however_many_say_nothing_or_little() {
    let (server, _stop) = start(refusing(StatusCode::OK), 8).await;
    let mut others = Vec::new();
    for n in 0..100 {
        let said: &[u8] = match n % 4 {
            0 => b"",
            1 => b"P",
            2 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            _ => b"GET / HTTP/1.1\r\nHost: loc",
        };
        others.push(begun(&server, said).await);
        if n % 10 == 9 {
            let mut client = server.connect().await;
            ask(&mut client, "GET / HTTP/1.1\r\nConnection: close").await;
            assert!(read_all(&mut client).await.0.starts_with("HTTP/1.1 200"));
        }
    }
    // The oldest went, the youngest did not.
    for client in &mut others[..90] {
        closed(client).await;
    }
    let youngest = others.len() - 4;
    assert!(is_open(&mut others[youngest]).await);
    server.end().await;
}

/// On one thread, so that a connection whose answer was read is also noted as waiting again: both are done in one turn.
#[tokio::test]
async fn what_waited_longest_for_a_request_gives_way_and_what_has_one_never_does() {
    let (gate, seen) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (held, begun) = (Arc::clone(&gate), Arc::clone(&seen));
    let slow = move || async move {
        begun.notify_one();
        held.notified().await;
        "ended"
    };
    let router = Router::new().route("/slow", get(slow)).route("/", get(async || "fine"));
    let (server, _stop) = start(router, 3).await;
    let mut running = server.connect().await;
    ask(&mut running, "GET /slow HTTP/1.1\r\nConnection: close").await;
    seen.notified().await;
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    for of_second in [false, true, false] {
        let client = if of_second { &mut second } else { &mut first };
        ask(client, "GET / HTTP/1.1").await;
        assert!(read_head(client).await.0.starts_with("HTTP/1.1 200"));
    }
    // The second is idle for longer than the first, which came before it; the running one has a request.
    let mut new = server.connect().await;
    ask(&mut new, "GET / HTTP/1.1").await;
    assert!(read_head(&mut new).await.0.starts_with("HTTP/1.1 200"));
    read_all(&mut second).await.1.unwrap();
    ask(&mut first, "GET / HTTP/1.1").await;
    assert!(read_head(&mut first).await.0.starts_with("HTTP/1.1 200"));
    gate.notify_one();
    assert!(read_all(&mut running).await.0.ends_with("ended"));
    server.end().await;
}
