//! The whole service over HTTP/2 without TLS, as curl speaks it; and what must be the same over both protocols.

use axum::body::Bytes;
use axum::http::{Request, Response};
use h2::RecvStream;
use h2::client::SendRequest;
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;

use crate::support::{Link, Server, basic, noise, run, text, wait_for};
use crate::trail;

const H2: &str = "--http2-prior-knowledge";

/// What curl got, which must have ended well.
async fn curl(arguments: &[&str]) -> String {
    let output = run("curl", &[&["-sS"], arguments].concat()).await;
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn file(content: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), content).unwrap();
    file
}

async fn reason(server: &Server, link: &Link) -> String {
    server.transfer(&link.transfer).await["reason"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_in_and_out_over_http2_and_its_count_is_exact() {
    let server = Server::with(&[("BURNBAG_LEASE_RETRY", "1s")]).await;
    let content = noise(5_000_001, 1);
    let sent = file(&content);
    let (path, user) = (sent.path().to_str().unwrap(), format!(":{}", server.token));
    let url = format!("{}/a", server.url);
    let head = "Burnbag-Downloads: 1";
    let shown = curl(&[H2, "-i", "-u", &user, "-H", head, "-T", path, &url]).await;
    assert!(shown.starts_with("HTTP/2 201"), "{shown}");
    assert!(!shown.to_lowercase().contains("\nconnection:"), "{shown}");
    let transfer = shown.lines().find_map(|line| line.strip_prefix("burnbag-transfer: ")).unwrap();
    let link = Link::parse(shown.lines().last().unwrap(), transfer.trim());
    let got = NamedTempFile::new().unwrap();
    let (to, basic) = (got.path().to_str().unwrap(), format!("x:{}", link.secret));
    let said = curl(&[H2, "-u", &basic, "-o", to, "-w", "%{http_version} %{http_code}", &link.url]).await;
    assert_eq!(said, "2 200");
    assert!(std::fs::read(got.path()).unwrap() == content);
    wait_for("the count is used", async || (reason(&server, &link).await == "exhausted").then_some(())).await;
    let counts = trail::counts(&trail::lines(&server.data().join("audit")), &link.transfer);
    assert_eq!((counts["download.started"], counts.get("download.interrupted")), (1, None));
}

/// A connection on which the streams are ours to reset.
async fn connect(server: &Server) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
    let stream = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    (requests, tokio::spawn(connection))
}

async fn get(requests: &SendRequest<Bytes>, link: &Link, range: &str) -> Response<RecvStream> {
    let request =
        Request::get(&link.url).header("authorization", basic("x", &link.secret)).header("range", range);
    let mut ready = requests.clone().ready().await.unwrap();
    ready.send_request(request.body(()).unwrap(), true).unwrap().0.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_stream_was_reset_gives_its_count_back() {
    let server = Server::with(&[("BURNBAG_LEASE_IDLE", "2s"), ("BURNBAG_LEASE_RETRY", "1s")]).await;
    // More than the window, and little enough that all of it is handed to h2.
    let link = server.send("a", noise(100_000, 4), "downloads=1").await;
    let (requests, connection) = connect(&server).await;
    let mut body = get(&requests, &link, "bytes=0-").await.into_body();
    let mut came = 0;
    while came < 65_535 {
        came += body.data().await.unwrap().unwrap().len();
    }
    drop(body);
    let other = reqwest::Client::builder().user_agent("another").build().unwrap();
    let whole = wait_for("the count to come back", async || {
        let answer = link.get(&other).send().await.unwrap();
        if answer.status() == 200 { Some(answer.bytes().await.unwrap()) } else { None }
    })
    .await;
    assert_eq!(whole.len(), 100_000);
    let counts = || trail::counts(&trail::lines(&server.data().join("audit")), &link.transfer);
    wait_for("one to be whole", async || counts().contains_key("download.completed").then_some(())).await;
    assert_eq!((counts()["download.interrupted"], counts()["download.started"]), (1, 2));
    drop(requests);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_whose_stream_was_reset_resumes_as_one() {
    let server = Server::with(&[("BURNBAG_LEASE_RETRY", "1s")]).await;
    let content = noise(16 << 20, 2);
    let link = server.send("a", content.clone(), "downloads=1").await;
    let (requests, connection) = connect(&server).await;
    let mut got = Vec::new();
    for most in [1 << 20, usize::MAX] {
        // What was cut through is not counted as written: a little more than the rest is asked for.
        got.truncate(got.len().saturating_sub(128 << 10));
        let range = format!("bytes={}-", got.len());
        let answer = wait_for("the lease", async || {
            Some(get(&requests, &link, &range).await).filter(|answer| answer.status() == 206)
        })
        .await;
        let mut body = answer.into_body();
        while got.len() < most {
            let Some(bytes) = body.data().await else { break };
            let bytes = bytes.unwrap();
            body.flow_control().release_capacity(bytes.len()).unwrap();
            got.extend_from_slice(&bytes);
        }
    }
    assert!(got == content);
    wait_for("the count is used", async || (reason(&server, &link).await == "exhausted").then_some(())).await;
    let counts = trail::counts(&trail::lines(&server.data().join("audit")), &link.transfer);
    assert_eq!((counts["download.started"], counts.get("download.interrupted")), (1, None));
    drop(requests);
    connection.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_upload_over_http2_shows_its_reason_to_curl() {
    let server = Server::start().await;
    let big = NamedTempFile::new().unwrap();
    big.as_file().set_len(60 << 20).unwrap();
    let (path, url) = (big.path().to_str().unwrap(), format!("{}/a", server.url));
    for _ in 0..10 {
        let said =
            curl(&[H2, "-w", "%{http_version} %{http_code}", "-u", ":nonsense", "-T", path, &url]).await;
        assert!(said.contains("(token_invalid)") && said.ends_with("2 401"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_of_a_browser_is_asked_over_http2_as_well() {
    let server = Server::start().await;
    let link = server.send("a", "hello", "").await;
    let (user, secret) = (format!(":{}", server.token), format!("{{\"secret\":\"{}\"}}", link.secret));
    let status = ["-o", "/dev/null", "-w", "%{http_code}"];
    let put = [H2, "-u", &user, "-X", "PUT", "-d", "x", "-H"];
    let url = format!("{}/a", server.url);
    assert_eq!(curl(&[&put[..], &["Sec-Fetch-Site: cross-site", &url], &status].concat()).await, "403");
    assert_eq!(curl(&[&put[..], &["Origin: https://example.org", &url], &status].concat()).await, "403");
    assert_eq!(curl(&[&put[..], &["Sec-Fetch-Site: same-origin", &url], &status].concat()).await, "201");
    let ticket = format!("{}/ticket", link.url);
    let json = "content-type: application/json";
    let head = curl(&[H2, "-D", "-", "-o", "/dev/null", "-H", json, "-d", &secret, &ticket]).await;
    let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    let cookie = format!("cookie: {}", cookie.split(';').next().unwrap());
    // HTTP/2 may send cookies one by one.
    let got = curl(&[H2, "-H", "cookie: other=1", "-H", &cookie, &format!("{}/a", link.url)]).await;
    assert_eq!(got, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_an_id_of_ours_in_its_answer_and_in_the_log() {
    let server = Server::with(&[("BURNBAG_TRUSTED_PROXIES", "127.0.0.1")]).await;
    let said = format!("X-Request-Id: {}", "chosen by the client ".repeat(100));
    let mut ids = Vec::new();
    for version in ["--http1.1", H2] {
        for _ in 0..2 {
            let url = format!("{}/livez", server.url);
            let head = curl(&[version, "-D", "-", "-o", "/dev/null", "-H", &said, &url]).await;
            let lines: Vec<&str> =
                head.lines().filter_map(|line| line.strip_prefix("x-request-id: ")).collect();
            assert_eq!(lines.len(), 1, "{head}");
            let id = lines[0].trim().to_owned();
            assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
            assert!(server.log().lines().any(|line| line.contains("answered") && line.contains(&id)));
            assert!(!ids.contains(&id));
            ids.push(id);
        }
    }
    assert!(!server.log().contains("chosen by the client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_stop_it_lets_transfers_over_both_protocols_end_and_takes_no_new_connection() {
    let mut server = Server::start().await;
    let content = noise(6 << 20, 3);
    let link = server.send("a", content.clone(), "").await;
    let up = file(&content);
    let (user, basic) = (format!(":{}", server.token), format!("x:{}", link.secret));
    let (mut clients, mut files) = (Vec::new(), Vec::new());
    for version in ["--http1.1", H2] {
        // About three seconds.
        let common = ["-sS", "-f", "--limit-rate", "2M", version, "-u"];
        let down = NamedTempFile::new().unwrap();
        let url = format!("{}/b", server.url);
        let download = [&common[..], &[&basic, "-o", down.path().to_str().unwrap(), &link.url]].concat();
        let upload = [&common[..], &[&user, "-T", up.path().to_str().unwrap(), &url]].concat();
        for arguments in [download, upload] {
            let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
            clients.push(tokio::spawn(async move {
                let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
                run("curl", &arguments).await
            }));
        }
        files.push(down);
    }
    let audit = server.data().join("audit");
    let of = |kind: &str| trail::lines(&audit).iter().filter(|line| line["type"] == kind).count();
    wait_for("all to run", async || (of("upload.started") == 3 && of("download.started") == 2).then_some(()))
        .await;
    let (address, log) = (server.address().to_owned(), server.data().join("../log"));
    let refused = tokio::spawn(async move {
        wait_for("the drain", async || {
            std::fs::read_to_string(&log).unwrap().contains("draining").then_some(())
        })
        .await;
        std::net::TcpStream::connect(address).is_err()
    });
    server.stop().await;
    assert!(refused.await.unwrap(), "a new connection was taken");
    for client in clients {
        let output = client.await.unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    for file in files {
        assert!(std::fs::read(file.path()).unwrap() == content);
    }
    assert_eq!((of("transfer.available"), of("download.completed")), (3, 2), "on record before the end");
}
