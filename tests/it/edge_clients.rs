//! Early refusals, as real clients see them.

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use burnbag::http::edge::EdgeLimits;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;

use crate::edge_support::{MIB, Server, Stop, ask, counting, read_all, read_head, refusing};

fn file(length: u64) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    file.as_file().set_len(length).unwrap();
    file
}

/// `timeout` ends a client that hangs.
async fn run(program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", program]).args(arguments);
    tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_shows_its_reason_to_curl_which_sends_nothing() {
    let server = Server::start(refusing(StatusCode::UNAUTHORIZED), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let file = file(1024 * MIB);
    let (path, url) = (file.path().to_str().unwrap(), format!("http://{}/", server.address));
    let said = "%{stderr}%{http_code} %{size_upload}";
    let begin = Instant::now();
    let output = run("curl", &["-sS", "-w", said, "-T", path, &url]).await;
    assert_eq!(text(&output.stdout), "burnbag: the reason (401)\n", "{}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "401 0");
    assert!(begin.elapsed() < Duration::from_millis(900), "curl waited for 100 Continue");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_shows_its_reason_to_curl_that_does_not_ask_first() {
    let server = Server::start(refusing(StatusCode::PAYLOAD_TOO_LARGE), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let file = file(1024 * MIB);
    let (path, url) = (file.path().to_str().unwrap(), format!("http://{}/", server.address));
    for _ in 0..10 {
        let output = run("curl", &["-sS", "-H", "Expect:", "-T", path, &url]).await;
        assert_eq!(text(&output.stdout), "burnbag: the reason (413)\n", "{}", text(&output.stderr));
        let chunked = ["-sS", "-H", "Expect:", "-H", "Transfer-Encoding: chunked", "-T", path, &url];
        let output = run("curl", &chunked).await;
        assert_eq!(text(&output.stdout), "burnbag: the reason (413)\n", "{}", text(&output.stderr));
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_shows_its_reason_to_clients_that_send_all_before_they_read() {
    let server = Server::start(refusing(StatusCode::PAYLOAD_TOO_LARGE), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let file = file(32 * MIB);
    let (path, address) = (file.path().to_str().unwrap(), server.address.to_string());
    let url = format!("http://{address}/");
    let python = "import http.client,sys
c=http.client.HTTPConnection(sys.argv[2])
c.request('PUT','/',open(sys.argv[1],'rb').read())
r=c.getresponse()
print(r.status,r.read().decode(),end='')";
    let node = "const [path,url]=process.argv.slice(1);
const request=require('http').request(url,{method:'PUT'},response=>{
process.stdout.write(response.statusCode+' ');response.pipe(process.stdout)});
request.end(require('fs').readFileSync(path))";
    for _ in 0..5 {
        let output = run("python3", &["-c", python, path, &address]).await;
        assert_eq!(text(&output.stdout), "413 burnbag: the reason (413)\n", "{}", text(&output.stderr));
        let output = run("node", &["-e", node, path, &url]).await;
        assert_eq!(text(&output.stdout), "413 burnbag: the reason (413)\n", "{}", text(&output.stderr));
        let arguments =
            ["-qO-", "--content-on-error", "--tries=1", "--method=PUT", "--body-file", path, &url];
        let output = run("wget", &arguments).await;
        assert_eq!(text(&output.stdout), "burnbag: the reason (413)\n", "{}", text(&output.stderr));
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_a_client_that_goes_on_sending_is_closed_in_time() {
    let server = Server::start(refusing(StatusCode::UNAUTHORIZED), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let (begin, mut client) = (Instant::now(), server.connect().await);
    ask(&mut client, &format!("PUT / HTTP/1.1\r\nContent-Length: {}", 1024 * MIB)).await;
    assert!(read_head(&mut client).await.0.starts_with("HTTP/1.1 401"));
    while begin.elapsed() < Duration::from_secs(5) && client.write_all(b"some").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = begin.elapsed();
    assert!(after > Duration::from_millis(1900) && after < Duration::from_secs(3), "{after:?}");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_that_asks_first_is_told_to_go_on_when_the_body_is_wanted() {
    let server = Server::start(counting(), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let file = file(32 * MIB);
    let (path, url) = (file.path().to_str().unwrap(), format!("http://{}/", server.address));
    let begin = Instant::now();
    let output = run("curl", &["-sSv", "-H", "Expect: 100-continue", "-T", path, &url]).await;
    assert_eq!(text(&output.stdout), format!("{}\n", 32 * MIB));
    assert!(text(&output.stderr).contains("< HTTP/1.1 100 Continue"), "{}", text(&output.stderr));
    assert!(begin.elapsed() < Duration::from_millis(900), "curl waited for 100 Continue");
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_long_is_refused_with_its_reason() {
    let server = Server::start(counting(), EdgeLimits::default()).await;
    let _stop = Stop(server.stop.clone());
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\na: ").await.unwrap();
    client.write_all(&vec![b'a'; 200_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let (answer, end) = read_all(&mut client).await;
    end.unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    server.end().await;
}
