//! Who only looks at a link takes nothing of it, and cannot tell it from one that nobody made: previews, mail scanners, and
//! a browser that loads the whole link and clicks nothing.
//!
//! A bot that follows a `tool_url` has the secret, and downloads: the API says so.

use std::collections::BTreeMap;

use axum::http::header::CONTENT_TYPE;
use burnbag::http::pages;
use serde_json::Value;

use crate::browser_support::Browser;
use crate::metrics_support::Shown;
use crate::one_answer::{alike, asked_between, unknown};
use crate::support::{Link, Server, wait_for};
use crate::trail::{client, lines};

/// Those that fetch links out of messages, as they call themselves.
const AGENTS: [&str; 9] = [
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "WhatsApp/2.23.20.0",
    "TelegramBot (like TwitterBot)",
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "Twitterbot/1.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0 OneOutlook/1.0",
    "curl/7.88.1",
];

/// What they say that they take.
const ACCEPTS: [Option<&str>; 8] = [
    None,
    Some("*/*"),
    Some("text/html"),
    Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    Some("image/*"),
    Some("image/avif,image/webp,*/*"),
    Some("application/json"),
    Some("application/octet-stream"),
];

/// What some of them add.
const FURTHER: [&str; 4] = [
    "",
    "Range: bytes=0-32768\r\n",
    "Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Site: cross-site\r\n",
    "Sec-Fetch-Mode: no-cors\r\nSec-Purpose: prefetch\r\nIf-None-Match: *\r\n",
];

fn id(link: &Link) -> &str {
    link.url.rsplit('/').next().unwrap()
}

/// The link is as it was, and gives its file once. Nothing is on record before that.
async fn is_untouched(server: &Server, link: &Link) {
    let shown = server.transfer(&link.transfer).await;
    assert_eq!((&shown["state"], &shown["links"][0]["used"]), (&"available".into(), &0.into()));
    let got = link.get(&client("a person")).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "once");
    let kinds = || -> Vec<String> {
        let lines = lines(&server.data().join("audit"));
        let about = lines.iter().filter(|line| line["link"] == id(link));
        about.map(|line| line["type"].as_str().unwrap().to_owned()).collect()
    };
    let completed = || kinds().contains(&"download.completed".to_owned());
    wait_for("the download in the log", async || completed().then_some(())).await;
    // The log has its events in the order in which they were committed.
    assert_eq!(kinds(), ["link.created", "download.started", "download.completed"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_without_its_secret_is_the_same_known_or_not_and_nothing_is_taken() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let link = server.send("once.txt", "once", "downloads=1").await;
    let nobodys = unknown(&server);
    let before = shown.scrape().await;
    let mut statuses = BTreeMap::new();
    for agent in AGENTS {
        for accept in ACCEPTS {
            for further in FURTHER {
                let accept = accept.map_or_else(String::new, |accept| format!("Accept: {accept}\r\n"));
                for (method, below) in [("HEAD", ""), ("GET", ""), ("GET", "/"), ("GET", "/once.txt")] {
                    let ask = async |link: &Link| {
                        let request = format!(
                            "{method} /d/{}{below} HTTP/1.1\r\nHost: b\r\nUser-Agent: {agent}\r\n{accept}{further}Connection: close\r\n\r\n",
                            id(link)
                        );
                        let answer = server.raw(request.as_bytes(), true).await;
                        // The id stands in the realm, and where a navigation is led.
                        alike(&answer).replace(id(link), "ID")
                    };
                    let known = ask(&link).await;
                    assert_eq!(known, ask(&nobodys).await, "{method} {below} {agent} {accept} {further}");
                    assert!(!known.contains("once"), "{known}");
                    *statuses.entry(known[9..12].to_owned()).or_insert(0) += 1;
                }
            }
        }
    }
    // The page, the challenge, and the way from a file to the page.
    assert_eq!(statuses.keys().collect::<Vec<_>>(), ["200", "303", "401"], "{statuses:?}");
    assert_eq!(asked_between(&before, &shown.scrape().await), BTreeMap::new());
    is_untouched(&server, &link).await;
}

#[tokio::test]
async fn the_page_is_the_one_that_is_in_the_program() {
    let server = super::serve(&[]).await;
    let link = server.send("once.txt", "once", "downloads=1").await;
    let get = reqwest::Client::new().get(&link.url).header("accept", "text/html").send().await.unwrap();
    let page = pages::receive();
    assert_eq!(get.headers()["content-type"], page.headers()[CONTENT_TYPE]);
    let bytes = axum::body::to_bytes(page.into_body(), usize::MAX).await.unwrap();
    assert_eq!(get.bytes().await.unwrap(), bytes);
}

/// What a browser shows of a link that it loads whole, and what it fetched for it.
async fn looked_at(server: &Server, link: &Link) -> (String, Vec<String>) {
    let browser = Browser::start().await;
    browser.go(&link.whole).await;
    browser.see("#get").await;
    let loaded = async || (browser.value("document.readyState").await == "complete").then_some(());
    wait_for("the page to be loaded", loaded).await;
    let page = browser.value("document.documentElement.outerHTML").await;
    let fetched = browser.value("performance.getEntriesByType('resource').map(entry => entry.name)").await;
    assert_eq!(browser.cookies().await, Vec::<Value>::new());
    assert_eq!(browser.errors().await, Vec::<String>::new());
    let mut fetched: Vec<String> = serde_json::from_value(fetched).unwrap();
    fetched.sort();
    let page = page.as_str().unwrap().replace(&link.secret, "SECRET").replace(id(link), "ID");
    (page, fetched.iter().map(|url| url.replace(&server.url, "")).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_loads_the_whole_link_and_clicks_nothing_takes_nothing() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let link = server.send("once.txt", "once", "downloads=1").await;
    let before = shown.scrape().await;
    let (page, fetched) = looked_at(&server, &link).await;
    assert!(!fetched.is_empty() && fetched.iter().all(|path| path.starts_with("/assets/")), "{fetched:?}");
    assert_eq!(looked_at(&server, &unknown(&server)).await, (page, fetched), "one that nobody made");
    assert_eq!(asked_between(&before, &shown.scrape().await), BTreeMap::new());
    is_untouched(&server, &link).await;
}
