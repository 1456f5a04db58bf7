//! What was sent is on no disk and in no log, and no secret either: it is looked for as it is, in hex and in base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use crate::support::{Link, Server, basic, files_below, run, text};

const CANARY: &str = "canary-that-sings-7f3a9c51e2";

/// The password of the last link.
const PASSWORD: &str = "sesame-that-stays-shut-91b2f0";

/// What must be found nowhere: a name for the test's message, and the bytes.
type Needle = (String, Vec<u8>);

/// A text as it is, in hex, and at each of the three offsets that it can have in base64.
fn forms(what: &str, bytes: &[u8]) -> Vec<Needle> {
    let mut forms = vec![
        (what.to_owned(), bytes.to_vec()),
        (format!("{what} in hex"), hex::encode(bytes).into_bytes()),
        (format!("{what} in upper hex"), hex::encode_upper(bytes).into_bytes()),
        (format!("{what} in UTF-16"), bytes.iter().flat_map(|byte| [*byte, 0]).collect()),
    ];
    for offset in 0..3 {
        let shifted = [&[b' '; 3][..offset], bytes].concat();
        for (engine, kind) in [(&STANDARD, "base64"), (&URL_SAFE_NO_PAD, "base64url")] {
            let text = engine.encode(&shifted).into_bytes();
            // The characters at both ends depend on what stands beside.
            let inner = text[4.min(text.len())..text.len().saturating_sub(4)].to_vec();
            forms.push((format!("{what} in {kind} at {offset}"), inner));
        }
    }
    forms
}

fn secret(what: &str, text: &str) -> Vec<Needle> {
    let mut found = forms(what, text.as_bytes());
    if let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) {
        found.extend(forms(&format!("{what}, decoded"), &bytes));
    }
    found
}

/// The needles by their first two bytes, so that a place is read once for all of them.
struct Search<'a>(Vec<Vec<&'a Needle>>);

impl<'a> Search<'a> {
    fn new(needles: &'a [Needle]) -> Self {
        let mut by_start = vec![Vec::new(); 1 << 16];
        for needle in needles {
            assert!(needle.1.len() >= 8, "{} is too short to be looked for", needle.0);
            by_start[usize::from(needle.1[0]) << 8 | usize::from(needle.1[1])].push(needle);
        }
        Self(by_start)
    }

    /// What is found first, if anything is.
    fn find(&self, hay: &[u8]) -> Option<&'a str> {
        let mut start = 0;
        for (at, byte) in hay.iter().enumerate() {
            start = (start << 8 | usize::from(*byte)) & 0xFFFF;
            for (what, needle) in &self.0[start] {
                if at > 0 && hay[at - 1..].starts_with(needle) {
                    return Some(what);
                }
            }
        }
        None
    }
}

/// Looks through every file of the data directory and of the records, every object, their names, and the log.
async fn clean(server: &Server, needles: &[Needle], when: &str) {
    let mut places: Vec<(String, Vec<u8>)> = vec![("the log".to_owned(), server.log().into_bytes())];
    let records = server.stores.record_files(&server.data());
    assert!(records.iter().any(|file| std::fs::metadata(file).is_ok_and(|file| file.len() > 1000)));
    for file in files_below(&server.data()).into_iter().chain(records) {
        let name = file.display().to_string();
        places.push((format!("the name of {name}"), name.clone().into_bytes()));
        if let Ok(bytes) = std::fs::read(&file) {
            places.push((name, bytes));
        }
    }
    for (key, bytes) in server.stores.in_the_bucket().await {
        places.push((format!("the key {key}"), key.clone().into_bytes()));
        places.push((key, bytes));
    }
    let search = Search::new(needles);
    for (place, bytes) in &places {
        assert_eq!(search.find(bytes), None, "{when}: in {place}");
    }
}

async fn sent(answer: reqwest::Response) -> Link {
    assert_eq!(answer.status(), 201);
    Link::parse(answer.text().await.unwrap().trim_end(), "")
}

/// Sends what is refused, and what ends half-way.
async fn refused(server: &Server, client: &reqwest::Client, long: &str) {
    let url = format!("{}/", server.url);
    for path in [
        format!("{CANARY}?expire={CANARY}"),
        format!("{CANARY}?password={CANARY}"),
        format!("{CANARY}/{CANARY}"),
        format!("{CANARY}%2F"),
    ] {
        let put = client.put(format!("{url}{path}")).basic_auth("", Some(&server.token)).body(CANARY);
        assert!(put.send().await.unwrap().status().is_client_error(), "{path}");
    }
    let too_long = CANARY.repeat(50);
    let put = client.put(&url).basic_auth("", Some(&server.token)).header("burnbag-password", too_long);
    assert_eq!(put.body(CANARY).send().await.unwrap().status(), 422);
    assert_eq!(
        client.put(&url).basic_auth("x", Some(CANARY)).body(CANARY).send().await.unwrap().status(),
        401
    );
    let half = format!(
        "PUT /{CANARY} HTTP/1.1\r\nHost: x\r\nAuthorization: {}\r\nContent-Length: 9999999\r\n\r\n{long}",
        server.basic()
    );
    server.raw(half.as_bytes(), false).await;
}

/// A link with a password, which is said in every way, right and wrong, and lifted.
async fn locked(server: &Server, client: &reqwest::Client) -> Link {
    let put = client.put(format!("{}/{CANARY}", server.url)).basic_auth("", Some(&server.token));
    let answer = put.header("burnbag-password", PASSWORD).body(CANARY).send().await.unwrap();
    let transfer = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
    let link = Link { transfer, ..sent(answer).await };
    for (password, status) in [(PASSWORD, 200), (&PASSWORD[..20], 401)] {
        let get = client.get(&link.url).basic_auth("x", Some(format!("{}:{password}", link.secret)));
        assert_eq!(get.send().await.unwrap().status(), status);
        let said = serde_json::json!({"secret": link.secret, "password": password});
        let ask = client.post(format!("{}/ticket", link.url)).json(&said).send().await.unwrap();
        assert_eq!(ask.status(), status);
        assert!(!ask.text().await.unwrap().contains("sesame"));
        let form = client.post(&link.url).header("content-type", "application/x-www-form-urlencoded");
        let form = form.body(format!("secret={}&password={password}", link.secret)).send().await.unwrap();
        assert_eq!(form.status(), if status == 200 { 303 } else { status });
    }
    let id = link.url.rsplit('/').next().unwrap();
    let unlock = format!("{}/api/v1/transfers/{}/links/{id}/unlock", server.url, link.transfer);
    assert_eq!(client.post(unlock).bearer_auth(&server.token).send().await.unwrap().status(), 204);
    let twice = client.put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
    let twice = twice.header("burnbag-password", PASSWORD).header("burnbag-password", &PASSWORD[1..]);
    let refused = twice.body("x").send().await.unwrap();
    assert_eq!(refused.status(), 422);
    assert!(!refused.text().await.unwrap().contains("sesame"));
    link
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_what_was_sent_nor_a_secret_is_on_disk_or_in_the_log() {
    let mut server = super::serve(&[("BURNBAG_LOG", "trace")]).await;
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    // A little more than a part.
    let long = CANARY.repeat(40_000);
    let me = format!(":{}", server.token);
    let url = format!("{}/", server.url);
    let mut links = Vec::new();

    // By every way in: small and large, with a length and without, in a form, refused, and left half-way.
    for body in [CANARY.to_owned(), long.clone()] {
        let put = client.put(format!("{url}{CANARY}.txt?expires=1h")).basic_auth("", Some(&server.token));
        links.push(
            sent(put.header("content-type", format!("text/{CANARY}")).body(body).send().await.unwrap()).await,
        );
    }
    let frames = futures_util::stream::iter(
        long.as_bytes()
            .chunks(9_999)
            .map(|chunk| Ok::<_, std::io::Error>(chunk.to_vec()))
            .collect::<Vec<_>>(),
    );
    let put = client.put(&url).bearer_auth(&server.token).body(reqwest::Body::wrap_stream(frames));
    links.push(sent(put.send().await.unwrap()).await);
    let part = reqwest::multipart::Part::text(long.clone()).file_name(format!("{CANARY}/{CANARY}"));
    let form = reqwest::multipart::Form::new().part("file", part).text("text", CANARY);
    links.push(
        sent(client.post(&url).basic_auth("", Some(&server.token)).multipart(form).send().await.unwrap())
            .await,
    );
    refused(&server, &client, &long).await;
    let locked = locked(&server, &client).await;

    // By every way out.
    let mut tickets = Vec::new();
    for link in &links {
        let answer = link.get(&client).send().await.unwrap();
        assert!(answer.status().as_u16() < 400, "{}", answer.status());
        answer.bytes().await.unwrap();
        let who = format!("x:{}", link.secret);
        assert!(
            run("curl", &["-sSf", "-u", &who, "-r", "5-90000", "-L", "-o", "/dev/null", &link.url])
                .await
                .status
                .success()
        );
        assert_eq!(client.head(&link.url).basic_auth("x", Some(CANARY)).send().await.unwrap().status(), 404);
        assert_eq!(
            client.get(format!("{}?secret={}", link.url, link.secret)).send().await.unwrap().status(),
            400
        );
        let ask =
            client.post(format!("{}/ticket", link.url)).json(&serde_json::json!({"secret": link.secret}));
        let answer = ask.send().await.unwrap();
        let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let index = client.get(format!("{}/", link.url)).header("cookie", &cookie).send().await.unwrap();
        assert!(index.text().await.unwrap().contains("deadline") || !cookie.is_empty());
        tickets.push(cookie.split_once('=').unwrap().1.to_owned());
        let form = client.post(&link.url).header("content-type", "application/x-www-form-urlencoded");
        let pasted = form.body(format!("secret={}", link.secret)).send().await.unwrap();
        assert!(pasted.status().is_success() || pasted.status().is_redirection(), "{}", pasted.status());
    }
    let listed = server.burnbag(&["token", "list"]);
    assert!(listed.status.success());
    let shown = run("curl", &["-sS", "-u", &me, &format!("{url}api/v1/transfers/0")]).await;
    assert!(text(&shown.stdout).contains("not_found"));

    let mut needles = forms("the canary", CANARY.as_bytes());
    needles.extend(secret("the token", &server.token));
    needles.extend(forms("the token's secret part", &server.token.as_bytes()[7..37]));
    needles.push(("the Basic header".to_owned(), server.basic().into_bytes()[6..].to_vec()));
    for link in &links {
        needles.extend(secret("a link secret", &link.secret));
        needles
            .push(("a link's Basic header".to_owned(), basic("x", &link.secret).into_bytes()[6..].to_vec()));
    }
    needles.extend(forms("a password", PASSWORD.as_bytes()));
    needles.extend(secret("the secret of a link with a password", &locked.secret));
    let said = basic("x", &format!("{}:{PASSWORD}", locked.secret)).into_bytes()[6..].to_vec();
    needles.push(("its Basic header".to_owned(), said));
    for ticket in &tickets {
        needles.extend(secret("a ticket", ticket));
    }
    clean(&server, &needles, "while it runs").await;
    let end = client.delete(&links[0].url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(end.status(), 204);
    server.stop().await;
    clean(&server, &needles, "when it has stopped").await;
    assert!(server.log().contains("trace_id"), "it logged: {}", server.log());
    server.start_again().await;
    clean(&server, &needles, "when it runs again").await;
    // The search itself finds what is there, in every form.
    for (what, needle) in &needles {
        let hay = [b"some", &needle[..], b"more"].concat();
        let one = [(what.clone(), needle.clone())];
        assert_eq!(Search::new(&one).find(&hay), Some(what.as_str()));
    }
}
