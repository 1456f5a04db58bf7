//! What is sent comes back as it was, by every way in and with every client.

use std::fmt::Write as _;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use reqwest::multipart::{Form, Part};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Link, Server, files_below, noise, run, text};

/// Plaintext of a first segment, and of every other (DESIGN §5).
const FIRST: usize = 65_480;
const OTHER: usize = 65_520;

/// Both sides of every border of the format, and the lengths that the outside knows.
fn lengths() -> Vec<usize> {
    let mut lengths = vec![0, 1, 2, 1 << 20];
    let mut around = |border: usize| lengths.extend([border - 1, border, border + 1]);
    for k in 1..=3 {
        around(65_536 * k);
        around(OTHER * k);
        around(FIRST + OTHER * (k - 1));
    }
    // One and two parts of a directory's upload: 4 MiB of ciphertext each.
    for parts in 1..=2 {
        around(FIRST + OTHER * (64 * parts - 1));
        around(parts << 22);
    }
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

fn ciphertext(length: usize) -> u64 {
    let segments = if length <= FIRST { 1 } else { 1 + (length - FIRST).div_ceil(OTHER) };
    (40 + length + 16 * segments) as u64
}

async fn fetched(client: &reqwest::Client, link: &Link, bytes: &[u8]) {
    let answer = link.get(client).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{} bytes", bytes.len());
    assert_eq!(answer.headers()["content-length"], bytes.len().to_string());
    let digest = format!("sha-256=:{}:", STANDARD.encode(Sha256::digest(bytes)));
    assert_eq!(answer.headers()["repr-digest"], digest);
    assert!(answer.bytes().await.unwrap() == bytes, "{} bytes came back changed", bytes.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_at_a_border_comes_back_whole() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    for length in lengths() {
        let bytes = noise(length, length as u64);
        let link = server.send("f", bytes.clone(), "").await;
        fetched(&client, &link, &bytes).await;
        let stored = server.stored().await;
        let object = stored.iter().find(|object| object.transfer() == link.transfer).unwrap();
        assert_eq!(object.size, ciphertext(length), "of {length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_at_a_border_comes_back_whole_when_it_was_not_said() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    for length in lengths() {
        let bytes = noise(length, length as u64 + 7);
        // Frames of an odd length, so that no border of the format is one of the body.
        let frames: Vec<_> =
            bytes.chunks(10_007).map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec())).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(frames));
        let link = server.send("f", body, "").await;
        fetched(&client, &link, &bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_length_at_a_border_comes_back_whole_in_a_form() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let files: Vec<_> = lengths().into_iter().map(|length| noise(length, length as u64 + 13)).collect();
    for some in files.chunks(8) {
        let mut form = Form::new();
        for bytes in some {
            form = form.part("file", Part::bytes(bytes.clone()).file_name(format!("f{}", bytes.len())));
        }
        let (status, link) = post(&server, form).await;
        assert_eq!(status, 201, "{link}");
        let link = Link::parse(link.trim_end(), "");
        for bytes in some {
            let file = Link { url: format!("{}/f{}", link.url, bytes.len()), ..link.clone() };
            fetched(&client, &file, bytes).await;
        }
    }
}

async fn post(server: &Server, form: Form) -> (u16, String) {
    let request = reqwest::Client::new().post(format!("{}/", server.url)).basic_auth("", Some(&server.token));
    let answer = request.multipart(form).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

fn at(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_wget_and_python_round_trip_a_large_file() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    // Test builds encrypt slowly; `cargo bench --bench load` sends 1 GiB.
    let bytes = noise(48 * 1024 * 1024 + 12_345, 1);
    std::fs::write(at(&dir, "sent"), &bytes).unwrap();
    let me = format!(":{}", server.token);
    let url = format!("{}/", server.url);
    let said = run("curl", &["-sS", "--fail-with-body", "-u", &me, "-T", &at(&dir, "sent"), &url]).await;
    assert!(said.status.success(), "{}", text(&said.stdout));
    let link = text(&said.stdout);
    assert_eq!(link.lines().count(), 1, "the link and its newline: {link:?}");
    let link = Link::parse(link.trim_end(), "");
    let who = format!("x:{}", link.secret);
    let same = |name: &str| assert!(std::fs::read(at(&dir, name)).unwrap() == bytes, "{name} came changed");

    let got = run("curl", &["-sSf", "-u", &who, "-o", &at(&dir, "curl"), &link.url]).await;
    assert!(got.status.success(), "{}", text(&got.stderr));
    same("curl");
    let (user, password) = ("--user=x", format!("--password={}", link.secret));
    let got = run("wget", &["-q", user, &password, "-O", &at(&dir, "wget"), &link.url]).await;
    assert!(got.status.success(), "{}", text(&got.stderr));
    same("wget");
    let python = "import http.client,sys,base64,shutil
c=http.client.HTTPConnection(sys.argv[1])
c.request('GET',sys.argv[2],headers={'Authorization':'Basic '+base64.b64encode(sys.argv[3].encode()).decode()})
shutil.copyfileobj(c.getresponse(),open(sys.argv[4],'wb'))";
    let path = link.url.strip_prefix(&server.url).unwrap();
    let got = run("python3", &["-c", python, server.address(), path, &who, &at(&dir, "python")]).await;
    assert!(got.status.success(), "{}", text(&got.stderr));
    same("python");
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_sends_a_stream_and_a_form_as_it_is_typed() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (noise(100_000, 1), noise(70_000, 2));
    std::fs::write(at(&dir, "a.bin"), &a).unwrap();
    std::fs::write(at(&dir, "b b.bin"), &b).unwrap();
    let url = format!("{}/", server.url);
    let piped = format!(
        "curl -sS --fail-with-body -u ':{}' -T - '{url}?expires=1h' < '{}'",
        server.token,
        at(&dir, "a.bin")
    );
    let said = run("sh", &["-c", &piped]).await;
    let link = Link::parse(text(&said.stdout).trim_end(), "");
    fetched(&reqwest::Client::new(), &link, &a).await;
    let named = Link { url: format!("{}/stdin", link.url), ..link };
    fetched(&reqwest::Client::new(), &named, &a).await;

    let (me, first, second) = (
        format!(":{}", server.token),
        format!("file=@{}", at(&dir, "a.bin")),
        format!("file=@{}", at(&dir, "b b.bin")),
    );
    let typed = ["-sS", "--fail-with-body", "-u", &me, "-F", "expires=1h", "-F", &first, "-F", &second, &url];
    let said = run("curl", &typed).await;
    let link = Link::parse(text(&said.stdout).trim_end(), "");
    for (name, bytes) in [("a.bin", &a), ("b%20b.bin", &b)] {
        let file = Link { url: format!("{}/{name}", link.url), ..link.clone() };
        fetched(&reqwest::Client::new(), &file, bytes).await;
    }
    // The README's line of a link with several files leads to the index, which is no file.
    let answer = link.get(&reqwest::Client::new()).header("accept", "application/json").send().await.unwrap();
    let index: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(index["transfer"]["files"][1]["name"], "b b.bin", "{index}");
    assert_eq!(index["transfer"]["files"][1]["size"], 70_000, "{index}");
}

fn encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// `filename` and `filename*` of a `Content-Disposition`, the latter decoded.
fn disposition(answer: &reqwest::Response) -> (String, String) {
    let whole = answer.headers()["content-disposition"].to_str().unwrap();
    let rest = whole.strip_prefix("attachment; filename=\"").unwrap();
    let (plain, name) = rest.split_once("\"; filename*=UTF-8''").unwrap();
    (plain.to_owned(), percent_decode_str(name).decode_utf8().unwrap().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_kept_as_it_came_and_is_no_path_on_disk() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let long = "n".repeat(255);
    let wide = "é".repeat(127) + "!";
    let kept = [
        ("a b.txt", "a b.txt"),
        ("it's \"quoted\".txt", "it_s _quoted_.txt"),
        ("grüße 日本.txt", "gr__e __.txt"),
        ("a%b#c?d&e=f+g;h", "a_b_c_d_e=f+g_h"),
        ("%2F", "_2F"),
        ("...", "file"),
        (".hidden", "hidden"),
        ("-rf", "-rf"),
        ("~", "_"),
        ("C:nul", "C_nul"),
        ("login", "login"),
        ("livez", "livez"),
        ("readyz", "readyz"),
        ("robots.txt", "robots.txt"),
        ("ticket", "ticket"),
        ("d", "d"),
        ("api", "api"),
        (&long, &long),
        (&wide, &("_".repeat(127) + "_")),
    ];
    for (name, plain) in kept {
        let link = server.send(&encoded(name), "what", "").await;
        let answer = link.get(&client).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(disposition(&answer), (plain.to_owned(), name.to_owned()));
        assert_eq!(answer.bytes().await.unwrap(), "what");
        assert_eq!(server.transfer(&link.transfer).await["files"][0]["name"], name);
        let below = Link { url: format!("{}/{}", link.url, encoded(name)), ..link.clone() };
        assert_eq!(below.get(&client).send().await.unwrap().status(), 200, "{name}");
        let other = Link { url: format!("{}/{}x", link.url, encoded(name)), ..link };
        assert_eq!(other.get(&client).send().await.unwrap().status(), 404, "{name}");
    }
    let objects = server.data().join("objects");
    for file in files_below(&objects.join("o")) {
        let parts: Vec<_> =
            file.strip_prefix(&objects).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        let hex =
            |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        assert!(parts.len() == 5 && parts[1..].iter().all(|part| hex(part)), "{}", file.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_cannot_be_kept_is_refused() {
    let server = super::serve(&[]).await;
    let too_long = "n".repeat(256);
    let too_wide = "é".repeat(128);
    let refused = [
        "..",
        ".",
        "%2e%2e",
        "%2E",
        "a%2Fb",
        "%2Fetc%2Fpasswd",
        "..%2F..%2Fx",
        "a%5Cb",
        "a%00b",
        "a%0Ab",
        "a%0D%0Ab",
        "a%7Fb",
        "a%C2%85b",
        "%FF",
        "%C3",
        &too_long,
        &encoded(&too_wide),
    ];
    for name in refused {
        let request = format!(
            "PUT /{name} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nAccept: application/json\r\nConnection: close\r\n\
             Content-Length: 4\r\n\r\nwhat",
            server.basic()
        );
        let answer = server.raw(request.as_bytes(), true).await;
        assert!(answer.starts_with("HTTP/1.1 422 "), "{name}: {answer}");
        assert!(
            answer.contains("\"code\":\"name_invalid\"") && answer.contains("\"field\":\"name\""),
            "{name}: {answer}"
        );
    }
    assert_eq!(server.stored().await, Vec::new());
}

/// A form as it stands on the wire: each part is its `Content-Disposition` parameters and its content.
async fn form(server: &Server, query: &str, parts: &[(&str, &str)]) -> (u16, String) {
    let mut body = String::new();
    for (parameters, content) in parts {
        write!(body, "--B\r\nContent-Disposition: form-data; {parameters}\r\n\r\n{content}\r\n").unwrap();
    }
    body += "--B--\r\n";
    let answer = reqwest::Client::new()
        .post(format!("{}/?{query}", server.url))
        .header("authorization", server.basic())
        .header("content-type", "multipart/form-data; boundary=B")
        .body(body)
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn index_of(link: &Link) -> serde_json::Value {
    let client = reqwest::Client::new();
    let request = client.get(format!("{}/", link.url)).basic_auth("x", Some(&link.secret));
    let answer = request.header("accept", "application/json").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.json::<serde_json::Value>().await.unwrap()["transfer"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_takes_its_options_before_and_after_its_files() {
    let server = super::serve(&[]).await;
    let file = ("name=\"file\"; filename=\"a\"", "what");
    let (expires, downloads) = (("name=\"expires\"", "1h"), ("name=\"downloads\"", "1"));
    for parts in [[expires, downloads, file], [file, expires, downloads], [expires, file, downloads]] {
        let (status, link) = form(&server, "", &parts).await;
        assert_eq!(status, 201, "{link}");
        let link = Link::parse(link.trim_end(), "");
        let deadline =
            index_of(&link).await["deadline"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let client = reqwest::Client::builder().user_agent("one").build().unwrap();
        assert_eq!(link.get(&client).send().await.unwrap().bytes().await.unwrap(), "what");
        let other = reqwest::Client::builder().user_agent("two").build().unwrap();
        assert_ne!(link.get(&other).send().await.unwrap().status(), 200, "one download was asked for");
        let answer = reqwest::get(format!("{}/livez", server.url)).await.unwrap();
        let now = jiff::fmt::rfc2822::parse(answer.headers()["date"].to_str().unwrap()).unwrap().timestamp();
        let left = deadline.duration_since(now).as_secs();
        assert!((3590..=3600).contains(&left), "{left} s are left of an hour");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_takes_text_and_folders_and_skips_empty_inputs() {
    let server = super::serve(&[]).await;
    let (status, link) = form(
        &server,
        "",
        &[
            ("name=\"file\"; filename=\"\"", ""),
            ("name=\"text\"", "a note"),
            ("name=\"file\"; filename=\"folder/a b.txt\"", "in a folder"),
            ("name=\"file\"; filename=\"empty\"", ""),
        ],
    )
    .await;
    assert_eq!(status, 201, "{link}");
    let link = Link::parse(link.trim_end(), "");
    let index = index_of(&link).await;
    let files: Vec<_> =
        index["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert_eq!(files, ["text.txt", "folder/a b.txt", "empty"]);
    let client = reqwest::Client::new();
    for (path, content) in [("text.txt", "a note"), ("folder/a%20b.txt", "in a folder"), ("empty", "")] {
        let file = Link { url: format!("{}/{path}", link.url), ..link.clone() };
        let answer = file.get(&client).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.text().await.unwrap(), content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_with_a_bad_name_keeps_nothing() {
    let server = super::serve(&[]).await;
    for (name, status, code) in [
        ("../../etc/x", 422, "name_invalid"),
        ("/etc/x", 422, "name_invalid"),
        ("a//b", 422, "name_invalid"),
        ("a/./b", 422, "name_invalid"),
        ("a/", 422, "name_invalid"),
        ("C:\\x", 422, "name_invalid"),
        ("a", 409, "name_taken"),
    ] {
        let bad = format!("name=\"file\"; filename=\"{name}\"");
        let first = ("name=\"file\"; filename=\"a\"", "what");
        let (got, said) = form(&server, "", &[first, (&bad, "more")]).await;
        assert_eq!(got, status, "{name}: {said}");
        assert!(said.ends_with(&format!("({code})\n")), "{name}: {said}");
    }
    for parts in [&[("name=\"file\"; filename=\"\"", "")][..], &[], &[("name=\"expires\"", "1h")]] {
        let (got, said) = form(&server, "", parts).await;
        assert_eq!((got, said.ends_with("(file_missing)\n")), (422, true), "{said}");
    }
    crate::bad_input::empties(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quote_in_a_name_survives_curls_form() {
    let server = super::serve(&[]).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(at(&dir, "say \"hi\".txt"), "hi").unwrap();
    let (me, file) = (format!(":{}", server.token), "file=@\"say \\\"hi\\\".txt\"".to_owned());
    let url = format!("{}/", server.url);
    let typed =
        format!("cd '{}' && curl -sS --fail-with-body -u '{me}' -F '{file}' '{url}'", dir.path().display());
    let said = run("sh", &["-c", &typed]).await;
    let link = Link::parse(text(&said.stdout).trim_end(), "");
    assert_eq!(index_of(&link).await["files"][0]["name"], "say \"hi\".txt");
}
