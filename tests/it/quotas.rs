//! What a team may hold: exact however many ask at once, given back whatever happens, and told to who is refused.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burnbag::clock::{Clock as _, SystemClock, Timestamp};
use burnbag::storage::RecordStore;
use burnbag::storage::records::sqlite::SqliteRecords;
use burnbag::transfer::TeamId;
use burnbag::transfer::policy::Expires;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::serve;
use crate::sample::{available, system};
use crate::support::{Link, Server, noise, text, wait_for};

const HOUR: Expires = Expires::After(3_600_000);

/// What the API says to a GET.
async fn get(server: &Server, token: &str, path: &str) -> (u16, Value) {
    let request = reqwest::Client::new().get(format!("{}{path}", server.url)).bearer_auth(token);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

async fn me(server: &Server) -> Value {
    let (status, me) = get(server, &server.token, "/api/v1/me").await;
    assert_eq!(status, 200, "{me}");
    me
}

/// Bytes, transfers and uploads that are used.
async fn used(server: &Server) -> [u64; 3] {
    let quota = &me(server).await["quota"];
    ["bytes", "transfers", "uploads"].map(|what| quota[what]["used"].as_u64().unwrap())
}

/// `burnbag doctor` finds nothing, beside the service or alone.
fn is_sound(server: &Server) {
    let said = server.burnbag(&["doctor"]);
    let (out, error) = (text(&said.stdout), text(&said.stderr));
    assert_eq!(said.status.code(), Some(0), "{out}{error}");
    assert!(out.contains("no drift") && out.contains("as its records add up to"), "{out}{error}");
}

/// An upload whose head is sent and whose body is not.
struct Upload {
    stream: TcpStream,
    /// What was said to the head: `100 Continue`, or the whole refusal.
    said: String,
}

impl Upload {
    async fn ask(server: &Server, head: &str) -> Self {
        let mut stream = TcpStream::connect(server.address()).await.unwrap();
        let head = format!(
            "{head}\r\nHost: x\r\nAuthorization: {}\r\nConnection: close\r\nExpect: 100-continue\r\n\r\n",
            server.basic()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"100 Continue\r\n\r\n") {
            let mut more = [0; 1024];
            match stream.read(&mut more).await {
                Ok(read) if read > 0 => said.extend_from_slice(&more[..read]),
                _ => break,
            }
        }
        Self { stream, said: text(&said) }
    }

    async fn put(server: &Server, name: &str, length: usize) -> Self {
        Self::ask(server, &format!("PUT /{name} HTTP/1.1\r\nContent-Length: {length}")).await
    }

    fn admitted(&self) -> bool {
        self.said.starts_with("HTTP/1.1 100")
    }

    /// Sends the body, and reads the answer.
    async fn finish(mut self, body: &[u8]) -> String {
        self.stream.write_all(body).await.unwrap();
        let mut said = Vec::new();
        let _ = self.stream.read_to_end(&mut said).await;
        text(&said)
    }
}

/// Uploads of 40,000 bytes for which there is room.
const FIT: usize = 7;
const EACH: usize = 40_000;
const THERE: usize = 100_000;

pub const LAST_ROOM: &str = "419999";

/// 64 uploads race for the last room of `LAST_ROOM` bytes, over these instances of one service.
pub async fn race(servers: &[&Server]) {
    let first = servers[0];
    let limit: usize = LAST_ROOM.parse().unwrap();
    assert_eq!((limit - THERE) / EACH, FIT);
    first.send("there", noise(THERE, 1), "").await;
    is_sound(first);
    let stop = Arc::new(AtomicBool::new(false));
    let watch = async {
        let mut most = 0;
        while !stop.load(Ordering::Relaxed) {
            for server in servers {
                most = most.max(used(server).await[0]);
            }
        }
        most
    };
    let run = async {
        let asked = (0..64)
            .map(|n| async move { Upload::put(servers[n % servers.len()], &format!("f{n}"), EACH).await });
        let (admitted, refused): (Vec<_>, Vec<_>) =
            join_all(asked).await.into_iter().partition(Upload::admitted);
        assert_eq!(admitted.len(), FIT, "{:?}", refused.first().map(|refused| &refused.said));
        let full = THERE + FIT * EACH;
        assert_eq!(used(first).await, [full as u64, 1 + FIT as u64, FIT as u64]);
        is_sound(first);
        for refused in &refused {
            let said = &refused.said;
            assert!(said.starts_with("HTTP/1.1 413"), "no byte of its body was asked for: {said}");
            for part in ["quota_exceeded", "may store 419999 bytes", "40000 more", "ends at 20"] {
                assert!(said.contains(part), "{part:?} is not in {said}");
            }
        }
        let bodies = admitted
            .into_iter()
            .zip(0..)
            .map(|(upload, n)| async move { upload.finish(&noise(EACH, n)).await });
        for said in join_all(bodies).await {
            assert!(said.starts_with("HTTP/1.1 201"), "{said}");
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (most, ()) = tokio::join!(watch, run);
    let full = (THERE + FIT * EACH) as u64;
    assert!(most <= full, "{most} bytes were held of {LAST_ROOM}");
    assert_eq!(used(first).await, [full, 1 + FIT as u64, 0]);
    is_sound(first);
    assert_eq!(first.stored().await.len(), 1 + FIT, "what was refused left nothing");
    let (_, listed) = get(first, &first.token, "/api/v1/transfers").await;
    let items = listed["items"].as_array().unwrap();
    assert_eq!((items.len(), &listed["next"]), (1 + FIT, &Value::Null));
    for (n, item) in items.iter().enumerate() {
        let server = servers[n % servers.len()];
        let url = format!("{}/api/v1/transfers/{}", server.url, item["id"].as_str().unwrap());
        let ended = reqwest::Client::new().delete(url).bearer_auth(&server.token).send().await.unwrap();
        assert_eq!(ended.status(), 204);
    }
    wait_for("all of it to be given back", async || (used(first).await == [0; 3]).then_some(())).await;
    is_sound(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_uploads_that_race_for_the_last_room_exactly_those_that_fit_are_taken() {
    race(&[&serve(&[("BURNBAG_QUOTA_BYTES", LAST_ROOM)]).await]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_the_middle_of_uploads_it_gives_back_what_they_had_reserved() {
    let settings = [("BURNBAG_QUOTA_BYTES", "10000000"), ("BURNBAG_UPLOAD_IDLE", "10s")];
    let mut server = serve(&settings).await;
    server.send("whole", noise(12_345, 1), "").await;
    let mut open = Vec::new();
    for n in 0..6 {
        let mut upload = Upload::put(&server, &format!("f{n}"), 1_500_000).await;
        assert!(upload.admitted(), "{}", upload.said);
        upload.stream.write_all(&noise(200_000 * n, 2)).await.unwrap();
        open.push(upload);
    }
    let refused = Upload::put(&server, "more", 1_500_000).await;
    assert!(!refused.admitted() && refused.said.contains("9012345 are used or reserved"), "{}", refused.said);
    assert_eq!(used(&server).await, [9_012_345, 7, 6]);
    is_sound(&server);
    server.kill();
    is_sound(&server);
    server.start_again().await;
    is_sound(&server);
    let given_back = async || (used(&server).await == [12_345, 1, 0]).then_some(());
    wait_for("what they had reserved to be given back", given_back).await;
    is_sound(&server);
    drop(open);
}

#[tokio::test]
async fn a_form_and_a_body_of_unknown_length_work_in_a_quota_smaller_than_a_step() {
    let server = serve(&[("BURNBAG_QUOTA_BYTES", "10000")]).await;
    let client = reqwest::Client::new();
    let part = |n| reqwest::multipart::Part::bytes(noise(3000, n)).file_name(format!("{n}.bin"));
    let form = reqwest::multipart::Form::new().part("file", part(1)).part("file", part(2));
    let post = client.post(format!("{}/", server.url)).basic_auth("", Some(&server.token));
    let answer = post.multipart(form).send().await.unwrap();
    assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
    assert_eq!(used(&server).await, [6000, 1, 0], "what the files have, not what the form had");
    let head = "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000";
    let refused = Upload::ask(&server, head).await;
    assert!(refused.said.starts_with("HTTP/1.1 413"), "{}", refused.said);
    assert!(refused.said.contains("6000 are used or reserved, and 5000 more"), "{}", refused.said);
    let chunked = |length: u64| {
        let chunks: Vec<_> = (0..length / 500).map(|n| Ok::<_, std::io::Error>(noise(500, n))).collect();
        let body = reqwest::Body::wrap_stream(futures_util::stream::iter(chunks));
        client.put(format!("{}/c", server.url)).basic_auth("", Some(&server.token)).body(body).send()
    };
    let answer = chunked(3000).await.unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(used(&server).await, [9000, 2, 0]);
    let answer = chunked(1500).await.unwrap();
    assert_eq!(answer.status(), 413);
    let said = answer.text().await.unwrap();
    assert!(said.contains("(quota_exceeded)") && said.contains("more than is left"), "{said}");
    wait_for("what it had reserved to be given back", async || {
        (used(&server).await == [9000, 2, 0]).then_some(())
    })
    .await;
    assert_eq!(server.stored().await.len(), 3);
    // Nothing is no more than is left.
    server.send("rest", noise(1000, 9), "").await;
    let head = format!("PUT /empty HTTP/1.1\r\nHost: x\r\nAuthorization: {}", server.basic());
    let said = server
        .raw(format!("{head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes(), true)
        .await;
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");
    assert_eq!(used(&server).await, [10_000, 4, 0]);
    let answer = chunked(500).await.unwrap();
    assert_eq!(answer.status(), 413);
    is_sound(&server);
}

#[tokio::test]
async fn who_is_refused_is_told_the_limit_what_is_used_and_when_it_frees() {
    let settings = [("BURNBAG_QUOTA_TRANSFERS", "2"), ("BURNBAG_QUOTA_UPLOADS", "1")];
    let server = serve(&settings).await;
    let running = Upload::put(&server, "running", 10).await;
    assert!(running.admitted());
    let refused = Upload::put(&server, "other", 10).await;
    assert!(refused.said.contains("may have 1 uploads at once, it has 1, and 1 more"), "{}", refused.said);
    let head = "POST / HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: 50";
    assert!(Upload::ask(&server, head).await.said.starts_with("HTTP/1.1 413"), "a form before its body too");
    let sent = running.finish(b"0123456789").await;
    assert!(sent.starts_with("HTTP/1.1 201"), "{sent}");
    let soon = server.send("soon", "x", "expires=1h").await;
    let (status, refused) = {
        let put = reqwest::Client::new().put(format!("{}/more", server.url)).bearer_auth(&server.token);
        let answer = put.header("Accept", "application/json").body("x").send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice::<Value>(&answer.bytes().await.unwrap()).unwrap())
    };
    assert_eq!((status, &refused["code"]), (413, &json!("quota_exceeded")));
    let ends = server.transfer(&soon.transfer).await["deadline"].as_str().unwrap().to_owned();
    let expected = format!(
        "the team may have 2 live transfers, it has 2, and 1 more was asked for; the next of its transfers ends at {ends}"
    );
    assert_eq!(refused["detail"], expected);
    assert_eq!(me(&server).await["quota"]["frees"], json!(ends));
    assert_eq!(me(&server).await["quota"]["transfers"], json!({"limit": 2, "used": 2, "left": 0}));
}

/// Where the records are, beside the service.
async fn records(server: &Server) -> Arc<dyn RecordStore> {
    if is_on_redis(server) {
        return Arc::new(server.stores.in_which_redis().records().await);
    }
    Arc::new(SqliteRecords::open(&database(server), Arc::new(SystemClock)).unwrap())
}

fn is_on_redis(server: &Server) -> bool {
    server.environment().iter().any(|(name, _)| name == "BURNBAG_REDIS_URL")
}

fn database(server: &Server) -> PathBuf {
    server.data().join("burnbag.db")
}

/// Writes to the records past burnbag: in `SQLite`, or in Redis.
fn write(server: &Server, sql: &str, redis: &[&str]) {
    if is_on_redis(server) {
        server.stores.in_which_redis().ask::<redis::Value>(redis);
    } else {
        rusqlite::Connection::open(database(server)).unwrap().execute_batch(sql).unwrap();
    }
}

async fn team_of(server: &Server) -> TeamId {
    me(server).await["team"]["id"].as_str().unwrap().parse().unwrap()
}

fn command(server: &Server, arguments: &[&str]) -> String {
    let made = server.burnbag(arguments);
    assert!(made.status.success(), "{arguments:?}: {}", text(&made.stderr));
    text(&made.stdout).trim().to_owned()
}

/// A second team with the account bob; his token.
fn second_team(server: &Server) -> String {
    command(server, &["team", "create", "second"]);
    command(server, &["account", "create", "bob", "--team", "second"]);
    command(server, &["token", "create", "--account", "bob"])
}

#[tokio::test]
async fn a_team_keeps_its_own_limits_within_what_the_operator_allows() {
    let settings = [
        ("BURNBAG_QUOTA_BYTES", "1000"),
        ("BURNBAG_MAX_UPLOAD_BYTES", "5000"),
        ("BURNBAG_EXPIRES_DEFAULT", "2h"),
        ("BURNBAG_EXPIRES_MAX", "3h"),
    ];
    let server = serve(&settings).await;
    let put = |query: &str, body: Vec<u8>| {
        let request = reqwest::Client::new().put(format!("{}/f?{query}", server.url));
        request.basic_auth("", Some(&server.token)).body(body).send()
    };
    assert_eq!(put("", noise(1001, 1)).await.unwrap().status(), 413, "the operator's limit");
    command(
        &server,
        &["team", "set", "default", "--bytes", "4000", "--file-bytes", "2000", "--expires", "1h"],
    );
    let sent = put("", noise(1001, 1)).await.unwrap();
    assert_eq!(sent.status(), 201, "more than others have");
    let deadline: Timestamp = sent.headers()["burnbag-deadline"].to_str().unwrap().parse().unwrap();
    assert!(deadline <= SystemClock.now().after(std::time::Duration::from_hours(1)), "{deadline}");
    let refused = put("", noise(2001, 1)).await.unwrap();
    assert_eq!(refused.status(), 413);
    let said = refused.text().await.unwrap();
    assert!(said.contains("2000 bytes") && said.contains("(file_too_large)"), "{said}");
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(
        (0..5).map(|n| Ok::<_, std::io::Error>(noise(500, n))),
    ));
    let put_chunked = reqwest::Client::new().put(format!("{}/c", server.url));
    let refused = put_chunked.basic_auth("", Some(&server.token)).body(body).send().await.unwrap();
    let said = refused.text().await.unwrap();
    assert!(said.contains("(file_too_large)"), "in the middle of its bytes: {said}");
    let refused = put("expires=2h", noise(1, 1)).await.unwrap();
    assert_eq!(refused.status(), 422);
    let said = refused.text().await.unwrap();
    assert!(said.contains("at most 1h") && said.contains("(expires_too_long)"), "{said}");
    let quota = &me(&server).await["quota"];
    assert_eq!((&quota["file_bytes"], &quota["expires"]), (&json!(2000), &json!(3600)));
    assert_eq!(quota["bytes"]["limit"], json!(4000));
    // What the operator allows no file and no transfer, no team may.
    command(
        &server,
        &["team", "set", "default", "--bytes", "none", "--file-bytes", "9000", "--expires", "12d"],
    );
    let quota = &me(&server).await["quota"];
    assert_eq!((&quota["file_bytes"], &quota["expires"]), (&json!(5000), &json!(10_800)));
    assert_eq!(quota["bytes"]["limit"], json!(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_goes_through_250_transfers_once_each_while_others_come() {
    let server = serve(&[]).await;
    let (mine, store) = (team_of(&server).await, records(&server).await);
    let now = SystemClock.now();
    let changes: Vec<_> = (0..250).map(|_| available(mine, HOUR, &[1], None, &system(now))).collect();
    let mut expected: Vec<String> = changes.iter().map(|change| change.id().to_string()).collect();
    for answer in store.commit_all(changes).await {
        answer.unwrap();
    }
    expected.sort_unstable_by(|one, other| other.cmp(one));
    let mut newer: Vec<Link> = Vec::new();
    let (mut found, mut next, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        newer.push(server.send("newer.txt", "bytes", "").await);
        let (status, page) = get(&server, &server.token, &format!("/api/v1/transfers?limit=40{next}")).await;
        assert_eq!(status, 200, "{page}");
        pages += 1;
        for item in page["items"].as_array().unwrap() {
            let id = item["id"].as_str().unwrap().to_owned();
            let name = &item["files"][0]["name"];
            if id == newer[0].transfer {
                assert_eq!(name, "newer.txt", "the name of one's own");
                assert!(item["links"][0]["url"].as_str().unwrap().starts_with("http"));
            } else {
                assert_eq!(name, &Value::Null, "the name of another member's");
                found.push(id);
            }
        }
        let Some(cursor) = page["next"].as_str() else { break };
        next = format!("&cursor={cursor}");
    }
    assert_eq!(found, expected);
    assert_eq!(pages, 7);
    // Another team sees nothing of it.
    let bob = second_team(&server);
    let (status, page) = get(&server, &bob, "/api/v1/transfers").await;
    assert_eq!((status, page), (200, json!({"items": [], "next": null})));
    let (status, page) = get(&server, &bob, &format!("/api/v1/transfers?limit=40{next}")).await;
    assert_eq!((status, page), (200, json!({"items": [], "next": null})), "nor by the other's cursor");
    assert_eq!(get(&server, &bob, "/api/v1/me").await.1["quota"]["transfers"]["used"], json!(0));
    // By state.
    let url = format!("{}/api/v1/transfers/{}", server.url, newer[3].transfer);
    reqwest::Client::new().delete(url).bearer_auth(&server.token).send().await.unwrap();
    wait_for("it to be purged", async || {
        let (_, page) = get(&server, &server.token, "/api/v1/transfers?state=purged").await;
        let items = page["items"].as_array().unwrap();
        (items.len() == 1 && items[0]["id"] == json!(newer[3].transfer)).then_some(())
    })
    .await;
    let (_, page) = get(&server, &server.token, "/api/v1/transfers?state=available&limit=100").await;
    let items = page["items"].as_array().unwrap();
    assert!(items.len() == 100 && items.iter().all(|item| item["state"] == "available"));
    is_sound(&server);
}

#[tokio::test]
async fn what_the_list_cannot_take_is_refused_with_the_field() {
    let server = serve(&[]).await;
    for (query, status, code, field) in [
        ("cursor=nonsense", 400, "cursor_invalid", "cursor"),
        ("cursor=", 400, "cursor_invalid", "cursor"),
        ("cursor=AgAAAAAAAAAAAAAAAAAAAAA", 400, "cursor_invalid", "cursor"),
        ("state=gone", 422, "option_invalid", "state"),
        ("limit=0", 422, "option_invalid", "limit"),
        ("limit=101", 422, "option_invalid", "limit"),
        ("limit=-1", 422, "option_invalid", "limit"),
        ("limit=99999999999999999999", 422, "option_invalid", "limit"),
        ("limit=1&limit=2", 422, "option_conflict", "limit"),
        ("page=2", 422, "option_unknown", "page"),
    ] {
        let (found, said) = get(&server, &server.token, &format!("/api/v1/transfers?{query}")).await;
        assert_eq!((found, &said["code"], &said["field"]), (status, &json!(code), &json!(field)), "{query}");
    }
    for path in ["/api/v1/transfers", "/api/v1/me"] {
        let answer = reqwest::get(format!("{}{path}", server.url)).await.unwrap();
        assert_eq!(answer.status(), 401, "{path}");
    }
}

#[tokio::test]
async fn who_one_is_and_what_anybody_may_ask_for_can_be_read() {
    let server = serve(&[("BURNBAG_EXPIRES_MAX", "2d"), ("BURNBAG_MAX_UPLOAD_BYTES", "5GiB")]).await;
    let me = me(&server).await;
    assert_eq!((&me["account"]["name"], &me["account"]["role"]), (&json!("admin"), &json!("admin")));
    assert_eq!(me["team"]["name"], "default");
    assert!(me["capabilities"].as_array().unwrap().contains(&json!("transfers.send")));
    assert_eq!((&me["token"]["kind"], &me["token"]["scope"]), (&json!("usr"), &Value::Null));
    assert_eq!(me["quota"]["bytes"], json!({"limit": null, "used": 0, "left": null}));
    let open = reqwest::get(format!("{}/api/v1/limits", server.url)).await.unwrap();
    assert_eq!(open.status(), 200);
    let limits: Value = serde_json::from_slice(&open.bytes().await.unwrap()).unwrap();
    let expected = json!({
        "expires": {"default": 86_400, "max": 172_800},
        "file_bytes": 5_368_709_120_u64,
        "files": 1000,
        "downloads": 1_000_000,
    });
    assert_eq!(limits, expected);
}

#[tokio::test]
async fn the_doctor_shows_drift_and_repairs_it() {
    let server = serve(&[]).await;
    server.send("f", noise(500, 1), "").await;
    is_sound(&server);
    let team = team_of(&server).await;
    let key = format!("bb:{{bb.0}}:used:{team}");
    write(&server, "UPDATE usage SET bytes = 777", &["HSET", &key, "bytes", "777"]);
    let said = server.burnbag(&["doctor"]);
    let out = text(&said.stdout);
    assert_eq!(said.status.code(), Some(1), "{out}");
    for part in ["DRIFT: the counters say 777 bytes", "add up to 500 bytes, 1 live", "1 with drift"] {
        assert!(out.contains(part), "{part:?} is not in {out}");
    }
    let said = server.burnbag(&["doctor", "--repair"]);
    assert_eq!(said.status.code(), Some(0), "{}", text(&said.stdout));
    assert_eq!(used(&server).await, [500, 1, 0]);
    is_sound(&server);
}

#[tokio::test]
async fn a_quota_that_is_none_is_refused_at_start() {
    let server = serve(&[]).await;
    for (name, value) in [
        ("BURNBAG_QUOTA_BYTES", "0"),
        ("BURNBAG_QUOTA_BYTES", "-1"),
        ("BURNBAG_QUOTA_BYTES", "1000000000000000000000000000000"),
        ("BURNBAG_QUOTA_TRANSFERS", "0"),
        ("BURNBAG_QUOTA_UPLOADS", "many"),
    ] {
        let mut command = crate::support::command(server.environment());
        let said = command.env(name, value).args(["serve", "--check"]).output().unwrap();
        let error = text(&said.stderr);
        assert!(!said.status.success() && error.contains(name) && error.contains("or none"), "{error}");
    }
}
