//! One answer for every link that opens nothing, whatever the reason: the same status, headers and bytes, in every form that
//! somebody may ask for; and who proves no secret makes nobody look anything up (DESIGN §6, §10).

use std::collections::BTreeMap;

use burnbag::crypto::LinkSecret;

use crate::metrics_support::{Scrape, Shown};
use crate::support::{Link, Server, basic, wait_for};

/// What is asked of the stores whether anybody comes or not: by the workers, and for a scrape.
const BY_ITSELF: [&str; 13] = [
    "blobs free",
    "blobs store_id",
    "records append",
    "records claim",
    "records claim_these",
    "records front",
    "records next_due",
    "records now",
    "records outbox",
    "records outbox_length",
    "records room",
    "records transfers",
    "records trim",
];

/// An answer as it came, but for what differs each time: the date, and the request's id wherever it is.
pub fn alike(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
    let id = field("x-request-id: ").unwrap_or_else(|| panic!("no request id: {answer}"));
    assert!(field("date: ").is_some(), "no date: {answer}");
    let lines: Vec<_> = head
        .split("\r\n")
        .filter(|line| !line.starts_with("date: ") && !line.starts_with("x-request-id: "))
        .collect();
    format!("{}\r\n\r\n{}", lines.join("\r\n"), body.replace(id, "ID"))
}

/// A link that nobody made, with a secret that proves its id.
pub fn unknown(server: &Server) -> Link {
    let secret = LinkSecret::generate();
    let id = hex::encode(secret.link_id(0));
    Link::parse(&format!("{}/d/{id}#{}", server.url, secret.to_text().as_str()), "")
}

/// How often each operation of the two stores was asked for.
pub fn asked(scrape: &Scrape) -> BTreeMap<String, u64> {
    let of = "burnbag_store_operation_duration_seconds_count{";
    let samples = scrape.0.lines().filter_map(|line| line.strip_prefix(of)?.rsplit_once("} "));
    samples
        .map(|(labels, count)| {
            let label = |name: &str| labels.split(name).nth(1).unwrap().split('"').nth(1).unwrap();
            (format!("{} {}", label("store="), label("operation=")), count.parse().unwrap())
        })
        .collect()
}

/// The operations that were asked for between two scrapes, but those that need nobody.
pub fn asked_between(before: &Scrape, after: &Scrape) -> BTreeMap<String, u64> {
    let (before, mut after) = (asked(before), asked(after));
    for (operation, count) in &mut after {
        *count -= before.get(operation).copied().unwrap_or_default();
    }
    after.retain(|operation, count| *count > 0 && !BY_ITSELF.contains(&operation.as_str()));
    after
}

/// Takes a link back.
async fn take_back(server: &Server, link: &Link) {
    let id = link.url.rsplit('/').next().unwrap();
    let url = format!("{}/api/v1/transfers/{}/links/{id}", server.url, link.transfer);
    let revoke = reqwest::Client::new().delete(url).basic_auth("", Some(&server.token));
    assert_eq!(revoke.send().await.unwrap().status(), 204);
}

async fn end(server: &Server, link: &Link) {
    let end = reqwest::Client::new().delete(&link.url).basic_auth("", Some(&server.token));
    assert_eq!(end.send().await.unwrap().status(), 204);
}

/// Links that open nothing, each for another reason.
async fn closed(server: &Server, live: &Link) -> Vec<(&'static str, Link)> {
    let send = async |query: &str| server.send("f", "what", query).await;
    let (expired, exhausted) = (send("expires=1s").await, send("downloads=1").await);
    let (deleted, revoked, other) = (send("").await, send("").await, send("").await);
    let got = exhausted.get(&reqwest::Client::new()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "what");
    end(server, &deleted).await;
    take_back(server, &revoked).await;
    for (link, reason) in [(&expired, "expired"), (&exhausted, "exhausted")] {
        let ended = async || (server.transfer(&link.transfer).await["reason"] == reason).then_some(());
        wait_for(reason, ended).await;
    }
    let with = |secret: &str| Link { secret: secret.to_owned(), ..live.clone() };
    let at = |id: &str| Link { url: format!("{}/d/{id}", server.url), ..live.clone() };
    let mut nearly = live.secret.clone();
    let last = if nearly.pop() == Some('A') { 'B' } else { 'A' };
    nearly.push(last);
    vec![
        ("unknown", unknown(server)),
        ("expired", expired),
        ("exhausted", exhausted),
        ("deleted", deleted),
        ("revoked", revoked),
        ("wrong secret", with(&other.secret)),
        ("nearly the secret", with(&nearly)),
        ("no secret at all", with("nonsense")),
        ("secret of another id", at(&"0".repeat(32))),
        ("no id at all", at("nonsense")),
    ]
}

/// A form of request: method, what follows the link's address, headers and body.
struct Form {
    what: String,
    of: Box<dyn Fn(&Link) -> String>,
}

fn path(link: &Link) -> String {
    let (_, path) = link.url.trim_start_matches("http://").split_once('/').unwrap();
    format!("/{path}")
}

/// Every form that asks a link for something, with every `Accept`.
fn forms() -> Vec<Form> {
    let mut forms = Vec::new();
    for accept in [None, Some("*/*"), Some("application/json"), Some("text/html"), Some("image/*")] {
        let accept = accept.map_or_else(String::new, |accept| format!("accept: {accept}\r\n"));
        for method in ["GET", "HEAD"] {
            for below in ["", "/", "/f", "/other", "/f/"] {
                let accept = accept.clone();
                let what = format!("{method} {below} {accept}");
                let of = move |link: &Link| {
                    let proof = basic("x", &link.secret);
                    let path = path(link);
                    format!(
                        "{method} {path}{below} HTTP/1.1\r\nhost: b\r\nauthorization: {proof}\r\nconnection: close\r\n{accept}\r\n"
                    )
                };
                forms.push(Form { what, of: Box::new(of) });
            }
        }
        for (below, kind) in [
            ("/ticket", "application/json"),
            ("/ticket", "application/x-www-form-urlencoded"),
            ("", "application/x-www-form-urlencoded"),
        ] {
            let accept = accept.clone();
            let what = format!("POST {below} {kind} {accept}");
            let of = move |link: &Link| {
                let body = match kind {
                    "application/json" => format!("{{\"secret\":\"{}\"}}", link.secret),
                    _ => format!("secret={}", link.secret),
                };
                let (path, length) = (path(link), body.len());
                format!(
                    "POST {path}{below} HTTP/1.1\r\nhost: b\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n{accept}\r\n{body}"
                )
            };
            forms.push(Form { what, of: Box::new(of) });
        }
    }
    forms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_link_does_not_open_for_its_answer_is_the_same() {
    let server =
        super::serve(&[("BURNBAG_LEASE_RETRY", "1s"), ("BURNBAG_RATE_LINK", "1000/s, burst 10000")]).await;
    let live = server.send("f", "what", "").await;
    let closed = closed(&server, &live).await;
    let mut answers = BTreeMap::new();
    for form in forms() {
        let ask = async |link: &Link| alike(&server.raw((form.of)(link).as_bytes(), true).await);
        let first = ask(&closed[0].1).await;
        assert!(first.starts_with("HTTP/1.1 404 Not Found\r\n"), "{}: {first}", form.what);
        assert!(!first.contains("set-cookie"), "{first}");
        for (why, link) in &closed[1..] {
            assert_eq!(ask(link).await, first, "{} of one that is {why}", form.what);
        }
        // The form is one that opens what opens; there is no folder of this name, and no other file.
        let opens = ask(&live).await;
        let status = if form.what.contains("other") || form.what.contains("/f/") { "404" } else { "20" };
        let (is_there, leads_on) = (format!("HTTP/1.1 {status}"), "HTTP/1.1 303");
        assert!(opens.starts_with(&is_there) || opens.starts_with(leads_on), "{}: {opens}", form.what);
        answers.insert(form.what, first);
    }
    // HEAD is GET without the body.
    for (what, answer) in answers.iter().filter(|(what, _)| what.starts_with("HEAD")) {
        let get = &answers[&what.replacen("HEAD", "GET", 1)];
        assert_eq!(get.split_once("\r\n\r\n").unwrap().0, answer.trim_end(), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_used_up_answers_others_as_one_that_nobody_made() {
    let server = super::serve(&[]).await;
    let link = server.send("f", "what", "downloads=1").await;
    let got = link.get(&reqwest::Client::new()).header("user-agent", "first").send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "what");
    wait_for("the count", async || {
        (server.transfer(&link.transfer).await["links"][0]["used"] == 1).then_some(())
    })
    .await;
    // Its lease is open for a retry, and so is the transfer.
    for form in
        forms().into_iter().filter(|form| form.what.starts_with("GET  ") || form.what.starts_with("GET /f "))
    {
        let used_up = alike(&server.raw((form.of)(&link).as_bytes(), true).await);
        let nobodys = alike(&server.raw((form.of)(&unknown(&server)).as_bytes(), true).await);
        assert_eq!(used_up, nobodys, "{}", form.what);
        assert!(used_up.starts_with("HTTP/1.1 404 "), "{used_up}");
    }
    assert_eq!(server.transfer(&link.transfer).await["state"], "available");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proves_no_secret_makes_nobody_look_anything_up() {
    const ROUNDS: usize = 3;
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let live = server.send("f", "what", "").await;
    let other = server.send("f", "what", "").await;
    let nobodys = unknown(&server);
    let with = |link: &Link, secret: &str| Link { secret: secret.to_owned(), ..link.clone() };
    let unproven = [
        with(&live, &other.secret),
        with(&live, "nonsense"),
        with(&live, ""),
        with(&nobodys, &live.secret),
        with(&nobodys, "nonsense"),
    ];
    let ask = async |request: &str| {
        let answer = server.raw(request.as_bytes(), true).await;
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let before = shown.scrape().await;
    let mut asked = 0;
    for _ in 0..ROUNDS {
        for link in &unproven {
            for form in forms() {
                assert_eq!(ask(&(form.of)(link)).await, "404", "{}", form.what);
                asked += 1;
            }
        }
        for link in [&live, &nobodys] {
            // Nothing offered, or no ticket.
            for offered in ["", "cookie: __Secure-bb-d=nonsense\r\n", "authorization: Bearer nonsense\r\n"] {
                for below in ["", "/", "/f"] {
                    let path = path(link);
                    let get = format!(
                        "GET {path}{below} HTTP/1.1\r\nhost: b\r\nconnection: close\r\n{offered}\r\n"
                    );
                    assert_eq!(ask(&get).await, "401", "{below} with {offered}");
                    asked += 1;
                }
            }
        }
    }
    let after = shown.scrape().await;
    assert!(asked > 200);
    assert_eq!(asked_between(&before, &after), BTreeMap::new(), "after {asked} requests");
    // One that proves its secret is looked up, once; and one that is there gives its file.
    let get = &forms()[0];
    assert_eq!(ask(&(get.of)(&nobodys)).await, "404");
    let looked_up = shown.scrape().await;
    assert_eq!(asked_between(&after, &looked_up), BTreeMap::from([("records opening".to_owned(), 1)]));
    assert_eq!(ask(&(get.of)(&live)).await, "200");
    let fetched = asked_between(&looked_up, &shown.scrape().await);
    assert_eq!((fetched["records opening"], fetched["records lease_open"]), (1, 1), "{fetched:?}");
}
