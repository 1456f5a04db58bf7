//! Forms that never come to a point: told so while they are sent, and not kept.

use burnbag::http::incoming::Form;
use burnbag::transfer::policy::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{SOON, Server};

/// Sends the head of a form, `start`, and then `x` without end until there is an answer, which is given back with how many
/// bytes it took.
async fn endless(server: &Server, start: &str) -> (String, usize) {
    let address = server.url.strip_prefix("http://").unwrap();
    let (mut from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\nContent-Length: 1000000000\r\n\
         Content-Type: multipart/form-data; boundary=B\r\n\r\n{start}",
        server.basic()
    );
    to.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let (mut sent, piece) = (0, vec![b'x'; 16 * 1024]);
    let length = timeout(SOON, async {
        loop {
            tokio::select! {
                biased;
                read = from.read(&mut answer) => return read.unwrap(),
                written = to.write_all(&piece), if sent < 64 << 20 => { written.unwrap(); sent += piece.len(); }
            }
        }
    })
    .await
    .expect("an answer while the form is still sent");
    (String::from_utf8_lossy(&answer[..length]).into_owned(), sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_head_has_no_end_is_refused_after_a_few_pieces() {
    let server = Server::start().await;
    for start in ["--B\r\nContent-Disposition: form-data; name=\"", "no boundary yet "] {
        let (answer, sent) = endless(&server, start).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("(request_malformed)"), "{answer}");
        assert!(answer.contains("the head of a part is longer than 64 KiB"), "{answer}");
        // What lies in the buffers of the two sockets is sent, too.
        assert!(sent < 32 << 20, "{sent} bytes until it was told");
    }
    assert!(server.objects().is_empty());
}

#[tokio::test]
async fn an_empty_text_is_no_file_however_the_pieces_fall() {
    let form = "--B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n\r\n--B--\r\n";
    for cut in 0..=form.len() {
        let (first, second) = form.split_at(cut);
        let pieces = [first, second].map(|piece| Ok::<_, std::io::Error>(piece.to_owned()));
        let request = axum::extract::Request::post("/")
            .header("content-type", "multipart/form-data; boundary=B")
            .body(axum::body::Body::from_stream(futures_util::stream::iter(pieces)))
            .unwrap();
        let mut form = Form::read(request).await.unwrap();
        let mut part = form.next().await.unwrap().expect("one part");
        assert!(part.read(&mut Options::default()).await.unwrap().is_none(), "cut at {cut}");
        drop(part);
        assert!(form.next().await.unwrap().is_none());
    }
}
