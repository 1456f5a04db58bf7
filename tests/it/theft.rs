//! Whoever steals the bucket, the records and the KEK reads nothing without a link; and nothing with it once it has ended.

use reqwest::Client;
use tempfile::TempDir;

use crate::minio::{Bucket, Minio};
use crate::passwords::{send, with};
use crate::redis_server::RedisServer;
use crate::stores::Stores;
use crate::support::{Link, Server, files_below, wait_for};

const CANARY: &str = "canary-that-sings-7f3a9c51e2";

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// All that lies in a server's bucket, in one of the thief's own.
async fn copy_of_the_bucket(server: &Server) -> Bucket {
    let bucket = Minio::shared().await.bucket().await;
    for (key, bytes) in server.stores.in_the_bucket().await {
        assert!(!contains(&bytes, CANARY.as_bytes()) && !key.contains("canary"));
        let put = bucket.client.put_object().bucket(&bucket.name).key(key).body(bytes.into());
        put.send().await.unwrap();
    }
    bucket
}

/// A server of the thief's own, who has copies of all that this one stood on, KEK and all, and rights to all of it.
async fn stolen(server: &mut Server, bucket: Bucket) -> (Server, TempDir) {
    server.stop().await;
    server.stores.redis_alone().kill();
    let redis = server.stores.in_which_redis();
    let mut theirs = RedisServer::start().await;
    theirs.kill();
    let moved: Vec<_> = redis
        .files()
        .into_iter()
        .map(|(file, bytes)| (theirs.dir().join(file.strip_prefix(redis.dir()).unwrap()), bytes))
        .collect();
    theirs.go_back(&moved);
    theirs.start_again().await;
    let data = tempfile::tempdir().unwrap();
    for file in files_below(&server.data()) {
        let to = data.path().join(file.strip_prefix(server.data()).unwrap());
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(&file, to).unwrap();
    }
    let settings = [("BURNBAG_DATA_DIR", data.path().to_str().unwrap())];
    let thief = Server::taken_over(Stores::in_redis(theirs).and_bucket(bucket), &settings).await;
    (thief, data)
}

/// Every way to a file or its name that there is, with all that a thief can say: nothing comes out.
async fn nothing_is_read(thief: &Server, link: &Link) {
    let client = Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let id = link.url.rsplit('/').next().unwrap();
    let url = |path: &str| format!("{}/{path}", thief.url);
    let below = format!("d/{id}");
    let said = [thief.token.clone(), "A".repeat(43), id.to_owned(), link.transfer.clone()];
    let mut asked = Vec::new();
    for path in [
        format!("api/v1/transfers/{}", link.transfer),
        below.clone(),
        format!("{below}/"),
        format!("{below}/{CANARY}"),
        format!("{below}/?as=zip"),
        format!("{below}/ticket"),
    ] {
        asked.push(client.get(url(&path)));
        for accept in ["*/*", "application/json", "text/html"] {
            for said in &said {
                let get = || client.get(url(&path)).header("accept", accept);
                asked.push(get().bearer_auth(said));
                for user in ["", "x"] {
                    asked.push(get().basic_auth(user, Some(said)));
                    asked.push(get().basic_auth(user, Some(said)).header("range", "bytes=0-99"));
                }
                asked.push(get().basic_auth(said, Some("")));
                asked.push(get().header("cookie", format!("__Secure-bb-d={said}")));
            }
        }
    }
    for said in &said {
        let secret = serde_json::json!({ "secret": said });
        asked.push(client.post(url(&format!("{below}/ticket"))).json(&secret));
        let form = client.post(url(&below)).header("content-type", "application/x-www-form-urlencoded");
        asked.push(form.body(format!("secret={said}")));
    }
    for request in asked {
        let request = request.build().unwrap();
        let what = format!("{request:?}");
        let answer = client.execute(request).await.unwrap();
        let told = format!("{:?}", answer.headers());
        let body = answer.bytes().await.unwrap();
        assert!(!told.contains("canary") && !contains(&body, b"canary"), "{what}: {told}");
    }
    assert!(!thief.log().contains("canary"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_steals_records_objects_and_kek_reads_nothing_without_a_link() {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let link = server.send(CANARY, CANARY.repeat(1000), "").await;
    let bucket = copy_of_the_bucket(&server).await;
    let (thief, _data) = stolen(&mut server, bucket).await;
    nothing_is_read(&thief, &link).await;
    // With the link it is read from the very same copy: the thief lacks nothing else.
    let with = Link { url: link.url.replace(&server.url, &thief.url), ..link };
    let got = with.get(&Client::new()).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), CANARY.repeat(1000));
}

const PASSWORD: &str = "correct horse battery staple";

/// A ticket of the link's for who knows its password, as the browser sends it back.
async fn ticket(link: &Link) -> String {
    let said = serde_json::json!({"secret": link.secret, "password": PASSWORD});
    let answer = Client::new().post(format!("{}/ticket", link.url)).json(&said).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_the_link_but_not_its_password_what_is_stolen_is_not_read_either() {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let link = send(&server, CANARY, &CANARY.repeat(1000), "", PASSWORD).await;
    let bucket = copy_of_the_bucket(&server).await;
    let (thief, _data) = stolen(&mut server, bucket).await;
    nothing_is_read(&thief, &link).await;
    let there = Link { url: link.url.replace(&server.url, &thief.url), ..link };
    let client = Client::new();
    let mut asked = vec![there.get(&client)];
    for guess in ["", "correct", PASSWORD.to_uppercase().as_str(), &there.secret] {
        asked.push(with(&client, &there, guess));
        let said = serde_json::json!({"secret": there.secret, "password": guess});
        asked.push(client.post(format!("{}/ticket", there.url)).json(&said));
    }
    for request in asked {
        let answer = request.send().await.unwrap();
        let told = format!("{:?}", answer.headers());
        let body = answer.text().await.unwrap();
        assert!(!told.contains("canary") && !body.contains("canary"), "{told} {body}");
    }
    // Who writes to the store can lift the count of tries, and reads nothing by that; the password alone does it.
    let redis = thief.stores.in_which_redis();
    for key in redis.ask::<Vec<String>>(&["KEYS", "bb:{bb.0}:try:*"]) {
        redis.ask::<u8>(&["DEL", &key]);
    }
    let got = with(&client, &there, PASSWORD).send().await.unwrap();
    assert_eq!(got.text().await.unwrap(), CANARY.repeat(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_end_a_stolen_ticket_opens_nothing() {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let link = send(&server, CANARY, &CANARY.repeat(1000), "", PASSWORD).await;
    let cookie = ticket(&link).await;
    let bucket = copy_of_the_bucket(&server).await;
    let ended = Client::new().delete(&link.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    let (thief, _data) = stolen(&mut server, bucket).await;
    nothing_is_read(&thief, &link).await;
    let below = link.url.replace(&server.url, &thief.url);
    for asked in ["/", &format!("/{CANARY}"), "/?as=zip"] {
        let get = Client::new().get(format!("{below}{asked}")).header("cookie", &cookie);
        let answer = get.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{asked}");
        assert!(!answer.text().await.unwrap().contains("canary"));
    }
    let there = Link { url: below, ..link };
    assert_eq!(with(&Client::new(), &there, PASSWORD).send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_end_what_is_stolen_opens_nothing_with_the_link_either() {
    let mut server = Server::on(Stores::redis_and_minio().await, &[]).await;
    let link = server.send(CANARY, CANARY.repeat(1000), "expires=5s").await;
    // The objects were copied in time; the keys were not.
    let (bucket, slots) = (copy_of_the_bucket(&server).await, server.stores.slots(&server.data()));
    let stand_there = |server: &Server| {
        let files: Vec<_> = server
            .stores
            .record_files(&server.data())
            .iter()
            .map(std::fs::read)
            .map(Result::unwrap_or_default)
            .collect();
        slots.iter().filter(|slot| files.iter().any(|file| contains(file, slot))).count()
    };
    assert_eq!((slots.len(), stand_there(&server)), (2, 2), "the owner's and the link's");
    wait_for("the purge", async || {
        (server.transfer(&link.transfer).await["state"] == "purged").then_some(())
    })
    .await;
    assert!(server.stores.slots(&server.data()).is_empty());
    // What Redis had on disk is gone when it has written its file anew (docs/SECURITY.md).
    server.stores.in_which_redis().ask::<String>(&["BGREWRITEAOF"]);
    wait_for("the file written anew", async || (stand_there(&server) == 0).then_some(())).await;
    let (thief, _data) = stolen(&mut server, bucket).await;
    nothing_is_read(&thief, &link).await;
    let with = Link { url: link.url.replace(&server.url, &thief.url), ..link };
    let got = with.get(&Client::new()).send().await.unwrap();
    assert_eq!(got.status(), 404);
    assert!(!got.text().await.unwrap().contains("canary"));
}
