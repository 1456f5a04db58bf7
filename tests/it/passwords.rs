//! A link with a password: who has both opens it, by every way; who has the link alone learns that it has one; who has not even
//! that learns nothing, and costs nothing.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::metrics_support::{Scrape, Shown};
use crate::support::{Link, Server, run, text, wait_for};

const PASSWORD: &str = "correct horse: battery stäple";

/// Sends under a password.
pub async fn send(server: &Server, name: &str, body: &str, query: &str, password: &str) -> Link {
    let put = Client::new().put(format!("{}/{name}?{query}", server.url)).basic_auth("", Some(&server.token));
    let answer =
        put.header("burnbag-password", password.as_bytes()).body(body.to_owned()).send().await.unwrap();
    let transfer = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
    Link::parse(answer.text().await.unwrap().trim_end(), &transfer)
}

/// A GET as a tool sends it.
pub fn with(client: &Client, link: &Link, password: &str) -> RequestBuilder {
    client.get(&link.url).basic_auth("x", Some(format!("{}:{password}", link.secret)))
}

pub async fn code(request: RequestBuilder) -> (u16, String) {
    let answer = request.header("accept", "application/json").send().await.unwrap();
    let status = answer.status().as_u16();
    let body: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default();
    (status, body["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

/// How often Argon2id ran over a password that somebody gave for a link.
pub fn checks(scrape: &Scrape) -> f64 {
    ["right", "wrong"]
        .map(|outcome| {
            scrape.value(&format!("burnbag_password_checks_total{{outcome=\"{outcome}\"}}")).unwrap()
        })
        .iter()
        .sum()
}

/// How often the record store was asked for this.
pub fn asked(scrape: &Scrape, operation: &str) -> f64 {
    let labels = format!("operation=\"{operation}\"");
    scrape.sum("burnbag_store_operation_duration_seconds_count", &labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_password_opens_a_link_by_every_way_and_no_other_does() {
    let server = super::serve(&[]).await;
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let link = send(&server, "f", "what", "", PASSWORD).await;
    let id = link.url.rsplit('/').next().unwrap();
    let shown = server.transfer(&link.transfer).await;
    assert_eq!(shown["links"][0]["password"], true);

    // A tool is told how to say it, and asked in a way that makes curl and browsers ask.
    let answer = link.get(&client).send().await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.headers()["www-authenticate"], format!("Basic realm=\"burnbag {id}\""));
    let said = answer.text().await.unwrap();
    assert!(said.contains("'x:<secret>:<password>'") && said.ends_with("(password_required)\n"), "{said}");
    for below in ["", "/", "/f"] {
        let ask = |password: &str| {
            let secret = format!("{}:{password}", link.secret);
            client.get(format!("{}{below}", link.url)).basic_auth("x", Some(secret))
        };
        assert_eq!(code(link.get(&client)).await, refused(401, "password_required"), "{below}");
        assert_eq!(code(ask("")).await, refused(401, "password_required"), "{below}");
        assert_eq!(ask(PASSWORD).send().await.unwrap().status(), 200, "{below}");
    }
    assert_eq!(code(with(&client, &link, "correct horse")).await, refused(401, "password_wrong"));
    assert_eq!(code(with(&client, &link, &"x".repeat(5000))).await, refused(401, "password_wrong"));
    let got = with(&client, &link, PASSWORD).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "what");
    let who = format!("x:{}:{PASSWORD}", link.secret);
    let by_curl = run("curl", &["-sS", "--fail-with-body", "-u", &who, &link.url]).await;
    assert_eq!(text(&by_curl.stdout), "what");

    // The page: the ticket holds what the password gave, and opens without it.
    let ask = |said: Value| client.post(format!("{}/ticket", link.url)).json(&said);
    let secret = &link.secret;
    assert_eq!(code(ask(json!({"secret": secret}))).await, refused(401, "password_required"));
    assert_eq!(code(ask(json!({"secret": secret, "password": "no"}))).await, refused(401, "password_wrong"));
    let ticket = ask(json!({"secret": secret, "password": PASSWORD})).send().await.unwrap();
    assert_eq!(ticket.status(), 200);
    let form = |password: &str| {
        let form = client.post(&link.url).header("content-type", "application/x-www-form-urlencoded");
        let pasted = link.whole.replace('#', "%23").replace(':', "%3A").replace('/', "%2F");
        form.body(format!("secret={pasted}&password={}", password.replace(' ', "+")))
    };
    assert_eq!(code(form("")).await, refused(401, "password_required"));
    let posted = form(PASSWORD).send().await.unwrap();
    assert_eq!(posted.status(), StatusCode::SEE_OTHER);
    for answer in [ticket, posted] {
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        for below in ["/", "/f"] {
            let got = client.get(format!("{}{below}", link.url)).header("cookie", &cookie);
            assert_eq!(got.send().await.unwrap().status(), 200, "{below}");
        }
    }
    // A link without one asks for none.
    let open = server.send("g", "open", "").await;
    assert_eq!(with(&client, &open, "whatever").send().await.unwrap().text().await.unwrap(), "open");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unproven_secret_gets_the_one_404_and_costs_neither_a_look_up_nor_argon2() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let client = Client::new();
    let link = send(&server, "f", "what", "", PASSWORD).await;
    let other = server.send("f", "what", "").await;
    let unknown = Link { url: format!("{}/d/{}", server.url, "0".repeat(32)), ..link.clone() };
    let wrong = Link { secret: other.secret.clone(), ..link.clone() };
    let cut = Link { secret: link.secret[..42].to_owned(), ..link.clone() };
    let before = shown.scrape().await;
    let mut first = None;
    for link in [&unknown, &wrong, &cut] {
        for password in ["", "guess", PASSWORD] {
            for ticket in [false, true] {
                let request = if ticket {
                    let said = json!({"secret": link.secret, "password": password});
                    client.post(format!("{}/ticket", link.url)).json(&said)
                } else {
                    with(&client, link, password)
                };
                let answer = request.send().await.unwrap();
                let (status, mut headers) = (answer.status(), answer.headers().clone());
                headers.remove("x-request-id");
                headers.remove("date");
                let whole = (status, headers, answer.text().await.unwrap());
                assert_eq!(whole.0, 404);
                assert_eq!(first.get_or_insert_with(|| whole.clone()), &whole, "{password} {ticket}");
            }
        }
    }
    let after = shown.scrape().await;
    for operation in ["opening", "slot", "transfer", "take_try", "give_back_try"] {
        assert!((asked(&after, operation) - asked(&before, operation)).abs() < 0.5, "{operation}");
    }
    assert!((checks(&after) - checks(&before)).abs() < 0.5);
    // The counters do move: the same with the proof.
    assert_eq!(with(&client, &link, PASSWORD).send().await.unwrap().status(), 200);
    let proven = shown.scrape().await;
    assert!(asked(&proven, "opening") > asked(&after, "opening"));
    assert!((checks(&proven) - checks(&after) - 1.0).abs() < 0.5);
    // And a link without a try left is looked up, and no more.
    assert_eq!(code(link.get(&client)).await, refused(401, "password_required"));
    assert!((checks(&shown.scrape().await) - checks(&proven)).abs() < 0.5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_derived_once_for_all_the_ranges_of_a_download() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let client = Client::new();
    let link = send(&server, "f", &"what".repeat(1000), "", PASSWORD).await;
    for n in 0..20 {
        let range = format!("bytes={}-{}", n * 200, n * 200 + 199);
        let got = with(&client, &link, PASSWORD).header("range", range).send().await.unwrap();
        assert_eq!(got.status(), 206);
    }
    // By tickets too, whose password was right a moment ago.
    let said = json!({"secret": link.secret, "password": PASSWORD});
    let ticket = client.post(format!("{}/ticket", link.url)).json(&said).send().await.unwrap();
    assert_eq!(ticket.status(), 200);
    let scrape = shown.scrape().await;
    assert_eq!(scrape.value("burnbag_password_checks_total{outcome=\"right\"}"), Some(1.0));
    assert_eq!(scrape.value("burnbag_password_checks_total{outcome=\"new\"}"), Some(1.0));
    let none = server.transfer(&link.transfer).await;
    assert_eq!(none["links"][0]["tries"], 0, "one that was right is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_takes_a_password_before_and_after_its_files_and_an_empty_one_is_none() {
    let server = super::serve(&[]).await;
    let client = Client::new();
    for (before, after, locked) in
        [(Some(PASSWORD), None, true), (None, Some(PASSWORD), true), (Some(""), Some(""), false)]
    {
        let mut form = reqwest::multipart::Form::new();
        // What a page's form sends of fields that were left empty.
        form = form.text("expires", "").text("downloads", "");
        if let Some(password) = before {
            form = form.text("password", password.to_owned());
        }
        form = form.part("file", reqwest::multipart::Part::text("what").file_name("f"));
        if let Some(password) = after {
            form = form.text("password", password.to_owned());
        }
        let post = client.post(format!("{}/", server.url)).basic_auth("", Some(&server.token));
        let answer = post.multipart(form).send().await.unwrap();
        assert_eq!(answer.status(), 201);
        let link = Link::parse(answer.text().await.unwrap().trim_end(), "");
        let alone = link.get(&client).send().await.unwrap().status();
        assert_eq!(alone.as_u16(), if locked { 401 } else { 200 });
        assert_eq!(with(&client, &link, PASSWORD).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tries_make_the_next_one_wait_and_the_owner_lifts_it() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let client = Client::new();
    let link = send(&server, "f", "what", "", PASSWORD).await;
    let id = link.url.rsplit('/').next().unwrap();
    let begun = Instant::now();
    let answers = join_all((0..30).map(|n| code(with(&client, &link, &format!("guess {n}"))))).await;
    let count = |what: &str| answers.iter().filter(|(_, code)| code == what).count();
    let (wrong, waiting, busy) =
        (count("password_wrong"), count("too_many_attempts"), count("password_busy"));
    assert_eq!(wrong + waiting + busy, 30, "{answers:?}");
    // Five at once; a further one for each delay that has passed meanwhile.
    let most = 5 + usize::from(begun.elapsed() >= Duration::from_secs(1)) * 4;
    assert!((1..=most).contains(&wrong), "{wrong} in {:?}", begun.elapsed());
    let scrape = shown.scrape().await;
    assert_eq!(
        scrape.value("burnbag_password_checks_total{outcome=\"wrong\"}"),
        u32::try_from(wrong).ok().map(f64::from)
    );
    let view = server.transfer(&link.transfer).await["links"][0].clone();
    assert_eq!((&view["tries"], &view["stopped"]), (&json!(wrong), &json!(false)));

    // Whoever has to wait is told how long, the right password too; and then it opens.
    let more = async || {
        let answer = with(&client, &link, "guess again").send().await.unwrap();
        (answer.status() == 429).then_some(answer)
    };
    let waits = wait_for("a wait", more).await;
    let seconds: u64 = waits.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=300).contains(&seconds), "{seconds}");
    assert!(waits.text().await.unwrap().ends_with("(too_many_attempts)\n"));
    let failed = server.transfer(&link.transfer).await["links"][0]["tries"].clone();
    wait_for("the right password", async || {
        let got = with(&client, &link, PASSWORD).send().await.unwrap();
        (got.status() == 200).then_some(())
    })
    .await;
    let view = server.transfer(&link.transfer).await["links"][0].clone();
    assert_eq!(view["tries"], failed, "its own try alone is given back");

    // Only who owns it lifts it.
    let unlock = |id: &str, link: &str| {
        client.post(format!("{}/api/v1/transfers/{id}/links/{link}/unlock", server.url))
    };
    assert_eq!(code(unlock(&link.transfer, id)).await, refused(401, "token_required"));
    for (transfer, link) in
        [(link.transfer.as_str(), "0"), (&"0".repeat(32), id), (&link.transfer, &"0".repeat(32))]
    {
        let asked = unlock(transfer, link).basic_auth("", Some(&server.token));
        assert_eq!(code(asked).await, refused(404, "not_found"), "{transfer} {link}");
    }
    for _ in 0..2 {
        let lifted = unlock(&link.transfer, id).basic_auth("", Some(&server.token)).send().await.unwrap();
        assert_eq!(lifted.status(), 204);
    }
    assert_eq!(server.transfer(&link.transfer).await["links"][0]["tries"], 0);
    wait_for("the event", async || {
        let events = server.events();
        let mut lifted = events.iter().filter(|event| event["type"] == "link.unlocked");
        lifted.next().filter(|event| event["link"] == id && event["actor"]["kind"] == "account").map(|_| ())
    })
    .await;
    assert_eq!(server.events().iter().filter(|event| event["type"] == "link.unlocked").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_whose_tokens_fail_waits_and_a_good_token_never_does() {
    let shown = Shown::new();
    let server = super::serve(&[shown.setting()]).await;
    let client = Client::new();
    let me = |token: &str| {
        client.get(format!("{}/api/v1/transfers/{}", server.url, "0".repeat(32))).bearer_auth(token)
    };
    let failing = async || {
        let answer = me("bb_usr_nonsense").send().await.unwrap();
        (answer.status().as_u16(), answer.headers().get("retry-after").cloned())
    };
    for n in 0..20 {
        assert_eq!(failing().await, (401, None), "after {n}");
    }
    let (status, after) =
        wait_for("a wait", async || Some(failing().await).filter(|(status, _)| *status == 429)).await;
    assert!(after.is_some(), "{status}");
    let before = shown.scrape().await;
    for _ in 0..30 {
        assert_eq!(code(me(&server.token)).await, refused(404, "not_found"), "a good token is let in");
    }
    let scrape = shown.scrape().await;
    assert!((asked(&scrape, "take_try") - asked(&before, "take_try")).abs() < 0.5, "and costs nothing more");
    assert!((asked(&scrape, "login") - asked(&before, "login") - 30.0).abs() < 0.5);
}
