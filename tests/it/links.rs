//! Several links of one transfer: each with its own secret, limit and deadline, shown again to the owner, and taken back.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::access::Api;
use crate::bad_input::problem;
use crate::support::{Link, Server, noise, wait_for};
use crate::trail::{SlowReader, client, count, instant, now};

/// A further link; what the API says of it, and the link itself.
pub async fn add(server: &Server, transfer: &str, options: Value) -> (Value, Link) {
    let path = format!("/api/v1/transfers/{transfer}/links");
    let (status, made) = Api::of(server, &server.token).post(&path, options).await;
    assert_eq!(status, 201, "{made}");
    let link = Link::parse(made["url"].as_str().unwrap(), transfer);
    (made, link)
}

fn id_of(link: &Link) -> String {
    link.url.rsplit('/').next().unwrap().to_owned()
}

fn path_of(link: &Link) -> String {
    format!("/api/v1/transfers/{}/links/{}", link.transfer, id_of(link))
}

async fn status(link: &Link, by: &str) -> StatusCode {
    let answer = link.get(&client(by)).send().await.unwrap();
    let status = answer.status();
    let _ = answer.bytes().await;
    status
}

fn slots(server: &Server) -> usize {
    server.stores.slots(&server.data()).len()
}

async fn told(server: &Server, link: &Link, kind: &str) {
    wait_for(kind, async || (count(server, &link.transfer, kind) > 0).then_some(())).await;
    let events = server.events();
    let of_link = events.iter().filter(|event| event["type"] == kind && event["link"] == id_of(link));
    assert_eq!(of_link.count(), 1, "{kind}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_link_has_a_limit_a_deadline_and_a_label_of_its_own() {
    let server = super::serve(&[("BURNBAG_LEASE_RETRY", "1s")]).await;
    let first = server.send("a.txt", "hello", "downloads=1&expires=1h").await;
    let (made, second) =
        add(&server, &first.transfer, json!({"downloads": 2, "label": "for Bob, ünd söns"})).await;
    assert_eq!(made["label"], "for Bob, ünd söns");
    assert_eq!((&made["downloads"], &made["used"], &made["password"]), (&json!(2), &json!(0), &json!(false)));
    assert!(made["deadline"].is_null() && made["last_used"].is_null() && made["revoked"] == false);
    assert!(instant(&made["created"]) <= now());
    let host = server.address();
    let tool = format!("http://x:{}@{host}/d/{}/a.txt", second.secret, id_of(&second));
    assert_eq!(made["tool_url"], tool);
    let (made, third) = add(&server, &first.transfer, json!({"deadline": "3s", "downloads": null})).await;
    let own = instant(&made["deadline"]);
    assert!(made["downloads"].is_null() && made["label"].is_null());
    assert_eq!(slots(&server), 4, "the owner's and one for each link");

    // Each is counted for itself.
    let before = now();
    assert_eq!(status(&second, "one").await, 200);
    assert_eq!(status(&third, "one").await, 200);
    assert!(now() < own, "too slow a machine for this test");
    assert_eq!(status(&first, "one").await, 200);
    wait_for("the count of the first", async || (status(&first, "two").await == 404).then_some(())).await;
    assert_eq!(status(&second, "two").await, 200);
    wait_for("the count of the second", async || (status(&second, "three").await == 404).then_some(())).await;
    let shown = server.transfer(&first.transfer).await;
    let used: Vec<_> = shown["links"].as_array().unwrap().iter().map(|link| link["used"].clone()).collect();
    assert_eq!(used[..2], [json!(1), json!(2)]);
    for link in shown["links"].as_array().unwrap() {
        let last = instant(&link["last_used"]);
        assert!(before <= last && last <= now(), "{link}");
    }
    // The third ends by itself, and with it the transfer: what stands is used up.
    wait_for("the deadline of the third", async || (now() >= own).then_some(())).await;
    assert_eq!(status(&third, "two").await, 404);
    told(&server, &third, "link.expired").await;
    let ended = wait_for("the end", async || {
        let transfer = server.transfer(&first.transfer).await;
        (transfer["state"] != "available").then_some(transfer)
    })
    .await;
    assert_eq!(ended["reason"], "exhausted");
    assert_eq!(slots(&server), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_past_its_own_deadline_has_no_slot_and_the_others_go_on() {
    let server = super::serve(&[]).await;
    let first = server.send("a.txt", "hello", "").await;
    let (made, second) = add(&server, &first.transfer, json!({"deadline": "2s"})).await;
    let own = instant(&made["deadline"]);
    wait_for("the slot to go", async || (slots(&server) == 2).then_some(())).await;
    assert!(now() >= own);
    assert_eq!(status(&second, "one").await, 404);
    assert_eq!(status(&first, "one").await, 200);
    told(&server, &second, "link.expired").await;
    assert_eq!(server.transfer(&first.transfer).await["state"], "available");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_taken_back_is_the_one_404_and_has_no_slot() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let first = server.send("a.txt", "hello", "").await;
    let (_, second) = add(&server, &first.transfer, json!({})).await;
    let before = server.stores.slots(&server.data());
    assert_eq!(before.len(), 3);
    for _ in 0..3 {
        assert_eq!(admin.delete(&path_of(&second)).await.0, 204);
        let after = server.stores.slots(&server.data());
        assert_eq!(after.len(), 2);
        assert!(after.iter().all(|slot| before.contains(slot)), "the others stay as they are");
    }
    assert_eq!(status(&second, "one").await, 404);
    assert_eq!(status(&first, "one").await, 200);
    // The same answer as for a link that never was.
    let unknown = Link { url: second.url.replace(&id_of(&second), &"0".repeat(32)), ..second.clone() };
    let said = async |link: &Link| {
        let answer = link.get(&client("one")).send().await.unwrap();
        let mut headers = answer.headers().clone();
        headers.remove("date");
        headers.remove("x-request-id");
        (answer.status(), headers, answer.bytes().await.unwrap())
    };
    assert_eq!(said(&second).await, said(&unknown).await);
    let (_, shown) = admin.get(&path_of(&second)).await;
    assert_eq!(shown["revoked"], true);
    told(&server, &second, "link.revoked").await;
    for nowhere in ["0", &"0".repeat(32), "zz"] {
        let path = format!("/api/v1/transfers/{}/links/{nowhere}", first.transfer);
        assert_eq!((admin.delete(&path).await.0, admin.get(&path).await.0), (404, 404), "{nowhere}");
    }
    // A link of another transfer is none of this one.
    let other = server.send("b.txt", "hello", "").await;
    let path = format!("/api/v1/transfers/{}/links/{}", other.transfer, id_of(&first));
    assert_eq!((admin.delete(&path).await.0, admin.get(&path).await.0), (404, 404));
    assert_eq!(status(&first, "two").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_download_of_a_link_that_is_taken_back_is_cut() {
    let server = super::serve(&[]).await;
    let first = server.send("big", noise(32 << 20, 1), "").await;
    let (_, second) = add(&server, &first.transfer, json!({})).await;
    let reader = async |link: &Link| {
        let link = link.clone();
        let read = move || {
            let mut reader = SlowReader::get(&link, "slow");
            assert!(reader.read(100_000));
            reader
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    };
    let (revoked, other) = (reader(&second).await, reader(&first).await);
    assert_eq!(Api::of(&server, &server.token).delete(&path_of(&second)).await.0, 204);
    let began = now();
    wait_for("the download to be cut", async || server.log().contains("download cut").then_some(())).await;
    assert!(now().since(began).as_secs() <= 20);
    let revoked = revoked.read_out().await;
    assert!(revoked.taken < revoked.length);
    let other = other.read_out().await;
    assert_eq!(other.taken, other.length, "the other link's goes on");
}

#[tokio::test]
async fn a_transfer_without_a_link_that_stands_can_get_a_new_one() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let first = server.send("a.txt", "hello", "downloads=1").await;
    let (_, second) = add(&server, &first.transfer, json!({})).await;
    for link in [&first, &second] {
        assert_eq!(admin.delete(&path_of(link)).await.0, 204);
        assert_eq!(status(link, "one").await, 404);
    }
    assert_eq!(slots(&server), 1, "the owner's");
    assert_eq!(server.transfer(&first.transfer).await["state"], "available");
    let (_, third) = add(&server, &first.transfer, json!({})).await;
    assert_eq!(third.get(&Client::new()).send().await.unwrap().text().await.unwrap(), "hello");
    for old in [&first, &second] {
        assert!(old.secret != third.secret && status(old, "one").await == 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_shown_again_to_its_owner_and_to_nobody_else() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let (_, member) = admin.account("mia", "member").await;
    let (_, other) = admin.account("otto", "member").await;
    let (_, auditor) = admin.account("aud", "auditor").await;
    let (mia, otto, auditor) =
        (Api::of(&server, &member), Api::of(&server, &other), Api::of(&server, &auditor));
    let (_, sent) = mia.send().await;
    let first = sent.unwrap();
    let path = format!("/api/v1/transfers/{}/links", first.transfer);
    let (status_made, made) = mia.post(&path, json!({"label": "x"})).await;
    assert_eq!(status_made, 201);
    let second = Link::parse(made["url"].as_str().unwrap(), &first.transfer);
    for link in [&first, &second] {
        let (code, shown) = mia.get(&path_of(link)).await;
        assert_eq!((code, shown["url"].as_str()), (200, Some(link.whole.as_str())));
    }
    let (code, list) = mia.get(&path).await;
    assert_eq!((code, list["items"].as_array().unwrap().len(), &list["next"]), (200, 2, &Value::Null));
    assert_eq!(list["items"][1], made);
    for stranger in [&otto, &auditor, &admin] {
        let (code, list) = stranger.get(&path).await;
        assert_eq!(code, 200);
        let said = list.to_string();
        assert!(!said.contains(&first.secret) && !said.contains(&second.secret) && !said.contains("url"));
        let (code, said) = stranger.post(&path, json!({})).await;
        assert_eq!((code, said["code"].as_str()), (403, Some("capability_missing")));
    }
    for stranger in [&otto, &auditor] {
        let (code, said) = stranger.delete(&path_of(&second)).await;
        assert_eq!((code, said["code"].as_str()), (403, Some("capability_missing")));
    }
    assert_eq!(status(&second, "one").await, 200);
    assert_eq!(admin.delete(&path_of(&second)).await.0, 204, "who may end any may take back any");
    assert_eq!(status(&second, "one").await, 404);
    // After the end they are listed, and none has its secret.
    assert_eq!(mia.delete(&format!("/api/v1/transfers/{}", first.transfer)).await.0, 204);
    let (code, list) = mia.get(&path).await;
    assert!(code == 200 && !list.to_string().contains("url"), "{list}");
    assert_eq!(mia.delete(&path_of(&first)).await.0, 204, "gone is what was asked for");
    let (code, said) = mia.post(&path, json!({})).await;
    assert_eq!((code, said["code"].as_str()), (409, Some("transfer_ended")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_option_of_a_link_is_refused_with_its_name_and_what_it_takes() {
    let server = super::serve(&[]).await;
    let link = server.send("a.txt", "hello", "expires=2h").await;
    let url = format!("{}/api/v1/transfers/{}/links", server.url, link.transfer);
    let post = |body: &str| {
        let post = Client::new().post(&url).bearer_auth(&server.token);
        post.header("content-type", "application/json").body(body.to_owned())
    };
    let long = format!(r#"{{"label": "{}"}}"#, "ü".repeat(101));
    for (body, code, field) in [
        (r#"{"downloads": 0}"#, "option_invalid", "downloads"),
        (r#"{"downloads": -1}"#, "option_invalid", "downloads"),
        (r#"{"downloads": 1.5}"#, "option_invalid", "downloads"),
        (r#"{"downloads": 1000000000000000000000000000000}"#, "option_invalid", "downloads"),
        (r#"{"downloads": 1000001}"#, "option_invalid", "downloads"),
        (r#"{"downloads": "1"}"#, "option_invalid", "downloads"),
        (r#"{"downloads": 1, "downloads": 2}"#, "option_conflict", "downloads"),
        (r#"{"deadline": "2001-01-01T00:00:00Z"}"#, "option_invalid", "deadline"),
        (r#"{"deadline": "0s"}"#, "option_invalid", "deadline"),
        (r#"{"deadline": "3h"}"#, "option_invalid", "deadline"),
        (r#"{"deadline": "9999-01-01T00:00:00Z"}"#, "option_invalid", "deadline"),
        (r#"{"deadline": 60}"#, "option_invalid", "deadline"),
        (r#"{"label": ""}"#, "option_invalid", "label"),
        (r#"{"label": "two\nlines"}"#, "option_invalid", "label"),
        (r#"{"label": "\u0000"}"#, "option_invalid", "label"),
        (r#"{"label": 7}"#, "option_invalid", "label"),
        (&long, "option_invalid", "label"),
        (r#"{"lable": "x"}"#, "option_unknown", "lable"),
    ] {
        let said = problem(&server, post(body)).await;
        assert_eq!(
            (said.status, said.code.as_str(), said.field.as_deref()),
            (422, code, Some(field)),
            "{body}"
        );
    }
    // What is refused says what it takes.
    let answer = post(r#"{"deadline": "3h"}"#).send().await.unwrap();
    let said: Value = answer.json().await.unwrap();
    let deadline = server.transfer(&link.transfer).await["deadline"].as_str().unwrap().to_owned();
    assert!(said["detail"].as_str().unwrap().contains(&deadline), "{said}");
    for body in ["{", "[]", "\"\"", "{} {}"] {
        assert_eq!(problem(&server, post(body)).await.code, "request_malformed", "{body}");
    }
    let none = Client::new().post(&url).body("{}");
    assert_eq!(problem(&server, none).await.code, "token_required");
    for nowhere in ["0", &"0".repeat(32)] {
        let url = format!("{}/api/v1/transfers/{nowhere}/links", server.url);
        for method in [Method::GET, Method::POST] {
            let ask = Client::new().request(method, &url).bearer_auth(&server.token);
            assert_eq!(problem(&server, ask).await.code, "not_found");
        }
    }
    assert_eq!(server.transfer(&link.transfer).await["links"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transfer_takes_a_hundred_links_those_taken_back_among_them() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let first = server.send("a.txt", "hello", "").await;
    let path = format!("/api/v1/transfers/{}/links", first.transfer);
    let (_, second) = add(&server, &first.transfer, json!({})).await;
    assert_eq!(admin.delete(&path_of(&second)).await.0, 204);
    // Some at once: each is decided anew where another came between.
    let mut made = 2;
    while made < 100 {
        let some = 7.min(100 - made);
        let all = futures_util::future::join_all((0..some).map(|_| admin.post(&path, json!({})))).await;
        let done = all.iter().filter(|(status, _)| *status == 201).count();
        assert!(done > 0 && all.iter().all(|(status, _)| [201, 503].contains(status)), "{all:?}");
        made += done;
    }
    let (status, said) = admin.post(&path, json!({})).await;
    assert_eq!((status, said["code"].as_str()), (409, Some("conflict")), "{said}");
    let (_, list) = admin.get(&path).await;
    let links = list["items"].as_array().unwrap();
    let urls: std::collections::BTreeSet<_> = links.iter().filter_map(|link| link["url"].as_str()).collect();
    assert_eq!(urls.len(), 100, "each with a secret of its own");
    let hundredth = Link::parse(links[99]["url"].as_str().unwrap(), &first.transfer);
    assert_eq!(self::status(&hundredth, "one").await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_of_a_link_that_is_changed_in_the_record_opens_nothing() {
    let server = super::serve(&[]).await;
    let first = server.send("a.txt", "hello", "").await;
    let (made, second) = add(&server, &first.transfer, json!({"deadline": "1h"})).await;
    assert_eq!(status(&second, "one").await, 200);
    let own = instant(&made["deadline"]).as_millis();
    let (was, longer) = (format!("\"deadline\":{own}"), format!("\"deadline\":{}", own + 3_600_000));
    let change = |from: &str, to: &str| {
        server.stores.tamper(&server.data(), &first.transfer, |core| {
            assert!(core.contains(from));
            core.replace(from, to)
        });
    };
    change(&was, &longer);
    assert_eq!(status(&second, "two").await, 404, "the slot knows better");
    assert_eq!(status(&first, "two").await, 200);
    change(&longer, &was);
    assert_eq!(status(&second, "three").await, 200);
}
