//! What a person does with a link, in a real browser.

use std::collections::BTreeMap;

use burnbag::http::pages;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::browser_support::Browser;
use crate::gate::{Gate, header};
use crate::support::{Link, Server, files_below, noise, wait_for};
use crate::trail::client;

/// Names that are hard for a page, an address or a header, with their bytes.
const FILES: [(&str, &str); 4] = [
    ("two words & 50%.txt", "one"),
    ("it's \"quoted\" #1?.txt", "two"),
    ("Grüße 🎉.txt", "three"),
    ("folder/inside it.txt", "four"),
];

/// Sends several files in one form, as curl writes it.
async fn send_all(server: &Server, files: &[(&str, &str)], query: &str) -> Link {
    let mut form = String::new();
    for (name, bytes) in files {
        let name = name.replace('"', "\\\"");
        let head = format!("Content-Disposition: form-data; name=\"f\"; filename=\"{name}\"");
        form.extend(["--edge\r\n", &head, "\r\n\r\n", bytes, "\r\n"]);
    }
    form += "--edge--\r\n";
    let answer = reqwest::Client::new()
        .post(format!("{}/?{query}", server.url))
        .bearer_auth(&server.token)
        .header("content-type", "multipart/form-data; boundary=edge")
        .body(form)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    let transfer = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
    Link::parse(answer.text().await.unwrap().trim_end(), &transfer)
}

/// The types of all events in the audit log that name this link, in order.
fn events(server: &Server, link: &Link) -> Vec<String> {
    let id = link.url.rsplit('/').next().unwrap();
    let mut lines = Vec::new();
    for file in files_below(&server.data().join("audit")) {
        if file.extension().is_some_and(|kind| kind == "jsonl") {
            lines.extend(std::fs::read_to_string(file).unwrap().lines().map(str::to_owned));
        }
    }
    let events = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ours = events.filter(|event| event["link"] == id);
    ours.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

async fn used(server: &Server, link: &Link) -> u64 {
    server.transfer(&link.transfer).await["links"][0]["used"].as_u64().unwrap()
}

/// Waits until the audit log has this event of the link, and returns all that it has.
async fn recorded(server: &Server, link: &Link, last: &str) -> Vec<String> {
    wait_for(last, async || {
        let events = events(server, link);
        events.iter().any(|event| event == last).then_some(events)
    })
    .await
}

#[tokio::test]
async fn a_link_that_was_sent_works_where_it_is_clicked() {
    let server = super::serve(&[]).await;
    let bytes: Vec<u8> = (0..750_001_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    let link = server.send("report.bin", bytes.clone(), "downloads=3").await;
    let browser = Browser::start().await;

    browser.click_in_a_mail(&link.whole).await;
    browser.see("#get").await;
    assert!(browser.cookies().await.is_empty(), "the secret is not sent on load");
    assert!(!server.log().contains("/ticket"), "the secret is not sent on load");
    browser.click("#get").await;

    let files = browser.downloads(1).await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["report.bin"]);
    assert!(files["report.bin"] == bytes, "byte-identical");
    assert!(server.log().contains("/ticket"), "it is sent on a click");
    browser.read("#title", "Your file").await;
    wait_for("the count", async || (used(&server, &link).await == 1).then_some(())).await;
    let events = recorded(&server, &link, "download.completed").await;
    assert_eq!(events.iter().filter(|event| *event == "download.started").count(), 1, "{events:?}");
    assert_eq!(browser.errors().await, Vec::<String>::new(), "no violation of the policy, no error");

    let cookies = browser.cookies().await;
    let [ticket] = cookies.as_slice() else { panic!("one cookie: {cookies:?}") };
    let path = link.url.strip_prefix(&server.url).unwrap();
    assert_eq!(ticket["name"], "__Secure-bb-d");
    assert_eq!(ticket["path"], path);
    assert_eq!(ticket["httpOnly"], true);
    assert_eq!(ticket["secure"], true);
    assert_eq!(ticket["sameSite"], "Strict");
    assert_eq!(browser.value("document.cookie").await, "", "no script reads the ticket");
}

#[tokio::test]
async fn a_download_paused_and_resumed_is_one_lease() {
    const SIZE: u64 = 64 << 20;
    let server = super::serve(&[]).await;
    let bytes = noise(usize::try_from(SIZE).unwrap(), 8);
    let link = server.send("large.bin", bytes.clone(), "downloads=1").await;
    let gate = Gate::before(&server, SIZE / 4).await;
    let there = gate.link(&link);
    let file = format!("{}/large.bin", there.url);
    let browser = Browser::start().await;
    let another = || async { link.get(&client("another")).send().await.unwrap().status().as_u16() };

    browser.go(&there.whole).await;
    browser.click("#get").await;
    gate.is_reached().await;
    browser.pause_the_download().await;
    assert_eq!(another().await, 503, "a paused download keeps its lease");
    gate.allow(SIZE / 2);
    browser.resume_the_download().await;
    gate.is_reached().await;
    assert_eq!(gate.gets(&file).len(), 1, "over the same connection");

    browser.pause_the_download().await;
    gate.cut().await;
    gate.open();
    assert_eq!(another().await, 503, "so does one whose connection broke");
    assert_eq!(gate.gets(&file).len(), 1, "it waits for the person");
    browser.resume_the_download().await;

    let files = browser.downloads(1).await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["large.bin"]);
    assert_eq!(Sha256::digest(&files["large.bin"]), Sha256::digest(&bytes));
    let gets = gate.gets(&file);
    let [whole, rest] = gets.as_slice() else { panic!("two requests: {gets:#?}") };
    assert_eq!(header(whole, "range"), None);
    let range = header(rest, "range").expect("the rest alone is asked for");
    let from: u64 = range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap();
    assert!((1..=SIZE / 2).contains(&from), "{range}");
    assert!(header(rest, "if-range").is_some(), "{rest}");
    assert!(header(whole, "cookie").is_some(), "{whole}");
    assert_eq!(header(rest, "cookie"), header(whole, "cookie"), "by the same ticket");

    let events = recorded(&server, &link, "download.completed").await;
    assert_eq!(events, ["link.created", "download.started", "download.completed"]);
    assert_eq!(used(&server, &link).await, 1);
    assert_eq!(another().await, 404, "the one download is used");
}

#[tokio::test]
async fn each_of_several_files_can_be_clicked() {
    let server = super::serve(&[]).await;
    let link = send_all(&server, &FILES, "").await;
    let browser = Browser::start().await;

    browser.go(&link.whole).await;
    browser.click("#get").await;
    browser.read("#title", "Your files").await;
    for (n, (name, _)) in FILES.iter().enumerate() {
        browser.read(&format!("#files li:nth-child({})", n + 1), name).await;
    }
    assert_eq!(browser.downloads(0).await, BTreeMap::new(), "nothing comes before a click");
    for n in 1..=FILES.len() {
        browser.click(&format!("#files li:nth-child({n}) a")).await;
        browser.downloads(n).await;
    }
    let mut got: Vec<_> = browser.downloads(FILES.len()).await.into_iter().collect();
    got.sort_by(|a, b| a.0.cmp(&b.0));
    // Chromium replaces a quote and a question mark in the name of a file on disk.
    let expected = [
        ("Grüße 🎉.txt", "three"),
        ("inside it.txt", "four"),
        ("it's _quoted_ #1_.txt", "two"),
        ("two words & 50%.txt", "one"),
    ];
    let got: Vec<_> =
        got.iter().map(|(name, bytes)| (name.as_str(), std::str::from_utf8(bytes).unwrap())).collect();
    assert_eq!(got, expected);
    wait_for("the count", async || (used(&server, &link).await == 1).then_some(())).await;
    assert_eq!(browser.errors().await, Vec::<String>::new());
}

#[tokio::test]
async fn without_a_script_a_pasted_link_or_secret_leads_to_the_files() {
    let server = super::serve(&[]).await;
    let link = send_all(&server, &FILES, "").await;
    let browser = Browser::without_script().await;

    for (n, pasted) in [&link.whole, &link.secret].into_iter().enumerate() {
        browser.click_in_a_mail(&link.whole).await;
        browser.see("#secret").await.send_keys(pasted).await.unwrap();
        browser.click("#paste button").await;
        browser.at(&format!("{}/", link.url)).await;
        browser.read("h1", "4 files").await;
        browser.click(&format!(".files li:nth-child({}) a", n + 1)).await;
        let files = browser.downloads(n + 1).await;
        assert!(files.values().any(|bytes| bytes == FILES[n].1.as_bytes()), "{files:?}");
    }
    assert_eq!(browser.errors().await, Vec::<String>::new());
    wait_for("a count for each ticket", async || (used(&server, &link).await == 2).then_some(())).await;

    browser.go(&link.url).await;
    browser.see("#secret").await.send_keys(&"A".repeat(43)).await.unwrap();
    browser.click("#paste button").await;
    browser.read("h1", "This link does not open anything").await;
}

/// Status, headers but those of the moment, and body.
async fn answer(method: Method, url: &str, accept: &str) -> (u16, Vec<(String, String)>, String) {
    let request = reqwest::Client::new().request(method, url).header("accept", accept);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    let mut headers = Vec::new();
    for (name, value) in answer.headers() {
        if name != "date" && name != "x-request-id" {
            headers.push((name.to_string(), value.to_str().unwrap().to_owned()));
        }
    }
    (status, headers, answer.text().await.unwrap())
}

#[tokio::test]
async fn who_only_looks_at_a_link_takes_nothing_of_it() {
    let mut server = super::serve(&[]).await;
    let link = server.send("once.txt", "once", "downloads=1").await;
    let id = link.url.rsplit('/').next().unwrap();
    let unknown = "0".repeat(32);
    for accept in
        ["text/html", "*/*", "application/json", "image/*", "text/html,application/xhtml+xml,*/*;q=0.8"]
    {
        for method in [Method::GET, Method::HEAD] {
            let known = answer(method.clone(), &link.url, accept).await;
            let (status, headers, body) =
                answer(method.clone(), &link.url.replace(id, &unknown), accept).await;
            let headers: Vec<_> =
                headers.into_iter().map(|(name, value)| (name, value.replace(&unknown, id))).collect();
            let mut strip = known.2.clone();
            let mut body = body;
            for text in [&mut strip, &mut body] {
                if let Some(at) = text.find("\"trace_id\"") {
                    text.truncate(at);
                }
            }
            assert_eq!((known.0, known.1, strip), (status, headers, body), "{method} for {accept}");
            assert_eq!(known.0, if accept.contains("html") { 200 } else { 401 }, "{method} for {accept}");
        }
    }
    let page = answer(Method::GET, &link.url, "text/html").await;
    let bytes = axum::body::to_bytes(pages::receive().into_body(), usize::MAX).await.unwrap();
    assert_eq!(page.2.as_bytes(), bytes);

    let browser = Browser::start().await;
    browser.go(&link.whole).await;
    browser.see("#get").await;
    assert!(!server.log().contains("/ticket"), "the secret is not sent on load");
    assert_eq!(browser.cookies().await, Vec::<Value>::new());
    assert_eq!(used(&server, &link).await, 0);

    // A wrong secret is on record, so what came before it would be there too.
    let wrong = reqwest::Client::new().get(&link.url).basic_auth("x", Some("A".repeat(43)));
    assert_eq!(wrong.send().await.unwrap().status(), 404);
    server.stop().await;
    server.start_again().await;
    let events = recorded(&server, &link, "download.refused").await;
    assert_eq!(events, ["link.created", "download.refused"]);
    let got = link.get(&reqwest::Client::new()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "once", "its one download is still there");
}

#[tokio::test]
async fn a_person_without_a_ticket_is_led_to_the_page_of_the_link() {
    let server = super::serve(&[]).await;
    let link = send_all(&server, &FILES, "downloads=1").await;
    let browser = Browser::start().await;
    let led = "performance.getEntriesByType('navigation')[0].redirectCount";
    for below in ["", "folder/inside%20it.txt", "nothing.txt"] {
        let asked = format!("{}/{below}", link.url);
        browser.go(&asked).await;
        browser.at(&link.url).await;
        browser.see("#secret").await;
        assert_eq!(browser.value(led).await, 1, "by a redirect, to {below:?}");
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let navigation =
            client.get(&asked).header("accept", "text/html").header("sec-fetch-mode", "navigate");
        let answer = navigation.send().await.unwrap();
        assert_eq!(answer.status(), 303, "{below:?}");
        assert_eq!(answer.headers()["location"], link.url.strip_prefix(&server.url).unwrap());
    }
    browser.go(&format!("{}#{}", link.url, "A".repeat(43))).await;
    browser.click("#get").await;
    browser.read("#error", "This link does not open anything").await;
    browser.go(&format!("{}#{}", link.url, &link.secret[..40])).await;
    browser.read("#error", "The link is not whole").await;
    let errors = browser.errors().await;
    assert!(errors.iter().all(|error| error.contains("404")), "the refusal alone: {errors:?}");
    assert_eq!(browser.downloads(0).await, BTreeMap::new());

    // Nothing held the one download off, and what began it is the first on record.
    assert_eq!(used(&server, &link).await, 0);
    let file = Link { url: format!("{}/two%20words%20&%2050%25.txt", link.url), ..link.clone() };
    let got = file.get(&client("receiver")).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "one");
    let mut events = recorded(&server, &link, "download.completed").await;
    events.retain(|event| event != "download.refused");
    assert_eq!(events, ["link.created", "download.started", "download.completed"]);
}

#[tokio::test]
async fn after_the_deadline_the_page_says_so() {
    let server = super::serve(&[]).await;
    let browser = Browser::start().await;
    let link = send_all(&server, &FILES, "expires=10s").await;
    browser.go(&link.whole).await;
    browser.click("#get").await;
    browser.read("#deadline", "Available until").await;
    browser.read("#deadline", "The deadline has passed").await;
    assert_eq!(browser.value("document.querySelectorAll('#files a').length").await, 0);
    browser.go("about:blank").await;
    browser.go(&link.whole).await;
    browser.click("#get").await;
    browser.read("#error", "expired").await;
    assert_eq!(browser.downloads(0).await, BTreeMap::new());
}
