//! The service on a bucket: files of many objects, uploads that break, answers that are lost, a server that is away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burnbag::clock::SystemClock;
use burnbag::config::{Config, Flags};
use burnbag::crypto::Layout;
use futures_util::stream;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::deadline::InProcess;
use crate::gate::Gate;
use crate::minio::{Bucket, Minio};
use crate::stores::{Stored, Stores};
use crate::support::{Link, Server, files_below, free_port, noise, text, wait_for};

const PART: usize = 80 * 65_536;

/// A service in this process whose objects take so few parts.
async fn with_small_objects(bucket: &Bucket, parts: u32) -> InProcess {
    let dir = tempfile::tempdir().unwrap();
    let mut settings = vec![
        ("DATA_DIR", dir.path().display().to_string()),
        ("LISTEN", format!("127.0.0.1:{}", free_port())),
        ("RATE", "off".to_owned()),
        ("RATE_TOKEN", "off".to_owned()),
        ("RATE_LINK", "off".to_owned()),
    ];
    let known = ["S3_BUCKET", "S3_ENDPOINT", "S3_REGION", "S3_ACCESS_KEY", "S3_SECRET_KEY"];
    settings.extend(known.into_iter().zip(bucket.environment().into_iter().map(|(_, value)| value)));
    let mut config = Config::load(&Flags { file: None, settings }).unwrap();
    config.bucket.as_mut().unwrap().parts_per_object = parts;
    InProcess::serving(config, dir, Arc::new(SystemClock)).await
}

/// A body that goes on when it is told to, and its sender.
fn body() -> (mpsc::Sender<Result<Vec<u8>, std::io::Error>>, Body) {
    let (sender, receiver) = mpsc::channel(1);
    let frames =
        stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    (sender, Body::wrap_stream(frames))
}

async fn nothing_is_left(bucket: &Bucket, key: &str) {
    let gone = || async {
        let objects = bucket.keys().await.into_iter().filter(|key| key.starts_with("o/")).count();
        (objects == 0 && bucket.uploads(key).await.is_empty()).then_some(())
    };
    wait_for("objects and uploads to go", gone).await;
}

fn objects(stored: Vec<Stored>) -> Vec<Stored> {
    stored.into_iter().filter(|object| object.key.starts_with("o/")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_goes_on_in_as_many_objects_as_it_takes() {
    let bucket = Minio::shared().await.bucket().await;
    let running = with_small_objects(&bucket, 2).await;
    let client = reqwest::Client::new();
    // What two whole parts hold, and what one does.
    let (object, part) = (2 * PART - 40 - 16 * 160, PART - 40 - 16 * 80);
    for (length, expected) in [
        (part, 1),
        (object - 1, 1),
        (object, 1),
        (object + 1, 2),
        (object + part, 2),
        (2 * object, 2),
        (2 * object + 1, 3),
    ] {
        let bytes = noise(length, length as u64);
        // Without a length, and with one.
        for declared in [false, true] {
            let body = if declared {
                Body::from(bytes.clone())
            } else {
                Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(bytes.clone())]))
            };
            let put =
                client.put(format!("{}/f", running.url)).basic_auth("", Some(&running.token)).body(body);
            let answer = put.send().await.unwrap();
            let id = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
            let link = Link::parse(answer.text().await.unwrap().trim_end(), &id);
            let stored = objects(bucket.objects().await);
            assert_eq!(stored.len(), expected, "of {length}");
            let whole = |length: usize| Layout::of_plaintext(length as u64).unwrap().ciphertext();
            for (n, there) in stored.iter().enumerate() {
                assert!(there.key.contains(&format!("/{n:08x}-")), "{there:?}");
                assert_eq!(there.size, whole((length - n * object).min(object)), "{n} of {length}");
            }
            let all = link.get(&client).send().await.unwrap().bytes().await.unwrap();
            assert!(all == bytes, "of {length}");
            for range in [0..10, object - 5..object + 5, length - 10..length] {
                let range = range.start..range.end.min(length);
                let header = format!("bytes={}-{}", range.start, range.end - 1);
                let answer = link.get(&client).header("range", header).send().await.unwrap();
                if range.start < range.end {
                    assert!(answer.bytes().await.unwrap() == bytes[range.clone()], "{range:?} of {length}");
                }
            }
            let ended = client.delete(&link.url).basic_auth("", Some(&running.token)).send().await.unwrap();
            assert_eq!(ended.status(), 204);
            nothing_is_left(&bucket, "o/").await;
        }
    }
    drop(running.stop().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_leaves_no_object_and_no_upload() {
    let bucket = Minio::shared().await.bucket().await;
    let running = with_small_objects(&bucket, 2).await;
    let (sender, body) = body();
    let put = reqwest::Client::new().put(format!("{}/f", running.url)).basic_auth("", Some(&running.token));
    let sending = tokio::spawn(put.body(body).send());
    sender.send(Ok(noise(3 * PART + 1000, 1))).await.unwrap();
    // The first object is whole, and the second begun.
    let second = wait_for("a part of the second object", || async {
        let first = bucket.keys().await.into_iter().find(|key| key.starts_with("o/"))?;
        let (file, _) = first.rsplit_once('/').unwrap();
        let id: burnbag::transfer::BlobKey = first.parse().unwrap();
        let record =
            running.service.records.transfers(vec![(team(&running).await, id.transfer)]).await.unwrap();
        let record = record.into_iter().next().unwrap().unwrap().unwrap();
        let second = record.transfer.blob_keys().nth(1)?.to_string();
        assert!(second.starts_with(file));
        let under_way = bucket.uploads(&second).await;
        let journalled = record.journal.files.values().next()?.upload.clone()?;
        (under_way == [journalled]).then_some(second)
    })
    .await;
    sender.send(Err(std::io::Error::other("the sender leaves"))).await.unwrap();
    assert!(sending.await.unwrap().is_err());
    nothing_is_left(&bucket, &second).await;
    drop(running.stop().await);
}

async fn team(running: &InProcess) -> burnbag::transfer::TeamId {
    running.service.records.accounts().await.unwrap()[0].team
}

/// A server that reaches its bucket through a gate.
async fn through_a_gate(settings: &[(&str, &str)]) -> (Gate, Server) {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let gate = Gate::to(&minio.address().to_string(), u64::MAX).await;
    let endpoint = format!("http://{}", gate.address());
    let settings = [&[("BURNBAG_S3_ENDPOINT", endpoint.as_str())], settings].concat();
    let server = Server::on(Stores::in_bucket(bucket), &settings).await;
    (gate, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_lost_loses_and_doubles_nothing() {
    let (gate, server) = through_a_gate(&[]).await;
    let client = reqwest::Client::new();
    let whole = |stored: Vec<Stored>| (stored.len() == 1).then_some(());
    // Of an object that is put at once, of a part in the middle, and of the end of an object.
    for (length, texts, there) in [
        (100, ["PUT /", "x-id=PutObject"], true),
        (3 * PART, ["PUT /", "partNumber=2"], false),
        (3 * PART, ["POST /", "uploadId="], true),
    ] {
        let bytes = noise(length, 3);
        let shut = gate.shut_at(&texts);
        let put = client.put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
        let sending = tokio::spawn(put.body(bytes.clone()).send());
        shut.await;
        if there {
            // It was done, and nobody knows.
            wait_for("the object", || async { whole(server.stored().await) }).await;
        }
        gate.cut().await;
        gate.open();
        let answer = sending.await.unwrap().unwrap();
        assert_eq!(answer.status(), 201, "{texts:?}");
        let id = answer.headers()["burnbag-transfer"].to_str().unwrap().to_owned();
        let link = Link::parse(answer.text().await.unwrap().trim_end(), &id);
        assert!(link.get(&client).send().await.unwrap().bytes().await.unwrap() == bytes);
        let stored = server.stored().await;
        assert_eq!(stored.len(), 1, "{texts:?}");
        assert_eq!(server.stores.bucket().uploads(&stored[0].key).await, Vec::<String>::new());
        let ended = client.delete(&link.url).basic_auth("", Some(&server.token)).send().await.unwrap();
        assert_eq!(ended.status(), 204);
        nothing_is_left(server.stores.bucket(), &stored[0].key).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_fails_ends_its_upload_before_another_is_sent() {
    let (gate, server) = through_a_gate(&[]).await;
    let (sender, body) = body();
    let put = reqwest::Client::new().put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
    let sending = tokio::spawn(put.body(body).send());
    sender.send(Ok(noise(PART, 1))).await.unwrap();
    let database = server.data().join("burnbag.db");
    let key = wait_for("the upload in the journal", || async {
        let event = server.events().into_iter().find(|event| event["type"] == "upload.started")?;
        journalled(&database, &format!("o/00/{}/{}/", event["transfer"].as_str()?, event["file"].as_str()?))
    })
    .await;
    let sent = |part: u32| gate.requests().iter().any(|line| line.contains(&format!("partNumber={part}&")));
    let bucket = server.stores.bucket();
    wait_for("the first part to be there", async || {
        let parts = bucket.parts(&key, &bucket.uploads(&key).await[0]).await;
        (parts == 1).then_some(())
    })
    .await;
    bucket.abort(&key, &bucket.uploads(&key).await[0]).await;
    sender.send(Ok(noise(PART, 2))).await.unwrap();
    wait_for("the second part to be refused", async || gate.answers().contains(&404).then_some(())).await;
    // More than two others would take: nobody need be left for it.
    for _ in 0..15 {
        if sender.send(Ok(noise(1 << 20, 3))).await.is_err() {
            break;
        }
    }
    drop(sender);
    let answer = sending.await.unwrap().unwrap();
    assert!(answer.status().is_server_error(), "{}", answer.status());
    assert!(sent(2) && !sent(3), "{:?}", gate.requests());
    nothing_is_left(bucket, &key).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_instance_had_under_way_is_aborted_from_the_journal() {
    let mut server = Server::on(Stores::minio().await, &[("BURNBAG_UPLOAD_IDLE", "3s")]).await;
    let (sender, body) = body();
    let put = reqwest::Client::new().put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
    let sending = tokio::spawn(put.body(body).send());
    sender.send(Ok(noise(2 * PART, 1))).await.unwrap();
    let created = || async {
        let event = server.events().into_iter().find(|event| event["type"] == "upload.started")?;
        Some(format!("o/00/{}/{}/", event["transfer"].as_str()?, event["file"].as_str()?))
    };
    let file = wait_for("the upload to be on record", created).await;
    // MinIO lists uploads by their whole key alone, and that is in the record.
    let database = server.data().join("burnbag.db");
    let key =
        wait_for("the name of the upload in the journal", || async { journalled(&database, &file) }).await;
    assert_eq!(server.stores.bucket().uploads(&key).await.len(), 1);
    server.kill();
    assert!(sending.await.unwrap().is_err());
    assert_eq!(server.stores.bucket().uploads(&key).await.len(), 1, "nobody was there to abort it");
    server.start_again().await;
    nothing_is_left(server.stores.bucket(), &key).await;
    wait_for("the purge", || async {
        let purged = server.events().into_iter().filter(|event| event["type"] == "transfer.purged").count();
        (purged == 1).then_some(())
    })
    .await;
}

/// The key of the upload that is journalled for a file whose objects lie under `prefix`.
fn journalled(database: &std::path::Path, prefix: &str) -> Option<String> {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let db = rusqlite::Connection::open_with_flags(database, flags).unwrap();
    let mut rows = db.prepare("SELECT core, journal FROM transfers").unwrap();
    let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
    let (record, journal) = rows.flatten().next()?;
    journal.contains("\"upload\":").then_some(())?;
    let at = record.find(prefix)?;
    Some(record[at..].split('"').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_bucket_is_frozen_requests_are_refused_and_what_was_begun_goes() {
    let minio = Minio::start().await;
    let server = Server::on(Stores::in_bucket(minio.bucket().await), &[]).await;
    let client = reqwest::Client::new();
    let link = server.send("before", noise(100_000, 1), "").await;
    let (kept, ended) = (server.stored().await, server.send("ended", noise(10, 1), "").await);
    minio.freeze();
    let since = Instant::now();
    let put = || client.put(format!("{}/f", server.url)).basic_auth("", Some(&server.token));
    let (small, large, get, delete) = tokio::join!(
        put().body(noise(1000, 2)).send(),
        put().body(noise(2 * PART, 2)).send(),
        link.get(&client).send(),
        client.delete(&ended.url).basic_auth("", Some(&server.token)).send(),
    );
    for (what, answer) in [("small", small), ("large", large), ("get", get)] {
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 503, "{what}");
        assert!(answer.headers().contains_key("retry-after"), "{what}");
    }
    // The keys are destroyed all the same.
    assert_eq!(delete.unwrap().status(), 204);
    assert!(since.elapsed() < Duration::from_secs(90), "{:?}", since.elapsed());
    minio.resume();
    let got = wait_for("downloads to be served again", || async {
        let answer = link.get(&client).send().await.unwrap();
        (answer.status() == 200).then_some(answer)
    })
    .await;
    assert!(got.bytes().await.unwrap() == noise(100_000, 1));
    wait_for("all that was begun to go", || async { (server.stored().await == kept).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_and_records_that_do_not_belong_together_are_joined_on_purpose_only() {
    let stores = Stores::minio().await;
    let mut one = Server::on(stores.clone(), &[]).await;
    let link = one.send("a", "hello", "").await;
    one.stop().await;
    // New records on a bucket that is in use.
    let dir = tempfile::tempdir().unwrap();
    one.set("BURNBAG_DATA_DIR", dir.path().to_str().unwrap());
    let refused = one.burnbag(&["serve"]);
    let said = text(&refused.stderr);
    assert!(
        !refused.status.success()
            && said.contains("do not belong together")
            && said.contains("burnbag adopt"),
        "{said}"
    );
    let shown = one.burnbag(&["adopt"]);
    let said = text(&shown.stdout);
    assert!(
        !shown.status.success() && said.contains("1 objects") && said.contains("know 0 of these"),
        "{said}"
    );
    assert!(!one.burnbag(&["serve"]).status.success(), "nothing was joined");
    let joined = one.burnbag(&["adopt", "--yes"]);
    assert!(joined.status.success(), "{}{}", text(&joined.stdout), text(&joined.stderr));
    one.start_again().await;
    assert_eq!(
        link.get(&reqwest::Client::new()).send().await.unwrap().status(),
        404,
        "its keys are elsewhere"
    );
    assert_eq!(one.stored().await.len(), 1, "what is young is left alone by the sweep");
    one.stop().await;
    let again = one.burnbag(&["adopt"]);
    assert!(again.status.success() && text(&again.stdout).contains("nothing to do"));
    // Only records, KEK and log are in the data directory.
    assert_eq!(files_below(&dir.path().join("objects")), Vec::<std::path::PathBuf>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_bucket_that_cannot_be_used_says_what_to_do() {
    let minio = Minio::shared().await;
    let bucket = minio.bucket().await;
    let mut server = Server::on(Stores::in_bucket(minio.reach(&bucket.name, minio.address())), &[]).await;
    server.stop().await;
    let secret = bucket.settings.secret_key.as_str();
    for (name, value, advice) in [
        ("BURNBAG_S3_BUCKET", "not-there", "make it, or correct BURNBAG_S3_BUCKET"),
        ("BURNBAG_S3_BUCKET", "No_Bucket", "the name of a bucket"),
        ("BURNBAG_S3_ACCESS_KEY", "somebody", "correct BURNBAG_S3_ACCESS_KEY"),
        ("BURNBAG_S3_SECRET_KEY", "wrong", "correct BURNBAG_S3_SECRET_KEY"),
        ("BURNBAG_S3_ENDPOINT", "http://127.0.0.1:1", "start the S3 server, or correct BURNBAG_S3_ENDPOINT"),
        ("BURNBAG_S3_ENDPOINT", "127.0.0.1:9000", "http:// or https://"),
        ("BURNBAG_S3_ACCESS_KEY", "", "S3_ACCESS_KEY is missing"),
    ] {
        for (known, value) in bucket.environment() {
            server.set(&known, &value);
        }
        server.set(name, value);
        let refused = server.burnbag(&["serve"]);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(advice), "{name}={value}: {said}");
        assert!(!said.contains(secret), "{said}");
    }
    for (known, value) in bucket.environment() {
        server.set(&known, &value);
    }
    let checked = server.burnbag(&["serve", "--check"]);
    let shown = text(&checked.stdout);
    assert!(
        checked.status.success() && shown.contains(&format!("BURNBAG_S3_BUCKET={}\n", bucket.name)),
        "{shown}"
    );
    assert!(!shown.contains(secret), "{shown}");
}
