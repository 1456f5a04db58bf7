//! What is taken away on one instance is taken away on the others too.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::access::{Api, text};
use crate::stores::Stores;
use crate::support::Server;

/// Within this time, on every instance.
const AT_ONCE: Duration = Duration::from_secs(1);

/// Every instance answers this status, the first time that it is asked or at least in time.
async fn all_answer(instances: &[&Server], token: &str, path: &str, status: u16) {
    let end = Instant::now() + AT_ONCE;
    for server in instances {
        let api = Api::of(server, token);
        loop {
            let answer = if path == "/f" { api.send().await.0 } else { api.get(path).await.0 };
            if answer == status {
                break;
            }
            assert!(Instant::now() < end, "{}: {path} is {answer}, not {status}", server.url);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_revoked_disabled_or_demoted_is_refused_on_the_other_instances_within_a_second() {
    let one = Server::on(Stores::redis().await, &[]).await;
    let (two, three) = (one.beside(&[]).await, one.beside(&[]).await);
    let all = [&one, &two, &three];
    let admin = Api::of(&one, &one.token);
    let (bob, token) = admin.account("bob", "admin").await;
    let path = format!("/api/v1/accounts/{bob}");
    all_answer(&all, &token, "/api/v1/accounts", 200).await;
    all_answer(&all, &token, "/f", 201).await;

    assert_eq!(admin.patch(&path, json!({"role": "member"})).await.0, 200);
    all_answer(&all, &token, "/api/v1/accounts", 403).await;
    all_answer(&all, &token, "/f", 201).await;
    assert_eq!(admin.patch(&path, json!({"role": "auditor"})).await.0, 200);
    all_answer(&all, &token, "/f", 403).await;

    assert_eq!(Api::of(&two, &one.token).patch(&path, json!({"disabled": true})).await.0, 200);
    all_answer(&all, &token, "/api/v1/tokens", 401).await;
    assert_eq!(Api::of(&three, &one.token).patch(&path, json!({"disabled": false})).await.0, 200);
    all_answer(&all, &token, "/api/v1/tokens", 200).await;

    let tokens = admin.get(&format!("/api/v1/tokens?account={bob}")).await.1;
    let id = text(&tokens["items"][0]["id"]);
    assert_eq!(admin.delete(&format!("/api/v1/tokens/{id}")).await.0, 204);
    all_answer(&all, &token, "/api/v1/tokens", 401).await;

    // The command line holds for them too.
    let made =
        Api::of(&three, &one.token).post("/api/v1/tokens", json!({"account": bob, "reset": true})).await;
    let token = text(&made.1["token"]);
    all_answer(&all, &token, "/api/v1/tokens", 200).await;
    let removed = one.burnbag(&["account", "remove", "bob"]);
    assert!(removed.status.success(), "{}", String::from_utf8_lossy(&removed.stderr));
    all_answer(&all, &token, "/api/v1/tokens", 401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_instances_that_take_the_last_admins_away_one_is_refused() {
    let one = Server::on(Stores::redis().await, &[]).await;
    let two = one.beside(&[]).await;
    let admin = Api::of(&one, &one.token);
    let first = text(&admin.get("/api/v1/accounts").await.1["items"][0]["id"]);
    let (other, token) = admin.account("ann", "admin").await;
    let ann = Api::of(&two, &token);
    for _ in 0..20 {
        let (one, other_path) = (format!("/api/v1/accounts/{first}"), format!("/api/v1/accounts/{other}"));
        let (a, b) = tokio::join!(
            admin.patch(&one, json!({"disabled": true})),
            ann.patch(&other_path, json!({"role": "member"}))
        );
        let mut statuses = [a.0, b.0];
        statuses.sort_unstable();
        // Whoever was disabled or demoted first may be turned away before he is refused.
        assert!(statuses[0] == 200 && [401, 403, 409].contains(&statuses[1]), "{a:?} {b:?}");
        let back = if a.0 == 200 {
            ann.patch(&one, json!({"disabled": false})).await
        } else {
            admin.patch(&other_path, json!({"role": "admin"})).await
        };
        assert_eq!(back.0, 200, "somebody is left who can: {}", back.1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_taken_back_opens_nothing_on_the_other_instances_within_a_second() {
    let one = Server::on(Stores::redis().await, &[]).await;
    let (two, three) = (one.beside(&[]).await, one.beside(&[]).await);
    let link = one.send("f", "bytes", "").await;
    let id = link.url.rsplit('/').next().unwrap();
    let status = async |server: &Server| {
        let get = reqwest::Client::new().get(format!("{}/d/{id}", server.url));
        get.basic_auth("x", Some(&link.secret)).send().await.unwrap().status().as_u16()
    };
    for server in [&one, &two, &three] {
        assert_eq!(status(server).await, 200);
    }
    let path = format!("/api/v1/transfers/{}/links/{id}", link.transfer);
    assert_eq!(Api::of(&one, &one.token).delete(&path).await.0, 204);
    let end = Instant::now() + AT_ONCE;
    for server in [&two, &three] {
        assert_eq!(status(server).await, 404);
    }
    assert!(Instant::now() < end);
}
