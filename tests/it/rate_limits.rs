//! Limits of a token, a link and an address, from outside: how much goes through, and what is said.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder, Response};

use crate::metrics_support::Shown;
use crate::stores::Stores;
use crate::support::{Link, SOON, Server, command, wait_for};

/// One member of a structured list: a string with parameters that are whole numbers (RFC 9651).
fn item(headers: &HeaderMap, name: &str) -> (String, BTreeMap<String, u64>) {
    let text = headers.get(name).unwrap_or_else(|| panic!("no {name} in {headers:?}")).to_str().unwrap();
    let mut parts = text.split(';');
    let string = parts.next().unwrap();
    assert!(string.len() > 2 && string.starts_with('"') && string.ends_with('"'), "{text}");
    let parameters = parts.map(|parameter| {
        let (key, value) = parameter.split_once('=').unwrap();
        assert!(key.bytes().all(|byte| byte.is_ascii_lowercase()), "{text}");
        (key.to_owned(), value.parse().unwrap())
    });
    (string.trim_matches('"').to_owned(), parameters.collect())
}

fn retry_after(answer: &Response) -> u64 {
    answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}

/// Sends from so many connections each until the time is over and the limit was reached, and holds what was not refused
/// against the limit.
async fn storm(requests: &[RequestBuilder], rate: u32, burst: u32) {
    let (passed, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let begun = Instant::now();
    let goes_on = || {
        let reached = refused.load(Ordering::Relaxed) > 0;
        begun.elapsed() < if reached { Duration::from_millis(1500) } else { SOON }
    };
    join_all(requests.iter().flat_map(|request| std::iter::repeat_n(request, 6)).map(async |request| {
        while goes_on() {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            let count = if answer.status() == 429 { &refused } else { &passed };
            count.fetch_add(1, Ordering::Relaxed);
            answer.bytes().await.unwrap();
        }
    }))
    .await;
    let most = f64::from(burst) + f64::from(rate) * begun.elapsed().as_secs_f64();
    let (passed, refused) = (passed.into_inner(), refused.into_inner());
    assert!(f64::from(passed) <= most, "{passed} of at most {most}");
    assert!(passed >= burst, "{passed} passed and a burst is {burst}");
    assert!(refused > 0, "the limit was never reached: {passed}");
}

/// Three instances on one Redis, or one on `SQLite`.
async fn instances(redis: bool, settings: &[(&str, &str)]) -> Vec<Server> {
    if !redis {
        return vec![Server::with(settings).await];
    }
    let first = Server::on(Stores::redis().await, settings).await;
    let (second, third) = tokio::join!(first.beside(settings), first.beside(settings));
    vec![first, second, third]
}

async fn a_token_is_limited(redis: bool) {
    let servers = instances(redis, &[("BURNBAG_RATE_TOKEN", "10/s, burst 30")]).await;
    let client = Client::new();
    let ask = |server: &Server| {
        let url = format!("{}/api/v1/transfers/{}", server.url, "0".repeat(32));
        client.get(url).bearer_auth(&server.token)
    };
    storm(&servers.iter().map(ask).collect::<Vec<_>>(), 10, 30).await;
    // Another token is untouched.
    let mut create = command(servers[0].environment());
    let other = create.env("BURNBAG_TOKEN", &servers[0].token).args(["token", "create"]).output().unwrap();
    assert!(other.status.success(), "{other:?}");
    let token = String::from_utf8(other.stdout).unwrap();
    let url = format!("{}/api/v1/transfers/{}", servers[0].url, "0".repeat(32));
    let answer = client.get(url).bearer_auth(token.trim()).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(item(answer.headers(), "ratelimit").0, "token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_a_burst_and_its_rate_from_three_instances_together() {
    a_token_is_limited(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_gets_a_burst_and_its_rate_from_one_process() {
    a_token_is_limited(false).await;
}

async fn a_link_is_limited(redis: bool) {
    let servers = instances(redis, &[("BURNBAG_RATE_LINK", "10/s, burst 30")]).await;
    let client = Client::new();
    let (link, other) = (servers[0].send("f", "what", "").await, servers[0].send("f", "what", "").await);
    let path = link.url.strip_prefix(&servers[0].url).unwrap();
    let ask =
        |server: &Server| client.head(format!("{}{path}", server.url)).basic_auth("x", Some(&link.secret));
    storm(&servers.iter().map(ask).collect::<Vec<_>>(), 10, 30).await;
    let answer = other.get(&client).send().await.unwrap();
    assert_eq!(answer.status(), 200, "another link is untouched");
    assert_eq!(item(answer.headers(), "ratelimit").0, "link");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_gets_a_burst_and_its_rate_from_three_instances_together() {
    a_link_is_limited(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_gets_a_burst_and_its_rate_from_one_process() {
    a_link_is_limited(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fields_say_what_is_left_and_retry_after_is_enough() {
    let mut server =
        Server::with(&[("BURNBAG_RATE_TOKEN", "1/s, burst 5"), ("BURNBAG_RATE_LINK", "1/s, burst 5")]).await;
    let client = Client::new();
    let link = server.send("f", "what", "").await;
    let page = client.get(format!("{}/", server.url)).send().await.unwrap();
    assert!(page.headers().get("ratelimit").is_none(), "no limit was consulted");
    let api =
        client.get(format!("{}/api/v1/transfers/{}", server.url, link.transfer)).bearer_auth(&server.token);
    let head = client.head(&link.url).basic_auth("x", Some(&link.secret));
    for (request, limit, used) in [(api, "token", 1), (head, "link", 0)] {
        let begun = Instant::now();
        let mut refused = 0_u64;
        let mut first = None;
        for n in 1..=12 {
            let answer = request.try_clone().unwrap().send().await.unwrap();
            let (policy, left) =
                (item(answer.headers(), "ratelimit-policy"), item(answer.headers(), "ratelimit"));
            assert_eq!(policy, (limit.to_owned(), [("q".to_owned(), 5), ("w".to_owned(), 5)].into()));
            assert_eq!(left.0, limit);
            if answer.status() == 429 {
                refused += 1;
                assert_eq!((left.1["r"], left.1["t"]), (0, retry_after(&answer)));
                first.get_or_insert((Instant::now(), retry_after(&answer)));
            } else {
                assert_eq!(answer.status(), 200);
                let passed = u64::try_from(n).unwrap() - refused + used;
                let most = 5 + begun.elapsed().as_secs() + 1 - passed.min(5);
                assert!(left.1["r"] <= most, "{left:?}, {passed} passed");
                assert!((1..=5).contains(&left.1["t"]), "{left:?}");
            }
        }
        assert!(refused >= 3, "{limit}: {refused}");
        let (since, wait) = first.unwrap();
        assert_eq!(wait, 1);
        // Others come in between, so it is waited anew after the last.
        let last = Instant::now().max(since);
        wait_for("the time that was said to be over", async || {
            (last.elapsed() >= Duration::from_secs(wait)).then_some(())
        })
        .await;
        assert_eq!(request.send().await.unwrap().status(), 200, "{limit}");
    }
    server.stop().await;
    let lines: Vec<_> = server.events().into_iter().filter(|line| line["reason"] == "rate_limited").collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    let id = link.url.rsplit('/').next().unwrap();
    for (kind, about, named) in [("login.refused", "client", "127.0.0.1"), ("download.refused", "link", id)] {
        let told = lines.iter().find(|told| told["type"] == kind).unwrap();
        assert_eq!((&told[about], &told["outcome"]), (&named.into(), &"refused".into()));
        assert!(told["count"].as_u64().unwrap() >= 3, "{told}");
    }
}

/// How many of so many requests are refused.
async fn refused(request: &RequestBuilder, times: usize) -> usize {
    let mut refused = 0;
    for _ in 0..times {
        let answer = request.try_clone().unwrap().send().await.unwrap();
        if answer.status() == 429 {
            let (name, left) = item(answer.headers(), "ratelimit");
            assert_eq!((name.as_str(), left["r"]), ("address", 0));
            assert_eq!(left["t"], retry_after(&answer));
            refused += 1;
        }
    }
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_counts_only_where_a_trusted_proxy_says_it() {
    for (proxies, believed) in [("", false), ("127.0.0.1", true)] {
        let mut server = Server::with(&[("BURNBAG_TRUSTED_PROXIES", proxies)]).await;
        server.stop().await;
        server.set("BURNBAG_RATE", "1/s, burst 10");
        server.start_again().await;
        let client = Client::new();
        let from =
            |address: &str| client.get(format!("{}/livez", server.url)).header("x-forwarded-for", address);
        assert!(refused(&from("192.0.2.1"), 20).await >= 8, "{proxies}");
        let other = refused(&from("192.0.2.2"), 5).await;
        assert_eq!(other == 0, believed, "{proxies}: {other} refused");
        // One client has a /64 to itself.
        let one = refused(&from("2001:db8:1:2::1"), 20).await;
        assert!(one >= 8, "{proxies}: {one}");
        assert!(refused(&from("2001:db8:1:2:ffff::2"), 5).await >= 3, "{proxies}: of the same /64");
        assert_eq!(refused(&from("2001:db8:1:3::1"), 5).await == 0, believed, "{proxies}: of another /64");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_is_limited_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no ::1");
        return;
    }
    let port = crate::support::free_port();
    let mut server = Server::start().await;
    server.stop().await;
    server.set("BURNBAG_LISTEN", &format!("[::1]:{port}"));
    server.set("BURNBAG_RATE", "1/s, burst 10");
    server.url = format!("http://[::1]:{port}");
    server.start_again().await;
    let request = Client::new().get(format!("{}/livez", server.url));
    assert!(refused(&request, 20).await >= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_proves_nothing_asks_nothing_of_the_store() {
    let shown = Shown::new();
    let server = shown.server(&[("BURNBAG_RATE_LINK", "1/s, burst 5")]).await;
    let client = Client::new();
    let (link, other) = (server.send("f", "what", "").await, server.send("f", "what", "").await);
    let wrong = Link { secret: other.secret.clone(), ..link.clone() };
    let asked = async || {
        let scrape = shown.scrape().await;
        ["opening", "take"].map(|what| {
            let name = "burnbag_store_operation_duration_seconds_count";
            scrape.sum(name, &format!("operation=\"{what}\"")).abs().to_string().parse::<u64>().unwrap()
        })
    };
    let before = asked().await;
    for _ in 0..20 {
        let answer = wrong.get(&client).send().await.unwrap();
        assert_eq!(answer.status(), 404);
        assert!(answer.headers().get("ratelimit").is_none());
    }
    assert_eq!(asked().await, before);
    assert_eq!(link.get(&client).send().await.unwrap().status(), 200, "it spent nothing of the link's");
    let after = asked().await;
    assert!(after[0] > before[0] && after[1] > before[1], "{before:?} {after:?}: the counters count");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_connections_with_64_ranges_are_no_flood() {
    let server = Server::with(&[
        ("BURNBAG_RATE_TOKEN", "100/s, burst 400"),
        ("BURNBAG_RATE_LINK", "100/s, burst 400"),
    ])
    .await;
    let link = server.send("f", vec![7; 64 << 10], "downloads=1").await;
    let client = Client::new();
    let parts = join_all((0..16).map(async |connection| {
        for part in (connection..64).step_by(16) {
            let range = format!("bytes={}-{}", part << 10, (part << 10) + 1023);
            let answer = link.get(&client).header("range", range).send().await.unwrap();
            assert_eq!(answer.status(), 206);
            assert_eq!(answer.bytes().await.unwrap().len(), 1024);
        }
    }));
    parts.await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_still_counts_and_deletes() {
    let server = Server::on(Stores::redis().await, &[("BURNBAG_RATE_TOKEN", "1/s, burst 3")]).await;
    let link = server.send("f", "what", "").await;
    let redis = server.stores.in_which_redis();
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let answer = Client::new().delete(&link.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(answer.status(), 204);
    assert_eq!(item(answer.headers(), "ratelimit").0, "token");
    redis.ask::<String>(&["CONFIG", "SET", "maxmemory", "0"]);
}
