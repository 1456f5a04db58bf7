//! A deadline that its owner moves: every link opens until the new one, and not a byte comes after it.

use std::time::Duration;

use burnbag::clock::Timestamp;
use futures_util::future::join_all;
use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use crate::access::Api;
use crate::bad_input::problem;
use crate::links::add;
use crate::passwords;
use crate::support::{Link, Server, noise, wait_for};
use crate::trail::{SlowReader, client, count, instant, now, until};

fn path(link: &Link) -> String {
    format!("/api/v1/transfers/{}", link.transfer)
}

fn patch(server: &Server, link: &Link, deadline: &str) -> RequestBuilder {
    let body = json!({"deadline": deadline});
    Api::of(server, &server.token).request(Method::PATCH, &path(link), Some(&body))
}

/// Moves the deadline, and says where it is then.
async fn moved(server: &Server, link: &Link, deadline: &str) -> Timestamp {
    let answer = patch(server, link, deadline).send().await.unwrap();
    let status = answer.status();
    let said: Value = answer.json().await.unwrap();
    assert_eq!(status, 200, "{said}");
    let deadline = instant(&said["deadline"]);
    if let Some(redis) = server.stores.redis_if_any() {
        let key = format!("bb:{{bb.0}}:keys:{}", link.transfer);
        assert_eq!(redis.ask::<u64>(&["PEXPIRETIME", &key]), deadline.as_millis(), "the key's time to live");
    }
    deadline
}

async fn status(link: &Link, by: &str) -> StatusCode {
    let answer = link.get(&client(by)).send().await.unwrap();
    let status = answer.status();
    let _ = answer.bytes().await;
    status
}

async fn slow(link: &Link) -> SlowReader {
    let link = link.clone();
    tokio::task::spawn_blocking(move || SlowReader::get(&link, "slow")).await.unwrap()
}

/// Reads a little at a time until then; false if it was cut before.
async fn read_until(mut reader: SlowReader, at: Timestamp) -> (SlowReader, bool) {
    while now() < at {
        let (back, goes) = tokio::task::spawn_blocking(move || {
            let goes = reader.read(4 * 1024);
            (reader, goes)
        })
        .await
        .unwrap();
        reader = back;
        if !goes {
            return (reader, false);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    (reader, true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_moves_nearer_and_not_a_byte_comes_after_it() {
    const LENGTH: usize = 32 << 20;
    // The clock alone: the reaper sleeps, the listener too.
    let server = super::serve(&[("BURNBAG_WORKERS", "relay")]).await;
    let link = server.send("big", noise(LENGTH, 1), "expires=2h").await;
    let (_, other) = add(&server, &link.transfer, json!({"deadline": "1h"})).await;
    let reader = slow(&link).await;
    let deadline = moved(&server, &link, "30s").await;
    assert!(deadline.since(now()) > Duration::from_secs(20));
    for link in [&link, &other] {
        let head = client("one").head(&link.url).basic_auth("x", Some(&link.secret)).send().await.unwrap();
        assert_eq!(head.status(), 200, "every slot opens with the new deadline");
    }
    let (reader, goes) = read_until(reader, deadline).await;
    assert!(goes, "cut before its deadline");
    // What was sent before lies in the buffers of two sockets; the rest never left.
    until(deadline.after(Duration::from_millis(300))).await;
    let by_then = reader.taken;
    let reader = reader.read_out().await;
    assert!(reader.taken - by_then <= 4 << 20, "{} bytes came after the deadline", reader.taken - by_then);
    assert!(reader.taken < LENGTH / 2 && now().since(deadline) < Duration::from_secs(5));
    for link in [&link, &other] {
        assert_eq!(status(link, "two").await, 404);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_moves_further_and_nothing_is_cut_at_the_old_one() {
    let server = super::serve(&[]).await;
    let link = server.send("big", noise(32 << 20, 2), "expires=6s").await;
    let old = instant(&server.transfer(&link.transfer).await["deadline"]);
    let (made, own) = add(&server, &link.transfer, json!({"deadline": "4s"})).await;
    let of_own = instant(&made["deadline"]);
    let reader = slow(&link).await;
    let deadline = moved(&server, &link, "1h").await;
    assert!(deadline > old && now() < of_own, "too slow a machine for this test");
    assert_eq!(server.stores.slots(&server.data()).len(), 3);
    let (reader, goes) = read_until(reader, old.after(Duration::from_secs(2))).await;
    assert!(goes, "cut at the old deadline");
    assert_eq!(status(&link, "one").await, 200);
    assert_eq!(status(&own, "one").await, 404, "a deadline of a link's own stays where it is");
    let reader = reader.read_out().await;
    assert_eq!(reader.taken, reader.length);
    let shown = server.transfer(&link.transfer).await;
    assert_eq!((shown["state"].as_str(), instant(&shown["deadline"])), (Some("available"), deadline));
    wait_for("the event", async || (count(&server, &link.transfer, "transfer.changed") == 1).then_some(()))
        .await;
    assert_eq!(count(&server, &link.transfer, "transfer.expired"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_that_was_moved_is_the_one_that_ends_it() {
    let server = super::serve(&[]).await;
    let link = server.send("a.txt", "hello", "expires=3s").await;
    let deadline = moved(&server, &link, "5s").await;
    assert_eq!(status(&link, "one").await, 200);
    let ended = wait_for("the end", async || {
        let transfer = server.transfer(&link.transfer).await;
        (transfer["state"] != "available").then_some(transfer)
    })
    .await;
    assert!(now() >= deadline && now().since(deadline) <= Duration::from_secs(2));
    assert_eq!(ended["reason"], "expired");
    assert!(server.stores.slots(&server.data()).is_empty());
    let said = problem(&server, patch(&server, &link, "1h")).await;
    assert_eq!((said.status, said.code.as_str()), (409, "transfer_ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_owner_has_not_seen_is_not_changed() {
    let server = super::serve(&[]).await;
    let link = passwords::send(&server, "a.txt", "hello", "", "hunter22").await;
    let tag = async || {
        let get = Client::new().get(format!("{}{}", server.url, path(&link))).bearer_auth(&server.token);
        get.send().await.unwrap().headers()["etag"].to_str().unwrap().to_owned()
    };
    let seen = tag().await;
    let answer = patch(&server, &link, "1h").header("if-match", &seen).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["etag"].to_str().unwrap(), tag().await);
    assert_ne!(tag().await, seen);
    let before = server.transfer(&link.transfer).await["deadline"].clone();
    for stale in [seen.as_str(), "\"nothing\"", "W/\"1\"", "\"a b\"", "x"] {
        let said = problem(&server, patch(&server, &link, "2h").header("if-match", stale)).await;
        assert_eq!((said.status, said.code.as_str()), (412, "precondition_failed"), "{stale}");
    }
    assert_eq!(server.transfer(&link.transfer).await["deadline"], before);
    for seen in [tag().await, "*".to_owned()] {
        let answer = patch(&server, &link, "2h").header("if-match", &seen).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{seen}");
    }
    // Neither link nor password was needed, and both open it still.
    let get = passwords::with(&Client::new(), &link, "hunter22");
    assert_eq!(get.send().await.unwrap().text().await.unwrap(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_out_of_range_is_refused_and_so_is_who_may_not_move_it() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let link = server.send("a.txt", "hello", "expires=2h").await;
    for (body, code, field) in [
        (json!({"deadline": "2001-01-01T00:00:00Z"}), "option_invalid", "deadline"),
        (json!({"deadline": "0s"}), "option_invalid", "deadline"),
        (json!({"deadline": "5s"}), "option_invalid", "deadline"),
        (json!({"deadline": "8d"}), "expires_too_long", "deadline"),
        (json!({"deadline": "9999-01-01T00:00:00Z"}), "expires_too_long", "deadline"),
        (json!({"deadline": "soon"}), "option_invalid", "deadline"),
        (json!({"deadline": 3600}), "option_invalid", "deadline"),
        (json!({"deadline": null}), "option_invalid", "deadline"),
        (json!({}), "option_invalid", "deadline"),
        (json!({"deadline": "1h", "expires": "1h"}), "option_unknown", "expires"),
    ] {
        let ask = admin.request(Method::PATCH, &path(&link), Some(&body));
        let said = problem(&server, ask).await;
        assert_eq!(
            (said.status, said.code.as_str(), said.field.as_deref()),
            (422, code, Some(field)),
            "{body}"
        );
    }
    let (_, member) = admin.account("mia", "member").await;
    let member = Api::of(&server, &member);
    let (status_of, said) = member.patch(&path(&link), json!({"deadline": "1h"})).await;
    assert_eq!((status_of, said["code"].as_str()), (403, Some("capability_missing")));
    for nowhere in ["0", &"0".repeat(32)] {
        let path = format!("/api/v1/transfers/{nowhere}");
        assert_eq!(admin.patch(&path, json!({"deadline": "1h"})).await.0, 404);
    }
    assert_eq!(count(&server, &link.transfer, "transfer.changed"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_and_deadlines_changed_at_once_are_each_decided_on_what_is_there() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let link = server.send("a.txt", "hello", "").await;
    for round in 0..20 {
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(add(&server, &link.transfer, json!({})).await.1);
        }
        let links = format!("{}/links", path(&link));
        let revoke = others.iter().map(async |other| {
            let id = other.url.rsplit('/').next().unwrap();
            admin.delete(&format!("{links}/{id}")).await.0
        });
        let (transfer, deadline) = (path(&link), json!({"deadline": format!("{}h", round + 1)}));
        let (revoked, moved, made) = tokio::join!(
            join_all(revoke),
            admin.patch(&transfer, deadline),
            admin.post(&links, json!({"downloads": 1})),
        );
        assert!(revoked.iter().all(|status| *status == 204), "{revoked:?}");
        assert_eq!((moved.0, made.0), (200, 201), "{moved:?} {made:?}");
        let fresh = Link::parse(made.1["url"].as_str().unwrap(), &link.transfer);
        for other in &others {
            assert_eq!(status(other, "one").await, 404);
        }
        assert_eq!(status(&fresh, "one").await, 200);
        assert_eq!(status(&link, &format!("{round}")).await, 200);
        let shown = instant(&server.transfer(&link.transfer).await["deadline"]);
        let expected = now().after(Duration::from_hours(round + 1));
        assert!(expected.since(shown) < Duration::from_mins(1) && shown <= expected, "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_and_a_new_deadline_at_once_give_one_end() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let links = join_all((0..10).map(|_| server.send("a.txt", "hello", ""))).await;
    for link in &links {
        let path = path(link);
        let (ended, moved) = tokio::join!(admin.delete(&path), admin.patch(&path, json!({"deadline": "1h"})));
        assert_eq!(ended.0, 204);
        assert!([200, 409].contains(&moved.0), "{moved:?}");
        assert_eq!(status(link, "one").await, 404);
        assert_ne!(server.transfer(&link.transfer).await["state"], "available");
    }
    assert!(server.stores.slots(&server.data()).is_empty(), "nothing brings a key back");
    for link in &links {
        wait_for("the end", async || (count(&server, &link.transfer, "transfer.deleted") == 1).then_some(()))
            .await;
    }
}
