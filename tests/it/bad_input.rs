//! What is refused: the status, the code, and that nothing of it stays.

use reqwest::Method;

use crate::support::{Link, Server, basic, command, files_below, run, text, wait_for};

/// Waits until no object is left, and nothing half-written.
pub async fn empties(server: &Server) {
    let gone = async || {
        let half_written = files_below(&server.data().join("tmp"));
        (half_written.is_empty() && server.stored().await.is_empty()).then_some(())
    };
    wait_for("the objects to go", gone).await;
}

pub struct Refused {
    pub status: u16,
    pub code: String,
    pub field: Option<String>,
}

/// Sends a request with the token and reads the problem, which must have the whole form of RFC 9457.
pub async fn problem(server: &Server, request: reqwest::RequestBuilder) -> Refused {
    let answer = request.header("accept", "application/json").send().await.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{status}");
    let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
    let said: serde_json::Value = answer.json().await.unwrap();
    let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(said["status"], status);
    assert_eq!(text("type"), format!("{}/problems/{}", server.url, text("code")));
    assert_eq!(text("trace_id"), id);
    assert!(!text("title").is_empty() && !text("detail").is_empty(), "{said}");
    Refused { status, code: text("code"), field: said["field"].as_str().map(str::to_owned) }
}

pub fn put(server: &Server, path: &str) -> reqwest::RequestBuilder {
    let client = reqwest::Client::new();
    client.put(format!("{}{path}", server.url)).header("authorization", server.basic()).body("what")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_that_is_not_understood_is_refused() {
    let server = super::serve(&[]).await;
    for (query, code, field) in [
        ("expire=1h", "option_unknown", "expire"),
        ("Expires=1h", "option_unknown", "Expires"),
        ("expires=1h&download=1", "option_unknown", "download"),
        ("=1", "option_unknown", ""),
        ("expires=1h&expires=2h", "option_conflict", "expires"),
        ("downloads=1&downloads=2", "option_conflict", "downloads"),
        ("expires=8d", "expires_too_long", "expires"),
        ("expires=999999d", "expires_too_long", "expires"),
        ("expires=2999-01-01T00:00:00Z", "expires_too_long", "expires"),
        ("expires=2001-01-01T00:00:00Z", "option_invalid", "expires"),
        ("expires", "option_invalid", "expires"),
        ("expires=", "option_invalid", "expires"),
        ("expires=0s", "option_invalid", "expires"),
        ("expires=-1h", "option_invalid", "expires"),
        ("expires=1.5h", "option_invalid", "expires"),
        ("expires=1", "option_invalid", "expires"),
        ("expires=h", "option_invalid", "expires"),
        ("expires=1w", "option_invalid", "expires"),
        ("expires=1H", "option_invalid", "expires"),
        ("expires=%201h", "option_invalid", "expires"),
        ("expires=+1h", "option_invalid", "expires"),
        ("expires=1h30m", "option_invalid", "expires"),
        ("expires=99999999999999999999999d", "option_invalid", "expires"),
        ("expires=2030-02-31T00:00:00Z", "option_invalid", "expires"),
        ("expires=2030-01-31", "option_invalid", "expires"),
        ("expires=2030-01-31T18:00:00", "option_invalid", "expires"),
        ("expires=%C3%A9", "option_invalid", "expires"),
        ("downloads=0", "option_invalid", "downloads"),
        ("downloads=-1", "option_invalid", "downloads"),
        ("downloads=+1", "option_invalid", "downloads"),
        ("downloads=1.0", "option_invalid", "downloads"),
        ("downloads=", "option_invalid", "downloads"),
        ("downloads=many", "option_invalid", "downloads"),
        ("downloads=1000001", "option_invalid", "downloads"),
        ("downloads=1000000000000000000000000000000", "option_invalid", "downloads"),
    ] {
        let said = problem(&server, put(&server, &format!("/f?{query}"))).await;
        assert_eq!(
            (said.status, said.code.as_str(), said.field.as_deref()),
            (422, code, Some(field)),
            "{query}"
        );
    }
    for (header, value, code) in [
        ("burnbag-expire", "1h", "option_unknown"),
        ("burnbag-passwort", "hunter2", "option_unknown"),
        ("burnbag-expires", "soon", "option_invalid"),
        ("burnbag-downloads", "0", "option_invalid"),
    ] {
        let said = problem(&server, put(&server, "/f").header(header, value)).await;
        assert_eq!((said.status, said.code.as_str()), (422, code), "{header}");
    }
    let both = put(&server, "/f?expires=1h").header("burnbag-expires", "2h");
    assert_eq!(problem(&server, both).await.code, "option_conflict");
    let twice = put(&server, "/f").header("burnbag-expires", "1h").header("burnbag-expires", "2h");
    assert_eq!(problem(&server, twice).await.code, "option_conflict");
    // The same said twice is no contradiction.
    assert_eq!(
        put(&server, "/f?expires=60m").header("burnbag-expires", "1h").send().await.unwrap().status(),
        201
    );
    assert_eq!(server.stored().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_option_in_a_form_is_held_to_the_same_rules() {
    let server = super::serve(&[]).await;
    for (fields, code) in [
        (&[("expire", "1h")][..], "option_unknown"),
        (&[("passwort", "hunter2")], "option_unknown"),
        (&[("password", "hunter2"), ("password", "hunter3")], "option_conflict"),
        (&[("password", "hunter\0two")], "option_invalid"),
        (&[("expires", "1h"), ("expires", "2h")], "option_conflict"),
        (&[("expires", "8d")], "expires_too_long"),
        (&[("downloads", "0")], "option_invalid"),
        (&[("file", "no file name")], "option_unknown"),
    ] {
        for after in [true, false] {
            let part = || reqwest::multipart::Part::text("what").file_name("f");
            let mut form = reqwest::multipart::Form::new();
            if after {
                form = form.part("file", part());
            }
            for (name, value) in fields {
                form = form.text(*name, *value);
            }
            if !after {
                form = form.part("file", part());
            }
            let request =
                reqwest::Client::new().post(format!("{}/", server.url)).basic_auth("", Some(&server.token));
            let said = problem(&server, request.multipart(form)).await;
            assert_eq!((said.status, said.code.as_str()), (422, code), "{fields:?}");
        }
    }
    empties(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_out_of_range_is_refused_by_its_range_and_never_repeated() {
    let server = super::serve(&[]).await;
    let refused = async |given: &str, request: reqwest::RequestBuilder, range: &str| {
        let answer = request.header("accept", "application/json").send().await.unwrap();
        assert_eq!(answer.status(), 422);
        let body = answer.text().await.unwrap();
        let said: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&said["code"], &said["field"]), (&"option_invalid".into(), &"password".into()), "{body}");
        assert!(said["detail"].as_str().unwrap().contains(range), "{body}");
        let known = given.get(..given.len().min(40)).unwrap_or(given);
        assert!(known.len() < 4 || !body.contains(known), "{body}");
    };
    let range = "1 to 1024 bytes of UTF-8 without control characters";
    let form = |value: &[u8]| {
        let file = reqwest::multipart::Part::text("what").file_name("f");
        let form = reqwest::multipart::Form::new()
            .part("file", file)
            .part("password", reqwest::multipart::Part::bytes(value.to_vec()));
        reqwest::Client::new()
            .post(format!("{}/", server.url))
            .basic_auth("", Some(&server.token))
            .multipart(form)
    };
    for bad in ["", "hunter\ttwo", &"hunter-2".repeat(129)] {
        refused(bad, put(&server, "/f").header("burnbag-password", bad), range).await;
    }
    refused("", put(&server, "/f").header("burnbag-password", &b"hunter\xff"[..]), range).await;
    for bad in [&b"hunter\0two"[..], b"hunter\ntwo", b"hunter\xff", &b"hunter-2".repeat(1 << 17)] {
        let text = String::from_utf8_lossy(bad);
        refused(&text, form(bad), range).await;
    }
    // What has a token's form is taken for the token, wherever both can stand.
    for request in
        [put(&server, "/f").header("burnbag-password", &server.token), form(server.token.as_bytes())]
    {
        refused(&server.token, request, "something else than a token").await;
    }
    empties(&server).await;
}

fn raw(server: &Server, line: &str, headers: &str, body: &str) -> Vec<u8> {
    let basic = server.basic();
    format!(
        "{line} HTTP/1.1\r\nHost: x\r\nAuthorization: {basic}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_a_query_is_refused_before_the_body() {
    let server = super::serve(&[]).await;
    let link = server.send("f", "what", "").await;
    let path = link.url.strip_prefix(&server.url).unwrap();
    let (secret, below) = (format!("GET {path}?secret={}", link.secret), format!("GET {path}/?Password=x"));
    for line in [
        "PUT /f?password=x",
        "PUT /f?%70assword=x",
        "PUT /f?burnbag-password=x",
        "POST /?token=x",
        &secret,
        &below,
    ] {
        // The body never comes: it is not waited for.
        let length = if line.starts_with("GET") { "" } else { "Content-Length: 1000\r\n" };
        let answer = server.raw(&raw(&server, line, length, ""), true).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line}: {answer}");
        assert!(answer.ends_with("(secret_in_query)\n"), "{line}: {answer}");
    }
    assert_eq!(server.stored().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_file_is_not_taken_for_the_whole() {
    let server = super::serve(&[]).await;
    for range in ["bytes 0-2/4", "bytes 0-3/*", "bytes 1-4/4", "bytes 0-3/5", "bytes */4", "bytes=0-3/4", "x"]
    {
        let said = problem(&server, put(&server, "/f").header("content-range", range)).await;
        assert_eq!((said.status, said.code.as_str()), (400, "content_range_unsupported"), "{range}");
    }
    assert_eq!(server.stored().await.len(), 0);
    let whole = put(&server, "/f").header("content-range", "bytes 0-3/4").send().await.unwrap();
    assert_eq!(whole.status(), 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_a_good_token_is_refused() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let mut broken = server.token.clone();
    let last = if broken.ends_with('0') { '1' } else { '0' };
    broken.pop();
    broken.push(last);
    let unknown = burnbag::crypto::Token::generate(burnbag::crypto::TokenKind::Usr);
    let second = {
        let mut create = command(server.environment());
        let made = create.args(["token", "create"]).env("BURNBAG_TOKEN", &server.token).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        text(&made.stdout).trim().to_owned()
    };
    let with = |authorization: Option<String>| {
        let mut request = client.put(format!("{}/f", server.url)).body("what");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        request
    };
    assert_eq!(with(Some(basic("", &second))).send().await.unwrap().status(), 201);
    assert_eq!(with(Some(basic(&second, ""))).send().await.unwrap().status(), 201);
    let listed = text(&server.burnbag(&["token", "list"]).stdout);
    let newest = listed.lines().last().unwrap().split(' ').next().unwrap();
    assert!(server.burnbag(&["token", "revoke", newest]).status.success());
    for (what, authorization, code) in [
        ("none", None, "token_required"),
        ("broken", Some(format!("Bearer {broken}")), "token_invalid"),
        ("broken", Some(basic("", &broken)), "token_invalid"),
        ("unknown", Some(format!("Bearer {}", unknown.text())), "token_invalid"),
        ("revoked", Some(format!("Bearer {second}")), "token_invalid"),
        ("revoked", Some(basic("", &second)), "token_invalid"),
        ("a password", Some(basic("admin", "admin")), "token_invalid"),
        ("another scheme", Some("Digest x".to_owned()), "token_invalid"),
    ] {
        let said = problem(&server, with(authorization.clone())).await;
        assert_eq!((said.status, said.code.as_str()), (401, code), "{what}");
        let tool = with(authorization).send().await.unwrap();
        assert_eq!(tool.headers()["www-authenticate"], "Basic realm=\"burnbag\"", "{what}");
        assert!(tool.text().await.unwrap().ends_with(&format!("({code})\n")), "{what}");
    }
    let page = with(None).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.headers()["www-authenticate"], "Bearer");
    assert_eq!(server.stored().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_as_long_as_was_said_leaves_nothing() {
    let server = super::serve(&[]).await;
    // Too few bytes, and the client leaves.
    let few = raw(&server, "PUT /f", "Content-Length: 300000\r\n", &"x".repeat(200_000));
    let answer = server.raw(&few, false).await;
    assert!(!answer.starts_with("HTTP/1.1 201"), "{answer}");
    empties(&server).await;
    // More than was said: the rest is no part of the file.
    let more = server.raw(&raw(&server, "PUT /f", "Content-Length: 4\r\n", "what and more"), true).await;
    assert!(more.starts_with("HTTP/1.1 201 "), "{more}");
    let link = more.lines().last().unwrap();
    let got = Link::parse(link, "").get(&reqwest::Client::new()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), "what");
    // No length at all is an empty file; two different lengths are nonsense.
    let two = raw(&server, "PUT /f", "Content-Length: 4\r\nContent-Length: 5\r\n", "what");
    assert!(server.raw(&two, true).await.starts_with("HTTP/1.1 400 "));
    let no_number = raw(&server, "PUT /f", "Content-Length: four\r\n", "what");
    assert!(server.raw(&no_number, true).await.starts_with("HTTP/1.1 400 "));
    assert_eq!(server.stored().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_half_way_leaves_nothing() {
    let server = super::serve(&[]).await;
    let chunked = raw(&server, "PUT /f", "Transfer-Encoding: chunked\r\n", "4\r\nwhat\r\n");
    server.raw(&chunked, false).await;
    let bad_chunk = raw(&server, "PUT /f", "Transfer-Encoding: chunked\r\n", "4\r\nwhat\r\nnonsense\r\n");
    assert!(!server.raw(&bad_chunk, true).await.contains(" 201 "));
    let head = "Transfer-Encoding: chunked\r\nContent-Type: multipart/form-data; boundary=B\r\n";
    let part = "--B\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nwhat\r\n--B\r\n";
    let form = format!("{:x}\r\n{part}\r\n", part.len());
    server.raw(&raw(&server, "POST /", head, &form), false).await;
    // The form ends in the middle, cleanly for HTTP.
    let ended = server.raw(&raw(&server, "POST /", head, &format!("{form}0\r\n\r\n")), true).await;
    assert!(ended.starts_with("HTTP/1.1 400 ") && ended.ends_with("(request_malformed)\n"), "{ended}");
    // More than a part, so that something is on disk before it leaves.
    let slow = format!(
        "head -c 3000000 /dev/zero | timeout 2 curl -sS -u ':{}' --limit-rate 2M -T - --max-time 1 {}/f",
        server.token, server.url
    );
    assert!(!run("sh", &["-c", &slow]).await.status.success());
    empties(&server).await;
    let ended = || server.events().iter().filter(|event| event["type"] == "transfer.abandoned").count();
    wait_for("five ends on record", async || (ended() == 5).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_cannot_be_done_is_said() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", server.url);
    for kind in
        ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/mixed; boundary=B"]
    {
        let request = client
            .post(url("/"))
            .basic_auth("", Some(&server.token))
            .header("content-type", kind)
            .body("a=b");
        let said = problem(&server, request).await;
        assert_eq!((said.status, said.code.as_str()), (415, "media_type_unsupported"), "{kind}");
    }
    let no_boundary = client
        .post(url("/"))
        .basic_auth("", Some(&server.token))
        .header("content-type", "multipart/form-data");
    assert_eq!(problem(&server, no_boundary.body("x")).await.status, 400);
    let id = "0".repeat(32);
    for (method, path, allowed) in [
        ("DELETE", "/".to_owned(), "GET,HEAD,PUT,POST"),
        ("POST", "/livez".to_owned(), "GET,HEAD,PUT"),
        ("PATCH", "/name".to_owned(), "GET,HEAD,PUT"),
        ("PUT", format!("/d/{id}"), "GET,HEAD,POST,DELETE"),
        ("POST", format!("/d/{id}/"), "GET,HEAD"),
        ("PUT", format!("/d/{id}/f"), "GET,HEAD"),
        ("PUT", format!("/api/v1/transfers/{id}"), "GET,HEAD,PATCH,DELETE"),
    ] {
        let request = || {
            client.request(method.parse::<Method>().unwrap(), url(&path)).basic_auth("", Some(&server.token))
        };
        let said = problem(&server, request()).await;
        assert_eq!((said.status, said.code.as_str()), (405, "method_not_allowed"), "{method} {path}");
        let answer = request().send().await.unwrap();
        let sorted = |list: &str| {
            let mut words: Vec<_> = list.split(',').map(|word| word.trim().to_owned()).collect();
            words.sort();
            words
        };
        assert_eq!(sorted(answer.headers()["allow"].to_str().unwrap()), sorted(allowed), "{method} {path}");
    }
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/api/v1/nothing"),
        ("PUT", "/a/b"),
        ("GET", "/assets/nothing"),
        ("GET", "/problems/nothing"),
        ("GET", "/api/v1/transfers/nonsense"),
        ("GET", "/api/v1/transfers/00000000000000000000000000000000"),
        ("DELETE", "/api/v1/transfers/ABCDEF"),
        ("DELETE", "/d/nonsense"),
        ("DELETE", "/d/00000000000000000000000000000000"),
    ] {
        let request = client.request(method.parse().unwrap(), url(path)).basic_auth("", Some(&server.token));
        let said = problem(&server, request).await;
        assert_eq!((said.status, said.code.as_str()), (404, "not_found"), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_can_do_nothing() {
    let server = super::serve(&[]).await;
    let link = server.send("f", "what", "").await;
    let client = reqwest::Client::new();
    let host = server.address().to_owned();
    let ours = server.url.clone();
    for (name, value, refused) in [
        ("origin", "https://evil.example", true),
        ("origin", "null", true),
        ("origin", "http://127.0.0.1", true),
        ("origin", ours.as_str(), false),
        ("sec-fetch-site", "cross-site", true),
        ("sec-fetch-site", "same-site", true),
        ("sec-fetch-site", "same-origin", false),
        ("sec-fetch-site", "none", false),
    ] {
        let said =
            put(&server, "/f").header(name, value).header("accept", "application/json").send().await.unwrap();
        assert_eq!(said.status().as_u16(), if refused { 403 } else { 201 }, "{name}: {value}");
        let ticket = client
            .post(format!("{}/ticket", link.url))
            .header(name, value)
            .json(&serde_json::json!({"secret": link.secret}));
        assert_eq!(
            ticket.send().await.unwrap().status().as_u16(),
            if refused { 403 } else { 200 },
            "{name}: {value}"
        );
        if refused {
            let end = client.delete(&link.url).basic_auth("", Some(&server.token)).header(name, value);
            let said = problem(&server, end).await;
            assert_eq!((said.status, said.code.as_str()), (403, "cross_site"), "{name}: {value}");
        }
    }
    // Reading changes nothing.
    assert_eq!(
        link.get(&client).header("origin", "https://evil.example").send().await.unwrap().status(),
        200
    );
    assert!(host.starts_with("127.0.0.1:"));
}

#[test]
fn a_length_is_digits_alone() {
    use axum::http::{HeaderMap, header::CONTENT_LENGTH};
    use burnbag::http::incoming::content_length;
    let read = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, text.parse().unwrap());
        content_length(&headers)
    };
    assert_eq!(read("007").unwrap(), Some(7));
    for text in ["+5", "-5", "", "5,5", "0x5", "99999999999999999999"] {
        assert!(read(text).is_err(), "{text:?}");
    }
}
