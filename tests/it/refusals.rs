//! How a refusal reaches who asked: one 404, challenges that its client can use, a form that it reads, and the record.

use reqwest::Response;
use reqwest::header::HeaderMap;

use crate::bad_input::{empties, put};
use crate::support::{Link, run, text, wait_for};

/// All of an answer but what differs each time.
async fn whole(answer: Response) -> (u16, HeaderMap, String) {
    let (status, mut headers) = (answer.status().as_u16(), answer.headers().clone());
    let id = headers.remove("x-request-id").unwrap().to_str().unwrap().to_owned();
    headers.remove("date");
    (status, headers, answer.text().await.unwrap().replace(&id, "ID"))
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_404_for_every_link_that_does_not_open() {
    let server = super::serve(&[("BURNBAG_LEASE_RETRY", "1s")]).await;
    let client = reqwest::Client::new();
    let live = server.send("f", "what", "").await;
    let other = server.send("f", "what", "").await;
    let expired = server.send("f", "what", "expires=1s").await;
    let deleted = server.send("f", "what", "").await;
    let used = server.send("f", "what", "downloads=1").await;
    assert_eq!(used.get(&client).send().await.unwrap().text().await.unwrap(), "what");
    let end = client.delete(&deleted.url).basic_auth("", Some(&server.token));
    assert_eq!(end.send().await.unwrap().status(), 204);
    for (link, state) in [(&expired, "expired"), (&used, "exhausted")] {
        wait_for(state, async || (server.transfer(&link.transfer).await["reason"] == state).then_some(()))
            .await;
    }
    let unknown = Link { url: format!("{}/d/{}", server.url, "0".repeat(32)), ..live.clone() };
    let wrong = Link { secret: other.secret.clone(), ..live.clone() };
    let nonsense = Link { secret: "nonsense".to_owned(), ..live.clone() };
    for accept in ["*/*", "application/json", "text/html"] {
        let ask = async |link: &Link, below: &str| {
            let request = client.get(format!("{}{below}", link.url)).basic_auth("x", Some(&link.secret));
            whole(request.header("accept", accept).send().await.unwrap()).await
        };
        let first = ask(&unknown, "").await;
        assert_eq!(first.0, 404);
        for link in [&expired, &deleted, &used, &wrong, &nonsense, &unknown] {
            for below in ["", "/", "/f", "/other"] {
                assert_eq!(ask(link, below).await, first, "{accept} {below}");
            }
        }
        let mut posted = None;
        for link in [&unknown, &expired, &deleted, &used, &wrong, &nonsense] {
            let request =
                client.post(format!("{}/ticket", link.url)).json(&serde_json::json!({"secret": link.secret}));
            let said = whole(request.header("accept", accept).send().await.unwrap()).await;
            assert_eq!(said.0, 404);
            assert_eq!(posted.get_or_insert_with(|| said.clone()), &said, "{accept}");
        }
    }
    assert_eq!(live.get(&client).send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_challenge_is_one_that_its_client_can_use() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let link = server.send("f", "what", "").await;
    let id = link.url.rsplit('/').next().unwrap();
    let unknown = format!("{}/d/{}", server.url, "0".repeat(32));
    for below in ["", "/", "/f"] {
        let answer = client.get(format!("{}{below}", link.url)).send().await.unwrap();
        assert_eq!(answer.status(), 401, "{below}");
        assert_eq!(answer.headers()["www-authenticate"], format!("Basic realm=\"burnbag {id}\""), "{below}");
        let said = answer.text().await.unwrap();
        assert!(said.lines().count() == 1 && said.contains("curl --fail-with-body"), "{said}");
        // An id that nobody knows is asked for its secret too.
        assert_eq!(client.get(format!("{unknown}{below}")).send().await.unwrap().status(), 401, "{below}");
        let script =
            client.get(format!("{}{below}", link.url)).header("sec-fetch-mode", "cors").send().await.unwrap();
        assert_eq!(script.headers()["www-authenticate"], "Bearer", "{below}");
        let json = client
            .get(format!("{}{below}", link.url))
            .header("accept", "application/json")
            .send()
            .await
            .unwrap();
        assert_eq!(
            (json.status().as_u16(), &json.headers()["www-authenticate"]),
            (401, &"Bearer".parse().unwrap()),
            "{below}"
        );
    }
    let page = client.get(&link.url).header("accept", "text/html").send().await.unwrap();
    let other = client.get(&unknown).header("accept", "text/html").send().await.unwrap();
    assert_eq!(page.status(), 200);
    assert_eq!(page.text().await.unwrap(), other.text().await.unwrap());
    // A token alone opens nothing by GET.
    let token = client.get(&link.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(token.status(), 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn real_curl_sees_why_a_large_body_is_refused() {
    let server = super::serve(&[("BURNBAG_MAX_UPLOAD_BYTES", "1MiB")]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(60_000_000).unwrap();
    let (path, url) = (file.path().to_str().unwrap(), format!("{}/f", server.url));
    let good = format!(":{}", server.token);
    for expect in ["Expect:", "Expect: 100-continue"] {
        for (who, code) in [(&good, "413 file_too_large"), (&":nonsense".to_owned(), "401 token_invalid")] {
            for length in [true, false] {
                let mut arguments =
                    vec!["-sS", "-w", "%{http_code}", "-u", who, "-H", expect, "-T", path, &url];
                if !length {
                    arguments.extend(["-H", "Transfer-Encoding: chunked"]);
                }
                let said = run("curl", &arguments).await;
                let (status, name) = code.split_once(' ').unwrap();
                let shown = text(&said.stdout);
                assert!(said.status.success(), "{expect} {code} {length}: {}", text(&said.stderr));
                assert!(shown.ends_with(&format!("({name})\n{status}")), "{expect} {code} {length}: {shown}");
            }
        }
    }
    empties(&server).await;
    let fits = put(&server, "/f").body(vec![0; 1 << 20]).send().await.unwrap();
    assert_eq!(fits.status(), 201);
    assert_eq!(put(&server, "/f").body(vec![0; (1 << 20) + 1]).send().await.unwrap().status(), 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_has_the_form_that_its_client_reads() {
    let server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let tool = client.get(format!("{}/nothing", server.url)).send().await.unwrap();
    assert_eq!(tool.headers()["content-type"], "text/plain; charset=utf-8");
    let line = tool.text().await.unwrap();
    assert!(
        line.starts_with("burnbag: ") && line.ends_with(" (not_found)\n") && line.lines().count() == 1,
        "{line}"
    );
    let page =
        client.get(format!("{}/nothing", server.url)).header("accept", "text/html,*/*").send().await.unwrap();
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().contains("not_found"));
    // Below /api it is the object, whatever is asked for.
    let api = client
        .get(format!("{}/api/v1/nothing", server.url))
        .header("accept", "text/html")
        .send()
        .await
        .unwrap();
    assert_eq!(api.headers()["content-type"], "application/problem+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_429_and_on_record_once() {
    let mut server = super::serve(&[]).await;
    server.stop().await;
    server.set("BURNBAG_RATE", "1/s, burst 8");
    server.start_again().await;
    let client = reqwest::Client::new();
    let mut refused = 0;
    for _ in 0..20 {
        let answer = client.get(format!("{}/livez", server.url)).send().await.unwrap();
        if answer.status() == 429 {
            refused += 1;
            let after: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=2).contains(&after), "{after}");
            assert!(answer.text().await.unwrap().ends_with("(rate_limited)\n"));
        } else {
            assert_eq!(answer.status(), 200);
        }
    }
    assert!(refused >= 8, "{refused}");
    server.stop().await;
    let lines: Vec<_> =
        server.events().into_iter().filter(|event| event["reason"] == "rate_limited").collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0]["count"].as_u64().unwrap() >= refused, "{lines:?}");
    assert_eq!((&lines[0]["outcome"], &lines[0]["client"]), (&"refused".into(), &"127.0.0.1".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_on_record_one_line_a_kind() {
    let mut server = super::serve(&[]).await;
    let client = reqwest::Client::new();
    let link = server.send("f", "what", "").await;
    for _ in 0..3 {
        assert_eq!(client.put(format!("{}/f", server.url)).body("x").send().await.unwrap().status(), 401);
        assert_eq!(put(&server, "/f?expire=1h").send().await.unwrap().status(), 422);
        let wrong = client.get(&link.url).basic_auth("x", Some("nonsense"));
        assert_eq!(wrong.send().await.unwrap().status(), 404);
    }
    server.stop().await;
    let id = link.url.rsplit('/').next().unwrap();
    for (kind, code, about) in [
        ("login.refused", "token_required", "client"),
        ("upload.refused", "option_unknown", "client"),
        ("download.refused", "link_not_found", "link"),
    ] {
        let lines: Vec<_> = server.events().into_iter().filter(|event| event["reason"] == code).collect();
        assert_eq!(lines.len(), 1, "{code}: {lines:?}");
        assert_eq!((&lines[0]["type"], &lines[0]["count"]), (&kind.into(), &3.into()), "{lines:?}");
        let named = if about == "link" { id } else { "127.0.0.1" };
        assert_eq!(lines[0][about], named, "{lines:?}");
    }
}
