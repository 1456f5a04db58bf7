//! Sessions of browsers: opened with a token, good for what the token is good for, and gone at a click.

use reqwest::header::{COOKIE, HeaderMap, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response};

use crate::support::{Link, Server, command, text, wait_for};

const FORM: &str = "application/x-www-form-urlencoded";

/// Of a token's form and checksum.
const NOBODYS: &str = "bb_usr_00000000000000000000000000000007Hffv";

fn client() -> Client {
    Client::builder().redirect(Policy::none()).build().unwrap()
}

/// What the form of the page sends.
async fn post_login(server: &Server, body: impl Into<reqwest::Body>) -> Response {
    let post = client().post(format!("{}/login", server.url)).header("accept", "text/html");
    post.header("content-type", FORM).body(body).send().await.unwrap()
}

/// A session, as its cookie: `__Host-bb=<token>`.
async fn log_in_with(server: &Server, token: &str) -> String {
    let answer = post_login(server, format!("token={token}")).await;
    assert_eq!(answer.status(), 303, "{}", server.log());
    set_cookie(answer.headers()).split(';').next().unwrap().to_owned()
}

async fn log_in(server: &Server) -> String {
    log_in_with(server, &server.token).await
}

fn set_cookie(headers: &HeaderMap) -> &str {
    let cookies: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies.len(), 1, "{cookies:?}");
    cookies[0].to_str().unwrap()
}

fn token_in(cookie: &str) -> &str {
    cookie.strip_prefix("__Host-bb=").unwrap()
}

fn ask(server: &Server, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    client().request(method, format!("{}{path}", server.url)).header(COOKIE, cookie)
}

/// A page as a browser asks for it.
async fn page(server: &Server, path: &str, cookie: &str) -> (u16, String) {
    let answer = ask(server, Method::GET, path, cookie).header("accept", "text/html").send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// What the API says to a request with this cookie.
async fn let_in(server: &Server, cookie: &str) -> bool {
    let answer = ask(server, Method::PUT, "/f", cookie).body("what").send().await.unwrap();
    match answer.status().as_u16() {
        201 => true,
        401 => {
            assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"burnbag\"");
            assert!(answer.text().await.unwrap().ends_with("(token_invalid)\n"));
            false
        }
        other => panic!("{other}: {}", answer.text().await.unwrap()),
    }
}

/// A further token of the account.
fn new_token(server: &Server, arguments: &[&str]) -> String {
    let mut create = command(server.environment());
    create.args(["token", "create"]).args(arguments).env("BURNBAG_TOKEN", &server.token);
    let made = create.output().unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    text(&made.stdout).trim().to_owned()
}

/// The lines of `burnbag token list` that are of sessions.
fn sessions(server: &Server) -> Vec<String> {
    let list = server.burnbag(&["token", "list"]);
    assert!(list.status.success(), "{}", text(&list.stderr));
    let lines = text(&list.stdout).lines().map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter().filter(|line| line.split_whitespace().nth(1) == Some("ses")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_a_session_in_a_cookie_that_no_script_and_no_other_site_gets() {
    let server = super::serve(&[]).await;
    let (status, form) = page(&server, "/login", "").await;
    assert_eq!(status, 200);
    assert!(form.contains("<form class=\"fields\" method=\"post\" action=\"/login\">"), "{form}");
    // As it is copied, with a newline behind it.
    let answer = post_login(&server, format!("token=+{}%0A", server.token)).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/".parse().unwrap()));
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let said = set_cookie(answer.headers()).to_owned();
    let (cookie, attributes) = said.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=43200; Secure; HttpOnly; SameSite=Lax");
    assert!(
        token_in(cookie).starts_with("bb_ses_") && token_in(cookie).len() == server.token.len(),
        "{cookie}"
    );
    assert!(answer.text().await.unwrap().is_empty());

    let (status, home) = page(&server, "/", cookie).await;
    assert_eq!(status, 200);
    assert!(home.contains("admin</span>") && home.contains("action=\"/logout\""), "{home}");
    assert!(home.contains("type=\"file\" multiple"), "{home}");
    assert_eq!(ask(&server, Method::GET, "/login", cookie).send().await.unwrap().status(), 303);
    // Everything that a token does.
    let sent = ask(&server, Method::PUT, "/f", cookie).body("what").send().await.unwrap();
    let id = sent.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
    let link = Link::parse(sent.text().await.unwrap().trim_end(), &id);
    let api = format!("/api/v1/transfers/{id}");
    assert_eq!(ask(&server, Method::GET, &api, cookie).send().await.unwrap().status(), 200);
    let (status, shown) = page(&server, &format!("/transfers/{id}"), cookie).await;
    assert_eq!(status, 200);
    assert!(shown.contains(&link.whole) && shown.contains("Not downloaded yet"), "{shown}");
    let end = ask(&server, Method::POST, &format!("/transfers/{id}/end"), cookie).send().await.unwrap();
    assert_eq!(end.headers()["location"], format!("/transfers/{id}"));
    assert_eq!(end.status(), 303);
    let (status, shown) = page(&server, &format!("/transfers/{id}"), cookie).await;
    assert_eq!(status, 200);
    assert!(shown.contains("It was ended by hand.") && !shown.contains(&link.whole), "{shown}");
    assert_eq!(link.get(&client()).send().await.unwrap().status(), 404);
    // `Authorization` comes first, be it good or not.
    let both = ask(&server, Method::GET, &api, cookie).basic_auth("", Some("nonsense"));
    assert_eq!(both.send().await.unwrap().status(), 401);
    // The page of a link is the same for everybody.
    let receive = format!("/d/{}", "0".repeat(32));
    assert_eq!(page(&server, &receive, cookie).await, page(&server, &receive, "").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_no_later_than_the_token_that_it_was_opened_with() {
    let server = super::serve(&[]).await;
    let (hour, days) = (new_token(&server, &["--expires", "1h"]), new_token(&server, &["--expires", "90d"]));
    for (token, most) in [(&hour, 3600), (&days, 43_200)] {
        let answer = post_login(&server, format!("token={token}")).await;
        let said = set_cookie(answer.headers()).to_owned();
        let age = said.split("Max-Age=").nth(1).unwrap().split(';').next().unwrap();
        let age: u64 = age.parse().unwrap();
        assert!(age <= most && age > most - 60, "{said}");
    }
    let short = new_token(&server, &["--kind", "svc", "--expires", "8s"]);
    let cookie = log_in_with(&server, &short).await;
    wait_for("the end of the token", async || (!let_in(&server, &cookie).await).then_some(())).await;
    let (status, home) = page(&server, "/", &cookie).await;
    assert!(status == 200 && home.contains("href=\"/login\"") && !home.contains("/logout"), "{home}");
}

#[test]
fn the_end_of_a_session_is_12_hours_off_or_its_tokens() {
    use burnbag::transfer::session::DeadSession;
    use burnbag::transfer::{Sealed, TokenId};
    let start = crate::sample::START;
    let hours = |n| start.after(std::time::Duration::from_hours(n));
    let token = |expires| burnbag::transfer::access::TokenRecord {
        id: TokenId::from_bytes([1; 16]),
        account: crate::sample::owner(),
        kind: "ses".to_owned(),
        hash: [1; 32],
        wrapped: Sealed(Vec::new()),
        scope: None,
        parent: None,
        created: start,
        expires,
        revoked: None,
        last_used: None,
    };
    for (token_ends, session_ends) in [(None, 12), (Some(13), 12), (Some(12), 12), (Some(11), 11)] {
        assert_eq!(token(token_ends.map(hours)).session_end(start), hours(session_ends), "{token_ends:?}");
    }
    assert!(DeadSession::of(&token(Some(hours(12))), hours(11)).is_none());
    assert!(DeadSession::of(&token(Some(hours(12))), hours(12)).is_some());
    let mut other = token(Some(hours(12)));
    other.kind = "usr".to_owned();
    assert!(DeadSession::of(&other, hours(12)).is_none(), "only sessions are dropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_revoked_when_its_person_logs_out() {
    let server = super::serve(&[]).await;
    let (one, other) = (log_in(&server).await, log_in(&server).await);
    let answer = ask(&server, Method::POST, "/logout", &one).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["location"]), (303, &"/".parse().unwrap()));
    assert_eq!(set_cookie(answer.headers()), "__Host-bb=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
    assert!(!let_in(&server, &one).await, "who kept the cookie is not let in");
    assert!(let_in(&server, &other).await, "another session goes on");
    let bearer = client().put(format!("{}/f", server.url)).bearer_auth(token_in(&one)).body("what");
    assert_eq!(bearer.send().await.unwrap().status(), 401);
    let (status, home) = page(&server, "/", &one).await;
    assert!(status == 200 && home.contains("href=\"/login\"") && !home.contains("/logout"), "{home}");
    for path in ["/transfers/00000000000000000000000000000000", "/transfers/nonsense"] {
        let (status, shown) = page(&server, path, &one).await;
        assert!(status == 401 && shown.contains("<a href=\"/login\">Log in</a>"), "{shown}");
    }
    // Once more, and without a session, it is the same.
    for cookie in [one.as_str(), "", "__Host-bb=nonsense"] {
        assert_eq!(ask(&server, Method::POST, "/logout", cookie).send().await.unwrap().status(), 303);
    }
    let token = format!("__Host-bb={}", server.token);
    assert_eq!(ask(&server, Method::POST, "/logout", &token).send().await.unwrap().status(), 303);
    let with_token = client().put(format!("{}/f", server.url)).bearer_auth(&server.token).body("what");
    assert_eq!(with_token.send().await.unwrap().status(), 201, "a token is not logged out");
    let kinds: Vec<_> = wait_for("the events", async || {
        let events = server.events();
        let of_tokens = events.iter().filter(|event| event["type"].as_str().unwrap().starts_with("token."));
        let kinds: Vec<_> = of_tokens
            .map(|event| (event["type"].as_str().unwrap().to_owned(), event["actor"]["kind"].clone()))
            .collect();
        (kinds.len() >= 4).then_some(kinds)
    })
    .await;
    let kinds: Vec<_> = kinds.iter().map(|(kind, actor)| (kind.as_str(), actor.as_str().unwrap())).collect();
    let (made, revoked) = (("token.created", "account"), ("token.revoked", "account"));
    assert_eq!(kinds, [("token.created", "operator"), made, made, revoked]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_token_opens_a_session_and_only_a_session_is_in_a_cookie() {
    let server = super::serve(&[]).await;
    let cookie = log_in(&server).await;
    let of_another = new_token(&server, &["--kind", "svc"]);
    assert!(let_in(&server, &log_in_with(&server, &of_another).await).await);
    assert!(!let_in(&server, &format!("__Host-bb={}", server.token)).await, "a token in a cookie");
    assert!(!let_in(&server, "__Host-bb=").await);
    let none = ask(&server, Method::PUT, "/f", "bb=1; x__Host-bb=2").body("what").send().await.unwrap();
    assert!(none.text().await.unwrap().ends_with("(token_required)\n"), "another cookie is none of ours");
    for token in [token_in(&cookie), &server.token[..42], NOBODYS, "nonsense", ""] {
        let answer = post_login(&server, format!("token={token}")).await;
        assert_eq!(answer.status(), 401, "{token}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer", "no browser asks in a window of its own");
        assert!(!answer.headers().contains_key(SET_COOKIE));
        let html = answer.text().await.unwrap();
        assert!(html.contains("The token is not valid.") && html.contains("name=\"token\""), "{html}");
        assert!(token.is_empty() || !html.contains(token), "what was typed is not said again");
    }
    for body in ["", "tokn=x", "token=a&token=b", "token=a&more=b", &format!("token={}", "a".repeat(20_000))]
    {
        let answer = post_login(&server, body.to_owned()).await;
        let (status, html) = (answer.status().as_u16(), answer.text().await.unwrap());
        assert!(status == 400 && html.contains("a login takes the field token, once"), "{status}: {html}");
        assert!(html.contains("name=\"token\""), "{html}");
    }
    let json = client().post(format!("{}/login", server.url)).header("content-type", "application/json");
    let answer = json.body(format!("{{\"token\":\"{}\"}}", server.token)).send().await.unwrap();
    assert_eq!(answer.status(), 415);
    let query = client().post(format!("{}/login?token={}", server.url, server.token)).send().await.unwrap();
    assert_eq!(query.status(), 400, "a token does not belong in an address");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_logins_at_once_all_succeed() {
    let server = super::serve(&[]).await;
    let cookies = futures_util::future::join_all((0..5).map(|_| log_in(&server))).await;
    for cookie in &cookies {
        assert!(let_in(&server, cookie).await);
    }
    assert_eq!(sessions(&server).len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_over_do_not_pile_up() {
    let server = super::serve(&[]).await;
    let stays = log_in(&server).await;
    for _ in 0..3 {
        let cookie = log_in(&server).await;
        ask(&server, Method::POST, "/logout", &cookie).send().await.unwrap();
        let states = sessions(&server);
        let revoked = states.iter().filter(|line| line.ends_with("revoked")).count();
        assert_eq!((states.len(), revoked), (2, 1), "{states:?}");
    }
    log_in(&server).await;
    let states = sessions(&server);
    assert!(states.len() == 2 && states.iter().all(|line| line.ends_with("good")), "{states:?}");
    assert!(let_in(&server, &stays).await);
    assert!(let_in(&server, &log_in(&server).await).await, "the token itself is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_to_the_names_of_these_pages_is_a_file() {
    let server = super::serve(&[]).await;
    let cookie = log_in(&server).await;
    for name in ["login", "logout", "transfers"] {
        let sent = ask(&server, Method::PUT, &format!("/{name}"), &cookie).body("what").send().await.unwrap();
        assert_eq!(sent.status(), 201, "{name}");
        let id = sent.headers()["burnbag-transfer"].to_str().unwrap();
        assert_eq!(server.transfer(id).await["files"][0]["name"], name);
    }
    assert!(let_in(&server, &cookie).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_is_in_a_page_a_log_or_the_records() {
    let mut server = super::serve(&[]).await;
    let cookie = log_in(&server).await;
    assert_eq!(post_login(&server, format!("token={NOBODYS}")).await.status(), 401);
    let mut places = Vec::new();
    let sent = ask(&server, Method::PUT, "/f", &cookie).body("what").send().await.unwrap();
    let own = format!("/transfers/{}", sent.headers()["burnbag-transfer"].to_str().unwrap());
    for path in ["/", "/login", own.as_str(), "/nothing"] {
        places.push((path.to_owned(), page(&server, path, &cookie).await.1.into_bytes()));
    }
    ask(&server, Method::POST, "/logout", &cookie).send().await.unwrap();
    server.stop().await;
    places.push(("the log".to_owned(), server.log().into_bytes()));
    for file in crate::support::files_below(&server.data())
        .into_iter()
        .chain(server.stores.record_files(&server.data()))
    {
        // A file may go meanwhile.
        if let Ok(bytes) = std::fs::read(&file) {
            places.push((file.display().to_string(), bytes));
        }
    }
    assert!(places.iter().any(|(place, bytes)| place.contains("/audit/0/") && !bytes.is_empty()));
    for token in [&server.token, token_in(&cookie), NOBODYS] {
        for (place, bytes) in &places {
            let found = bytes.windows(30).any(|part| part == &token.as_bytes()[7..37]);
            assert!(!found, "{} in {place}", &token[..7]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_site_makes_a_browser_send_is_refused() {
    let server = super::serve(&[]).await;
    let cookie = log_in(&server).await;
    let link = server.send("f", "what", "").await;
    let host = server.url.replace("127.0.0.1", "localhost");
    let port = "http://127.0.0.1:1";
    let multipart =
        "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--B--\r\n";
    let (form, parts) = (FORM, "multipart/form-data; boundary=B");
    let end = format!("/transfers/{}/end", link.transfer);
    let api = format!("/api/v1/transfers/{}", link.transfer);
    let below = link.url.strip_prefix(&server.url).unwrap().to_owned();
    let mine = format!("token={}", server.token);
    let requests = [
        (Method::POST, "/", parts, multipart),
        (Method::POST, end.as_str(), form, ""),
        (Method::PUT, "/f", form, "x"),
        (Method::DELETE, api.as_str(), form, ""),
        (Method::DELETE, below.as_str(), form, ""),
        (Method::POST, "/login", form, mine.as_str()),
        (Method::POST, "/logout", form, ""),
    ];
    // In the order in which a browser of today, and one of yesterday, would say it.
    let foreign: [&[(&str, &str)]; 8] = [
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "same-site"), ("origin", port)],
        &[("sec-fetch-site", "cross-site"), ("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", port)],
        &[("origin", &host)],
    ];
    for (method, path, kind, body) in &requests {
        for headers in &foreign {
            for by_session in [true, false] {
                let request = client().request(method.clone(), format!("{}{path}", server.url));
                let mut request = request.header("content-type", *kind).body((*body).to_owned());
                // A browser sends either by itself.
                request = if by_session {
                    request.header(COOKIE, &cookie)
                } else {
                    request.basic_auth("", Some(&server.token))
                };
                for (name, value) in *headers {
                    request = request.header(*name, *value);
                }
                let answer = request.send().await.unwrap();
                let case = format!("{method} {path} {headers:?}, session: {by_session}");
                assert_eq!(answer.status(), 403, "{case}");
                assert!(!answer.headers().contains_key(SET_COOKIE), "{case}");
                assert!(answer.text().await.unwrap().contains("cross_site"), "{case}");
            }
        }
    }
    assert_eq!(server.transfer(&link.transfer).await["state"], "available");
    assert_eq!(server.stored().await.len(), 1, "nothing was sent");
    assert!(let_in(&server, &cookie).await, "nobody was logged out");
    // The same from a page of ours, and from no page at all.
    let ours: [&[(&str, &str)]; 4] = [
        &[("sec-fetch-site", "same-origin"), ("origin", &server.url)],
        &[("sec-fetch-site", "none")],
        &[("origin", &server.url)],
        &[],
    ];
    for headers in &ours {
        let cookie = log_in(&server).await;
        for (method, path, kind, body) in &requests {
            let request = ask(&server, method.clone(), path, &cookie).header("content-type", *kind);
            let mut request = request.body((*body).to_owned());
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let status = request.send().await.unwrap().status().as_u16();
            let expected = match (method.as_str(), *path) {
                ("DELETE", _) => 204,
                ("PUT", _) | (_, "/") => 201,
                _ => 303,
            };
            assert_eq!(status, expected, "{method} {path} {headers:?}");
        }
        assert!(!let_in(&server, &cookie).await, "logged out");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_do_what_its_token_may_do() {
    let server = Server::start().await;
    let narrow = new_token(&server, &["--kind", "svc"]);
    let db = rusqlite::Connection::open(server.data().join("burnbag.db")).unwrap();
    db.busy_timeout(crate::support::SOON).unwrap();
    let narrowed = db.execute(
        "UPDATE tokens SET body = json_set(body, '$.scope', json('[\"tokens.own\"]')) WHERE body ->> 'kind' = 'svc'",
        [],
    );
    assert_eq!(narrowed.unwrap(), 1);
    let cookie = log_in_with(&server, &narrow).await;
    let refused = ask(&server, Method::PUT, "/f", &cookie).body("what").send().await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(refused.text().await.unwrap().contains("capability_missing"));
    let (_, home) = page(&server, "/", &cookie).await;
    assert!(home.contains("may not send files") && !home.contains("type=\"file\""), "{home}");
    let parents: String = db
        .query_row(
            "SELECT group_concat((ses.body ->> 'parent') = (svc.body ->> 'id')) FROM tokens ses, tokens svc
             WHERE ses.body ->> 'kind' = 'ses' AND svc.body ->> 'kind' = 'svc'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(parents, "1", "its revocation is to end the session too");
    assert!(let_in(&server, &log_in(&server).await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_was_left_empty_was_not_given() {
    let server = super::serve(&[]).await;
    let cookie = log_in(&server).await;
    let field = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let file = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a b.txt\"\r\n\r\nwhat\r\n";
    let none = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"\"\r\n\r\n\r\n";
    let post = async |body: String| {
        let post = ask(&server, Method::POST, "/", &cookie).header("accept", "text/html");
        let post = post.header("content-type", "multipart/form-data; boundary=B");
        let answer = post.body(format!("{body}--B--\r\n")).send().await.unwrap();
        let id = answer.headers().get("burnbag-transfer").map(|id| id.to_str().unwrap().to_owned());
        (answer.status().as_u16(), id, answer.text().await.unwrap())
    };
    let empty: String = ["expires", "downloads", "password"].map(|name| field(name, "")).concat();
    let (status, id, html) = post(format!("{file}{empty}")).await;
    assert_eq!(status, 201, "{html}");
    assert!(html.contains("<h1>Sent</h1>") && html.contains("a b.txt") && html.contains('#'), "{html}");
    let sent = server.transfer(&id.unwrap()).await;
    assert_eq!((&sent["links"][0]["downloads"], &sent["links"][0]["password"]), (&().into(), &false.into()));
    assert!(html.contains(sent["links"][0]["url"].as_str().unwrap()), "{html}");
    let (status, id, html) =
        post(format!("{}{file}{}", field("expires", "1h"), field("downloads", "2"))).await;
    assert_eq!(status, 201, "{html}");
    assert_eq!(server.transfer(&id.unwrap()).await["links"][0]["downloads"], 2);
    for (body, code) in [
        (format!("{file}{}", field("expire", "")), "option_unknown"),
        (format!("{file}{}", field("downloads", "0")), "option_invalid"),
        (format!("{none}{empty}"), "file_missing"),
    ] {
        let (status, _, html) = post(body).await;
        assert!(status == 422 && html.contains(code), "{status}: {html}");
        assert!(html.contains("action=\"/logout\"") && html.contains("admin"), "{html}");
    }
}
