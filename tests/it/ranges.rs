//! Conditions and ranges, and objects that were tampered with.

use reqwest::{Method, Response};

use crate::support::{Link, Server, noise, run, text};

async fn ask(link: &Link, method: Method, headers: &[(&str, &str)]) -> Response {
    let mut request = reqwest::Client::new().request(method, &link.url).basic_auth("x", Some(&link.secret));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

async fn get(link: &Link, headers: &[(&str, &str)]) -> Response {
    ask(link, Method::GET, headers).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_range_of_every_form_gives_its_bytes() {
    let server = super::serve(&[]).await;
    let bytes = noise(200_000, 1);
    let link = server.send("f", bytes.clone(), "").await;
    for (asked, wanted) in [
        ("0-0", 0..1),
        ("0-199999", 0..200_000),
        ("0-", 0..200_000),
        ("1-", 1..200_000),
        ("199999-", 199_999..200_000),
        ("199999-199999", 199_999..200_000),
        ("-1", 199_999..200_000),
        ("-200000", 0..200_000),
        ("-999999999999999999999999", 0..200_000),
        ("100-999999999999999999999999", 100..200_000),
        // Around the borders of the segments (DESIGN §5).
        ("65479-65480", 65_479..65_481),
        ("65480-65480", 65_480..65_481),
        ("65480-130999", 65_480..131_000),
        ("65481-131000", 65_481..131_001),
        ("131000-196519", 131_000..196_520),
        ("1-196520", 1..196_521),
    ] {
        let answer = get(&link, &[("range", &format!("bytes={asked}"))]).await;
        assert_eq!(answer.status(), 206, "{asked}");
        let said = format!("bytes {}-{}/200000", wanted.start, wanted.end - 1);
        assert_eq!(answer.headers()["content-range"], said, "{asked}");
        assert_eq!(answer.headers()["content-length"], wanted.len().to_string(), "{asked}");
        assert_eq!(answer.headers()["accept-ranges"], "bytes");
        assert!(answer.bytes().await.unwrap() == bytes[wanted], "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_outside_is_416_and_one_that_is_none_is_ignored() {
    let server = super::serve(&[]).await;
    let bytes = noise(1000, 1);
    let link = server.send("f", bytes.clone(), "").await;
    for asked in ["1000-", "1000-1000", "5000-6000", "-0", "999999999999999999999999-"] {
        let answer = get(&link, &[("range", &format!("bytes={asked}"))]).await;
        assert_eq!(answer.status(), 416, "{asked}");
        assert_eq!(answer.headers()["content-range"], "bytes */1000", "{asked}");
        assert!(answer.text().await.unwrap().ends_with("(range_unsatisfiable)\n"), "{asked}");
    }
    for asked in
        ["bytes=2-1", "bytes=", "bytes=-", "bytes=a-b", "bytes=0-1,5-6", "lines=0-1", "0-1", "bytes 0-1"]
    {
        let answer = get(&link, &[("range", asked)]).await;
        assert_eq!(answer.status(), 200, "{asked}");
        assert!(answer.bytes().await.unwrap() == bytes, "{asked}");
    }
    let empty = server.send("f", "", "").await;
    for asked in ["bytes=0-0", "bytes=-1", "bytes=0-"] {
        let answer = get(&empty, &[("range", asked)]).await;
        assert_eq!(answer.status(), 416, "{asked}");
        assert_eq!(answer.headers()["content-range"], "bytes */0", "{asked}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_are_held_against_the_tag() {
    let server = super::serve(&[]).await;
    let bytes = noise(1000, 1);
    let link = server.send("f", bytes.clone(), "").await;
    let first = get(&link, &[]).await;
    let tag = first.headers()["etag"].to_str().unwrap().to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'), "a strong tag: {tag}");
    let weak = format!("W/{tag}");
    let range = ("range", "bytes=10-19");
    for (condition, status) in [
        (tag.as_str(), 206),
        ("\"other\"", 200),
        (&weak, 200),
        ("Sat, 21 Nov 2026 10:00:00 GMT", 200),
        ("nonsense", 200),
    ] {
        let answer = get(&link, &[range, ("if-range", condition)]).await;
        assert_eq!(answer.status(), status, "If-Range: {condition}");
        let wanted = if status == 206 { &bytes[10..20] } else { &bytes[..] };
        assert!(answer.bytes().await.unwrap() == wanted, "If-Range: {condition}");
    }
    let listed = format!("\"other\", {tag}");
    for (condition, status) in
        [(tag.as_str(), 304), (&weak, 304), (&listed, 304), ("*", 304), ("\"other\"", 200)]
    {
        let answer = get(&link, &[("if-none-match", condition)]).await;
        assert_eq!(answer.status(), status, "If-None-Match: {condition}");
        assert_eq!(answer.headers()["etag"], tag, "If-None-Match: {condition}");
        assert_eq!(answer.bytes().await.unwrap().is_empty(), status == 304, "If-None-Match: {condition}");
    }
    for (condition, status) in
        [(tag.as_str(), 200), (&listed, 200), ("*", 200), (&weak, 412), ("\"other\"", 412)]
    {
        let answer = get(&link, &[("if-match", condition)]).await;
        assert_eq!(answer.status(), status, "If-Match: {condition}");
        let said = answer.bytes().await.unwrap();
        assert_eq!(said.ends_with(b"(precondition_failed)\n"), status == 412, "If-Match: {condition}");
    }
    // No tag holds a blank (RFC 9110 §8.8.3): such a condition is none.
    for blank in ["\"a b\"", "\"a\tb\"", "\"x\", \"a b\""] {
        for name in ["if-match", "if-none-match"] {
            assert_eq!(get(&link, &[(name, blank)]).await.status(), 200, "{name}: {blank}");
        }
        assert_eq!(get(&link, &[range, ("if-range", blank)]).await.status(), 200, "If-Range: {blank}");
    }
    let other = server.send("f", bytes, "").await;
    assert_ne!(get(&other, &[]).await.headers()["etag"], tag, "the same bytes sent twice are two files");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sends_no_byte_takes_no_lease() {
    let server = super::serve(&[]).await;
    let link = server.send("f", noise(1000, 1), "downloads=1").await;
    let whole = get(&link, &[("range", "bytes=5000-")]).await;
    assert_eq!(whole.status(), 416);
    // Another client each time: only the last has the one download.
    let head = ask(&link, Method::HEAD, &[("user-agent", "one")]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["content-length"], "1000");
    let tag = head.headers()["etag"].to_str().unwrap().to_owned();
    let part = ask(&link, Method::HEAD, &[("user-agent", "two"), ("range", "bytes=0-9")]).await;
    // A range means something to a GET alone (RFC 9110 §14.2).
    assert_eq!(part.status(), 200);
    assert_eq!(part.headers()["content-length"], "1000");
    assert_eq!(get(&link, &[("user-agent", "three"), ("if-none-match", &tag)]).await.status(), 304);
    let index = Link { url: format!("{}/", link.url), ..link.clone() };
    assert_eq!(get(&index, &[("user-agent", "four")]).await.status(), 200);
    let page = reqwest::Client::new().get(&link.url).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert!(!server.events().iter().any(|event| event["type"] == "download.started"));

    let got = get(&link, &[("user-agent", "five")]).await;
    assert_eq!(got.status(), 200);
    for name in [
        "content-type",
        "content-length",
        "content-disposition",
        "repr-digest",
        "etag",
        "accept-ranges",
        "cache-control",
        "x-content-type-options",
        "content-security-policy",
        "referrer-policy",
        "x-robots-tag",
    ] {
        assert_eq!(got.headers()[name], head.headers()[name], "{name}");
    }
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox"),
        ("referrer-policy", "no-referrer"),
        ("x-robots-tag", "noindex"),
    ] {
        assert_eq!(got.headers()[name], value, "{name}");
    }
    assert_eq!(got.bytes().await.unwrap().len(), 1000);
    let late = get(&link, &[("user-agent", "six")]).await;
    assert!([404, 503].contains(&late.status().as_u16()), "{}", late.status());
}

fn path_in(dir: &tempfile::TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

/// What became of a file that was tampered with, as three clients see it.
struct Seen {
    curl: Option<i32>,
    bytes: Vec<u8>,
    python: String,
}

const PYTHON: &str = "import http.client,sys,base64
c=http.client.HTTPConnection(sys.argv[1])
c.request('GET',sys.argv[2],headers={'Authorization':'Basic '+base64.b64encode(sys.argv[3].encode()).decode()})
try:
  r=c.getresponse()
  r.read()
  print(r.status,'clean')
except Exception as e:
  print(type(e).__name__)";

async fn seen(server: &Server, link: &Link) -> Seen {
    let dir = tempfile::tempdir().unwrap();
    let (to, who) = (path_in(&dir, "f"), format!("x:{}", link.secret));
    let curl = run("curl", &["-sSf", "-u", &who, "-o", &to, &link.url]).await;
    let path = link.url.strip_prefix(&server.url).unwrap();
    let python = run("python3", &["-c", PYTHON, server.address(), path, &who]).await;
    Seen {
        curl: curl.status.code(),
        bytes: std::fs::read(&to).unwrap_or_default(),
        python: text(&python.stdout).trim().to_owned(),
    }
}

async fn flip(server: &Server, key: &str, at: usize, bits: u8) {
    let mut bytes = server.object(key).await;
    bytes[at] ^= bits;
    server.put_object(key, &bytes).await;
}

/// Refused before the first byte: a status says so.
fn refused(seen: &Seen, what: &str) {
    assert_eq!(seen.curl, Some(22), "{what}");
    assert_eq!((seen.bytes.len(), seen.python.as_str()), (0, "500 clean"), "{what}");
}

const SIZE: usize = 700_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_breaks_the_transfer_before_its_segment() {
    let server = super::serve(&[]).await;
    let bytes = noise(SIZE, 1);
    let link = server.send("f", bytes.clone(), "").await;
    let key = server.key_of(&link).await;
    let size = server.object(&key).await.len();
    // The first byte, salt, prefix, the first segment's text and tag: nothing leaves.
    for at in [0, 5, 35, 40, 30_000, 65_535] {
        flip(&server, &key, at, 1).await;
        refused(&seen(&server, &link).await, &format!("byte {at}"));
        flip(&server, &key, at, 1).await;
    }
    // Segments are read four at a time, and the first four before the status.
    for at in [65_536, 262_143] {
        flip(&server, &key, at, 0x80).await;
        refused(&seen(&server, &link).await, &format!("byte {at}"));
        flip(&server, &key, at, 0x80).await;
    }
    for at in [262_144, 400_000, size - 17, size - 1] {
        flip(&server, &key, at, 0x80).await;
        let seen = seen(&server, &link).await;
        assert!(matches!(seen.curl, Some(18 | 56)), "byte {at}: {:?}", seen.curl);
        let good = 65_536 * (at / 65_536) - 40 - 16 * (at / 65_536);
        assert!(seen.bytes.len() <= good, "byte {at}: {} bytes arrived, {good} are good", seen.bytes.len());
        assert!(seen.bytes == bytes[..seen.bytes.len()], "byte {at}");
        let broken = ["IncompleteRead", "ConnectionResetError"].contains(&seen.python.as_str());
        assert!(broken, "byte {at}: {}", seen.python);
        // A range is as good as its segments.
        let whole = get(&link, &[("range", &format!("bytes=0-{}", good - 1))]).await;
        assert!(whole.bytes().await.unwrap() == bytes[..good], "byte {at}");
        let bad = get(&link, &[("range", &format!("bytes={good}-{good}"))]).await;
        assert_eq!(bad.status(), 500, "byte {at}");
        flip(&server, &key, at, 0x80).await;
    }
    assert_eq!(seen(&server, &link).await.python, "200 clean", "restored, it is whole again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_cut_extended_or_swapped_is_refused() {
    let server = super::serve(&[]).await;
    let link = server.send("f", noise(SIZE, 1), "").await;
    let other = server.send("f", noise(SIZE, 2), "").await;
    let (key, another) = (server.key_of(&link).await, server.key_of(&other).await);
    let good = server.object(&key).await;
    for (what, bytes) in [
        ("a byte less", good[..good.len() - 1].to_vec()),
        ("a segment less", good[..65_536 * 10].to_vec()),
        ("the header alone", good[..40].to_vec()),
        ("nothing", Vec::new()),
        ("a byte more", [&good[..], b"x"].concat()),
        ("an empty segment more", [&good[..], &[0; 16]].concat()),
        ("another's", server.object(&another).await),
    ] {
        server.put_object(&key, &bytes).await;
        refused(&seen(&server, &link).await, what);
    }
    // Two segments in each other's place.
    let (first, second) = (65_536 * 6..65_536 * 7, 65_536 * 7..65_536 * 8);
    let swapped = [&good[..first.start], &good[second.clone()], &good[first], &good[second.end..]].concat();
    server.put_object(&key, &swapped).await;
    let broken = seen(&server, &link).await;
    assert!(matches!(broken.curl, Some(18 | 56)), "{:?}", broken.curl);
    assert!(broken.bytes.len() <= 65_480 + 65_520 * 5, "{} bytes arrived", broken.bytes.len());
    server.lose_object(&key).await;
    refused(&seen(&server, &link).await, "no object");
    assert_eq!(seen(&server, &other).await.python, "200 clean");
}
