//! Accounts, roles, tokens and teams over REST: who may do what, and what is refused.

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Link, Server, noise, wait_for};

/// One who asks.
pub struct Api {
    url: String,
    token: String,
}

impl Api {
    pub fn of(server: &Server, token: &str) -> Self {
        Self { url: server.url.clone(), token: token.to_owned() }
    }

    pub fn request(&self, method: Method, path: &str, body: Option<&Value>) -> reqwest::RequestBuilder {
        let request = Client::new().request(method, format!("{}{path}", self.url)).bearer_auth(&self.token);
        match body {
            Some(body) => request.json(body),
            None => request,
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let answer = self.request(method, path, body.as_ref()).send().await.unwrap();
        let status = answer.status().as_u16();
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> (u16, Value) {
        self.call(Method::DELETE, path, None).await
    }

    /// Sends a small file; the status, and the link where there is one.
    pub async fn send(&self) -> (u16, Option<Link>) {
        let answer =
            self.request(Method::PUT, "/f?expires=1h", None).body(noise(100, 1)).send().await.unwrap();
        let status = answer.status();
        let transfer = answer.headers().get("burnbag-transfer").map(|id| id.to_str().unwrap().to_owned());
        let text = answer.text().await.unwrap();
        (status.as_u16(), transfer.map(|id| Link::parse(text.trim_end(), &id)))
    }

    /// What the transfer's files are called; nothing where the key is out of reach.
    async fn name_in(&self, link: &Link) -> Value {
        self.get(&format!("/api/v1/transfers/{}", link.transfer)).await.1["files"][0]["name"].clone()
    }

    /// An account of the team with its first token.
    pub async fn account(&self, name: &str, role: &str) -> (String, String) {
        let (status, made) = self.post("/api/v1/accounts", json!({"name": name, "role": role})).await;
        assert_eq!(status, 201, "{made}");
        let id = text(&made["id"]);
        let (status, token) = self.post("/api/v1/tokens", json!({"account": id})).await;
        assert_eq!(status, 201, "{token}");
        (id, text(&token["token"]))
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_made_used_listed_and_revoked() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let (status, made) = admin.post("/api/v1/tokens", json!({"expires": "90d", "kind": "svc"})).await;
    assert_eq!(status, 201, "{made}");
    let (id, token) = (text(&made["id"]), text(&made["token"]));
    assert!(token.starts_with("bb_svc_") && made["scope"].is_null() && made["expires"].is_string());
    let second = Api::of(&server, &token);
    assert_eq!(second.send().await.0, 201);
    let (status, list) = second.get("/api/v1/tokens").await;
    assert_eq!((status, list["items"].as_array().unwrap().len(), &list["next"]), (200, 2, &Value::Null));
    assert!(!list.to_string().contains(&token) && !list.to_string().contains("hash"), "{list}");
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(admin.delete(&path).await.0, 204);
    assert_eq!(admin.delete(&path).await.0, 204, "again");
    assert_eq!(code(&second.get("/api/v1/tokens").await), (401, "token_invalid"));
    assert_eq!(second.send().await.0, 401);
    let list = admin.get("/api/v1/tokens").await.1;
    let shown = list["items"].as_array().unwrap().iter().find(|token| token["id"] == *id).unwrap();
    assert!(shown["revoked"].is_string());
    for nowhere in ["0", &"0".repeat(32)] {
        assert_eq!(admin.delete(&format!("/api/v1/tokens/{nowhere}")).await.0, 404);
    }
    // Of every one there is an event that says whose it was, and none that has it.
    wait_for("the events to be logged", async || {
        let events = server.events();
        let about = |kind: &str| {
            let found = events.iter().filter(|event| event["type"] == kind);
            found.filter(|event| event["reason"].as_str().is_some_and(|why| why.contains(&id))).count()
        };
        (about("token.created") == 1 && about("token.revoked") == 1).then_some(())
    })
    .await;
    let events = serde_json::to_string(&server.events()).unwrap();
    for secret in [token.as_str(), &token[7..37], server.token.as_str()] {
        assert!(!events.contains(secret) && !server.log().contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_ones_own_does_no_more_and_lasts_no_longer_than_the_one_it_is_made_by() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let scope = json!(["transfers.send", "tokens.own"]);
    let (_, made) = admin.post("/api/v1/tokens", json!({"scope": scope, "expires": "1d"})).await;
    let scoped = Api::of(&server, &text(&made["token"]));
    assert_eq!(scoped.send().await.0, 201);
    for refused in ["/api/v1/accounts", "/api/v1/accounts?"] {
        assert_eq!(code(&scoped.get(refused).await), (403, "capability_missing"));
    }
    assert_eq!(code(&scoped.post("/api/v1/teams", json!({"name": "x"})).await), (403, "capability_missing"));
    let more = json!({"scope": ["transfers.send", "accounts.manage"]});
    assert_eq!(code(&scoped.post("/api/v1/tokens", more).await), (403, "capability_missing"));
    let longer = scoped.post("/api/v1/tokens", json!({"expires": "2d"})).await;
    assert_eq!((code(&longer), &longer.1["field"]), ((422, "option_invalid"), &json!("expires")));
    // Without a word on either, both are those of the maker.
    let (status, child) = scoped.post("/api/v1/tokens", json!({})).await;
    assert_eq!((status, &child["scope"], &child["expires"]), (201, &made["scope"], &made["expires"]));
    let (_, only) = scoped.post("/api/v1/tokens", json!({"scope": ["transfers.send"]})).await;
    let only = Api::of(&server, &text(&only["token"]));
    assert_eq!(only.send().await.0, 201);
    assert_eq!(code(&only.get("/api/v1/tokens").await), (403, "capability_missing"));
    assert_eq!(code(&only.post("/api/v1/tokens", json!({})).await), (403, "capability_missing"));
    let (_, reads) = admin.post("/api/v1/tokens", json!({"scope": ["audit.read"]})).await;
    assert_eq!(Api::of(&server, &text(&reads["token"])).send().await.0, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_what_the_table_says() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let (_, link) = admin.send().await;
    let of_admin = format!("/api/v1/transfers/{}", link.unwrap().transfer);
    for (role, sends) in [("member", true), ("service", true), ("auditor", false), ("approver", false)] {
        let (id, token) = admin.account(&format!("a-{role}"), role).await;
        let api = Api::of(&server, &token);
        assert_eq!(api.send().await.0, if sends { 201 } else { 403 }, "{role}");
        assert_eq!(api.get("/api/v1/tokens").await.0, 200, "{role}");
        assert_eq!(api.get(&of_admin).await.0, 200, "the team's transfers are seen: {role}");
        for refused in [
            api.get("/api/v1/accounts").await,
            api.post("/api/v1/accounts", json!({"name": "b"})).await,
            api.patch(&format!("/api/v1/accounts/{id}"), json!({"role": "admin"})).await,
            api.delete(&format!("/api/v1/accounts/{id}")).await,
            api.post("/api/v1/teams", json!({"name": "b"})).await,
            api.post("/api/v1/tokens", json!({"account": id, "reset": true})).await,
            api.delete(&of_admin).await,
        ] {
            assert_eq!(code(&refused), (403, "capability_missing"), "{role}");
        }
        let teams = api.get("/api/v1/teams").await.1;
        assert_eq!(teams["items"].as_array().unwrap().len(), 1);
    }
    // Promoted and demoted, it holds at once, for the tokens that are there.
    let (id, token) = admin.account("bob", "member").await;
    let (bob, path) = (Api::of(&server, &token), format!("/api/v1/accounts/{id}"));
    assert_eq!(bob.get("/api/v1/accounts").await.0, 403);
    assert_eq!(admin.patch(&path, json!({"role": "admin"})).await.1["role"], "admin");
    assert_eq!(bob.get("/api/v1/accounts").await.0, 200);
    assert_eq!(admin.patch(&path, json!({"role": "auditor"})).await.0, 200);
    assert_eq!((bob.get("/api/v1/accounts").await.0, bob.send().await.0), (403, 403));
    assert_eq!(admin.patch(&path, json!({"disabled": true})).await.0, 200);
    assert_eq!(code(&bob.get("/api/v1/tokens").await), (401, "token_invalid"));
    assert_eq!(admin.patch(&path, json!({"disabled": false, "role": "member"})).await.0, 200);
    assert_eq!(bob.send().await.0, 201);
    assert_eq!(admin.delete(&path).await.0, 204);
    assert_eq!(bob.send().await.0, 401);
    assert_eq!(code(&admin.delete(&path).await), (404, "not_found"));
    // A token that manages accounts gives nobody what it does not have.
    let (_, made) = admin.post("/api/v1/tokens", json!({"scope": ["accounts.manage"]})).await;
    let manager = Api::of(&server, &text(&made["token"]));
    assert_eq!(manager.get("/api/v1/accounts").await.0, 200);
    let refused = manager.post("/api/v1/accounts", json!({"name": "x", "role": "admin"})).await;
    assert_eq!(code(&refused), (403, "capability_missing"));
    let me = text(&made["account"]);
    let refused = manager.post("/api/v1/tokens", json!({"account": me, "reset": true})).await;
    assert_eq!(code(&refused), (403, "capability_missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_admin_stays_however_two_try_at_once() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let accounts = admin.get("/api/v1/accounts").await.1;
    let first = text(&accounts["items"][0]["id"]);
    let path = |id: &str| format!("/api/v1/accounts/{id}");
    for body in [json!({"role": "member"}), json!({"disabled": true})] {
        let refused = admin.patch(&path(&first), body).await;
        assert_eq!(code(&refused), (409, "conflict"));
        assert!(text(&refused.1["detail"]).contains("make another account an admin first"), "{}", refused.1);
    }
    assert_eq!(code(&admin.delete(&path(&first)).await), (409, "conflict"));
    for _ in 0..5 {
        let (other, token) = admin.account("ann", "admin").await;
        let ann = Api::of(&server, &token);
        let (of_first, of_other) = (path(&first), path(&other));
        let (one, two) = tokio::join!(
            admin.patch(&of_first, json!({"role": "member"})),
            ann.patch(&of_other, json!({"role": "member"}))
        );
        let mut statuses = [one.0, two.0];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409], "{one:?} {two:?}");
        // Whoever is left puts it back.
        let left = if one.0 == 409 { &admin } else { &ann };
        assert_eq!(left.patch(&path(&first), json!({"role": "admin"})).await.0, 200);
        assert_eq!(admin.delete(&path(&other)).await.0, 204);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_token_opens_what_an_old_one_sent_and_a_reset_does_not() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let (id, first) = admin.account("bob", "member").await;
    let bob = Api::of(&server, &first);
    let link = bob.send().await.1.unwrap();
    assert_eq!(bob.name_in(&link).await, "f");
    // Rotation: the new one is made by the old one, which is then revoked.
    let (_, made) = bob.post("/api/v1/tokens", json!({})).await;
    let rotated = Api::of(&server, &text(&made["token"]));
    let old = bob.get("/api/v1/tokens").await.1;
    let old = text(&old["items"][0]["id"]);
    assert_eq!(rotated.delete(&format!("/api/v1/tokens/{old}")).await.0, 204);
    assert_eq!(bob.send().await.0, 401);
    assert_eq!(rotated.name_in(&link).await, "f");
    // Only with a reset can another one make a token for an account that has a key.
    let refused = admin.post("/api/v1/tokens", json!({"account": id})).await;
    assert_eq!(code(&refused), (409, "conflict"));
    assert!(text(&refused.1["detail"]).contains("reset"), "{}", refused.1);
    let (status, made) = admin.post("/api/v1/tokens", json!({"account": id, "reset": true})).await;
    assert_eq!((status, &made["out_of_reach"], &made["revoked_tokens"]), (201, &json!(1), &json!(1)));
    assert_eq!(rotated.send().await.0, 401);
    let reset = Api::of(&server, &text(&made["token"]));
    assert_eq!(reset.name_in(&link).await, Value::Null, "it cannot be read");
    let client = Client::new();
    assert_eq!(link.get(&client).send().await.unwrap().status(), StatusCode::OK, "its link still opens it");
    assert_eq!(reset.delete(&format!("/api/v1/transfers/{}", link.transfer)).await.0, 204, "and ended");
    assert_eq!(link.get(&client).send().await.unwrap().status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_team_is_alone_with_what_is_its_own() {
    let server = super::serve(&[]).await;
    let operator = Api::of(&server, &server.token);
    let mine = operator.get("/api/v1/teams").await.1;
    let own = text(&mine["items"][0]["id"]);
    assert_eq!(mine["items"][0]["operator"], true);
    let limits = json!({"bytes": 9_007_199_254_740_991_u64, "expires": "7d"});
    let (status, made) =
        operator.post("/api/v1/teams", json!({"name": "two", "admin": "ann", "limits": limits})).await;
    assert_eq!(status, 201, "{made}");
    let expected = json!({"bytes": 9_007_199_254_740_991_u64, "transfers": null, "uploads": null,
        "file_bytes": null, "expires": 604_800});
    assert_eq!((&made["limits"], &made["operator"]), (&expected, &json!(false)));
    let (two, ann) = (text(&made["id"]), Api::of(&server, &text(&made["token"])));
    let link = ann.send().await.1.unwrap();

    // What is the one's is not there for the other.
    let (bob, _) = operator.account("bob", "member").await;
    let tokens = operator.get(&format!("/api/v1/tokens?account={bob}")).await.1;
    let token = text(&tokens["items"][0]["id"]);
    let accounts = ann.get("/api/v1/accounts").await.1;
    assert_eq!(
        (accounts["items"].as_array().unwrap().len(), &accounts["items"][0]["name"]),
        (1, &json!("ann"))
    );
    let teams = ann.get("/api/v1/teams").await.1;
    assert_eq!((teams["items"].as_array().unwrap().len(), &teams["items"][0]["name"]), (1, &json!("two")));
    for refused in [
        ann.get(&format!("/api/v1/tokens?account={bob}")).await,
        ann.delete(&format!("/api/v1/tokens/{token}")).await,
        ann.post("/api/v1/tokens", json!({"account": bob, "reset": true})).await,
        ann.patch(&format!("/api/v1/accounts/{bob}"), json!({"disabled": true})).await,
        ann.delete(&format!("/api/v1/accounts/{bob}")).await,
        ann.patch(&format!("/api/v1/teams/{own}"), json!({"name": "x"})).await,
        ann.delete(&format!("/api/v1/teams/{own}")).await,
        operator.get(&format!("/api/v1/transfers/{}", link.transfer)).await,
    ] {
        assert_eq!(code(&refused), (404, "not_found"), "{}", refused.1);
    }
    // An admin of a team that is not the operator's has no capability for teams.
    for refused in [
        ann.post("/api/v1/teams", json!({"name": "x"})).await,
        ann.patch(&format!("/api/v1/teams/{two}"), json!({"limits": {"bytes": null}})).await,
        ann.delete(&format!("/api/v1/teams/{two}")).await,
        ann.post("/api/v1/tokens", json!({"scope": ["teams.manage"]})).await,
    ] {
        assert_eq!(code(&refused), (403, "capability_missing"));
    }

    // Names are taken by one; what is not named in a change stays.
    let refused = operator.post("/api/v1/teams", json!({"name": "two"})).await;
    assert_eq!(code(&refused), (409, "conflict"));
    let refused = ann.post("/api/v1/accounts", json!({"name": "bob"})).await;
    assert_eq!(code(&refused), (409, "conflict"), "names are one of a kind over all teams");
    let path = format!("/api/v1/teams/{two}");
    let changed =
        operator.patch(&path, json!({"name": "three", "limits": {"bytes": null, "uploads": 4}})).await.1;
    assert_eq!((&changed["name"], &changed["limits"]["bytes"]), (&json!("three"), &Value::Null));
    assert_eq!((&changed["limits"]["uploads"], &changed["limits"]["expires"]), (&json!(4), &json!(604_800)));

    // It goes when nothing lives in it any more, and its accounts with it.
    let refused = operator.delete(&path).await;
    assert_eq!(code(&refused), (409, "conflict"));
    assert!(text(&refused.1["detail"]).contains("1 live transfers"), "{}", refused.1);
    assert_eq!(ann.delete(&format!("/api/v1/transfers/{}", link.transfer)).await.0, 204);
    assert_eq!(operator.delete(&path).await.0, 204);
    assert_eq!(operator.delete(&path).await.0, 404);
    assert_eq!(code(&ann.get("/api/v1/tokens").await), (401, "token_invalid"));
    assert_eq!(operator.post("/api/v1/accounts", json!({"name": "ann"})).await.0, 201, "the name is free");
    assert_eq!(code(&operator.delete(&format!("/api/v1/teams/{own}")).await), (409, "conflict"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_taken_is_refused_with_field_and_range() {
    let server = super::serve(&[]).await;
    let admin = Api::of(&server, &server.token);
    let team = text(&admin.get("/api/v1/teams").await.1["items"][0]["id"]);
    let accounts = "/api/v1/accounts";
    let tokens = "/api/v1/tokens";
    let team = format!("/api/v1/teams/{team}");
    let limit = |name: &str, value: &str| format!("{{\"limits\": {{\"{name}\": {value}}}}}");
    let long = format!("{{\"name\": \"{}\"}}", "x".repeat(65));
    for (method, path, body, code, field, range) in [
        ("POST", accounts, r#"{"name": ""}"#.to_owned(), "option_invalid", "name", "1 to 64"),
        ("POST", accounts, "{}".to_owned(), "option_invalid", "name", "1 to 64"),
        ("POST", accounts, long, "option_invalid", "name", "1 to 64"),
        ("POST", accounts, r#"{"name": "Bob"}"#.to_owned(), "option_invalid", "name", "1 to 64"),
        ("POST", accounts, r#"{"name": ".bob"}"#.to_owned(), "option_invalid", "name", "1 to 64"),
        ("POST", accounts, r#"{"name": "b b"}"#.to_owned(), "option_invalid", "name", "1 to 64"),
        ("POST", accounts, r#"{"name": 1}"#.to_owned(), "option_invalid", "name", "text"),
        (
            "POST",
            accounts,
            r#"{"name": "b", "role": "root"}"#.to_owned(),
            "option_invalid",
            "role",
            "approver",
        ),
        (
            "POST",
            accounts,
            r#"{"name": "b", "rolle": "admin"}"#.to_owned(),
            "option_unknown",
            "rolle",
            "role",
        ),
        ("POST", accounts, r#"{"name": "b", "name": "c"}"#.to_owned(), "option_conflict", "name", "twice"),
        ("POST", tokens, r#"{"scope": ["send"]}"#.to_owned(), "option_invalid", "scope", "transfers.send"),
        ("POST", tokens, r#"{"scope": []}"#.to_owned(), "option_invalid", "scope", "transfers.send"),
        ("POST", tokens, r#"{"scope": "tokens.own"}"#.to_owned(), "option_invalid", "scope", "list"),
        ("POST", tokens, r#"{"kind": "ses"}"#.to_owned(), "option_invalid", "kind", "usr or svc"),
        ("POST", tokens, r#"{"expires": "0s"}"#.to_owned(), "option_invalid", "expires", "90d"),
        (
            "POST",
            tokens,
            r#"{"expires": "2001-01-01T00:00:00Z"}"#.to_owned(),
            "option_invalid",
            "expires",
            "to come",
        ),
        ("POST", tokens, r#"{"account": "x"}"#.to_owned(), "option_invalid", "account", "32"),
        ("PATCH", &team, limit("bytes", "0"), "option_invalid", "bytes", "from 1 to"),
        ("PATCH", &team, limit("bytes", "-1"), "option_invalid", "bytes", "from 1 to"),
        (
            "PATCH",
            &team,
            limit("transfers", &format!("1{}", "0".repeat(30))),
            "option_invalid",
            "transfers",
            "from 1 to",
        ),
        ("PATCH", &team, limit("uploads", "1.5"), "option_invalid", "uploads", "from 1 to"),
        ("PATCH", &team, limit("file_bytes", "\"1\""), "option_invalid", "file_bytes", "from 1 to"),
        (
            "PATCH",
            &team,
            limit("file_bytes", "9007199254740992"),
            "option_invalid",
            "file_bytes",
            "from 1 to",
        ),
        ("PATCH", &team, limit("expires", "\"0d\""), "option_invalid", "expires", "7d"),
        ("PATCH", &team, limit("expires", "-1"), "option_invalid", "expires", "7d"),
        ("PATCH", &team, limit("byte", "1"), "option_unknown", "byte", "file_bytes"),
        ("PATCH", &team, r#"{"limits": 1}"#.to_owned(), "option_invalid", "limits", "object"),
        ("PATCH", &team, r#"{"name": "ä"}"#.to_owned(), "option_invalid", "name", "1 to 64"),
    ] {
        let request = admin.request(method.parse().unwrap(), path, None);
        let request = request.header("content-type", "application/json").body(body.clone());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 422, "{body}");
        let said: Value = answer.json().await.unwrap();
        assert_eq!((&said["code"], &said["field"]), (&json!(code), &json!(field)), "{body}: {said}");
        assert!(text(&said["detail"]).contains(range), "{body}: {said}");
    }
    for path in ["/api/v1/tokens?acount=1", "/api/v1/accounts?x=1", "/api/v1/teams?x=1"] {
        assert_eq!(code(&admin.get(path).await), (422, "option_unknown"), "{path}");
    }
    for path in ["/api/v1/tokens", "/api/v1/accounts", "/api/v1/teams"] {
        let answer = Client::new().get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
    assert_eq!(
        admin.get("/api/v1/accounts").await.1["items"].as_array().unwrap().len(),
        1,
        "nothing was made"
    );
}
