//! Uploads that come and do not go on: those that find no memory are told to come back, and all others go on (DESIGN §5).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::StreamExt as _;
use futures_util::stream::{self, FuturesUnordered};
use reqwest::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::support::{Link, Server, noise, wait_for};

const SLOW: usize = 200;
const PART: usize = 5 << 20;
/// What all uploads together may hold.
const HELD: usize = 20 << 20;

/// Says that six parts come, sends a little more than a part, and then nothing: what it is told, if it is told anything.
async fn slow(server: &Server, bytes: &[u8]) -> String {
    let address = server.address();
    let head = format!(
        "PUT /slow HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n",
        server.basic(),
        6 * PART
    );
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let write = async {
        let _ = to.write_all(head.as_bytes()).await;
        let _ = to.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    let mut told = vec![0; 4096];
    tokio::select! {
        () = write => unreachable!(),
        read = from.read(&mut told) => String::from_utf8_lossy(&told[..read.unwrap_or(0)]).into_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_slow_uploads_most_are_told_to_come_back_and_others_go_on() {
    let server = Arc::new(super::serve(&[("BURNBAG_BUFFER_BYTES", "20MiB")]).await);
    let client = reqwest::Client::new();
    let put = || client.put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
    let kept = server.send("kept", noise(PART, 1), "").await;
    // One that came before them has its memory.
    let (pieces, waiting) = mpsc::channel::<Result<Vec<u8>, std::io::Error>>(1);
    let body = stream::unfold(waiting, |mut waiting| async move { Some((waiting.recv().await?, waiting)) });
    let running = tokio::spawn(put().body(Body::wrap_stream(body)).send());
    let bytes = noise(4 * PART, 2);
    let (first, rest) = bytes.split_at(PART + PART / 2);
    pieces.send(Ok(first.to_vec())).await.unwrap();
    wait_for("the upload to begin", async || {
        server
            .events()
            .iter()
            .any(|event| event["type"] == "upload.started" && event["transfer"] != kept.transfer.as_str())
            .then_some(())
    })
    .await;

    let refused = Arc::new(AtomicUsize::new(0));
    let (count, to) = (Arc::clone(&refused), Arc::clone(&server));
    let crowd = tokio::spawn(async move {
        let bytes = noise(PART + 1000, 3);
        let mut all: FuturesUnordered<_> = (0..SLOW).map(|_| slow(&to, &bytes)).collect();
        while let Some(told) = all.next().await {
            assert!(told.starts_with("HTTP/1.1 503"), "{told}");
            assert!(told.to_lowercase().contains("\r\nretry-after: "), "{told}");
            assert!(told.contains("(buffers_busy)"), "{told}");
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let told = async || (refused.load(Ordering::SeqCst) > SLOW - HELD / server.stores.part()).then_some(());
    wait_for("all but a few to be told to come back", told).await;
    assert!(!crowd.is_finished(), "the others hold what they have");
    let got = kept.get(&client).send().await.unwrap();
    assert!(got.bytes().await.unwrap() == noise(PART, 1), "downloads go on");
    for piece in rest.chunks(1 << 20) {
        pieces.send(Ok(piece.to_vec())).await.unwrap();
    }
    drop(pieces);
    let answer = running.await.unwrap().unwrap();
    assert_eq!(answer.status(), 201, "what was begun goes on");
    let link = Link::parse(answer.text().await.unwrap().trim_end(), "");
    assert!(link.get(&client).send().await.unwrap().bytes().await.unwrap() == bytes);

    crowd.abort();
    assert!(crowd.await.unwrap_err().is_cancelled());
    let again = async || (put().body("again").send().await.unwrap().status() == 201).then_some(());
    wait_for("memory for others", again).await;
    let three = async || (server.stored().await.len() == 3).then_some(());
    wait_for("what they sent to go", three).await;
}
