//! A stored file that was damaged: who is told what, and what it costs.

use std::sync::Arc;

use burnbag::clock::SystemClock;
use burnbag::service::{Asker, Holder, Proof, ServiceError};
use burnbag::transfer::HolderId;

use crate::deadline::InProcess;
use crate::support::{Link, files_below, noise, wait_for};
use crate::trail::{client, count};

const SIZE: usize = 700_000;

/// The status, and the body if all of it came.
async fn get(link: &Link, who: &str) -> (u16, Option<Vec<u8>>) {
    let answer = link.get(&client(who)).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.bytes().await.ok().map(|bytes| bytes.to_vec()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_is_named_costs_no_count_and_can_be_ended() {
    let server = super::serve(&[("BURNBAG_LEASE_IDLE", "1s"), ("BURNBAG_LEASE_RETRY", "1s")]).await;
    let bytes = noise(SIZE, 1);
    let link = server.send("f", bytes.clone(), "downloads=1").await;
    let other = server.send("g", bytes.clone(), "").await;
    let key = server.key_of(&link).await;
    let good = server.object(&key).await;
    let told = |times: usize| {
        let log = server.log();
        let named =
            log.lines().filter(|line| line.contains(&link.transfer) && line.contains("damaged or missing"));
        assert_eq!(named.clone().count(), times, "{log}");
        for line in named {
            assert!(line.contains("check the disk") && line.contains("end the transfer"), "{line}");
            assert!(line.contains("ERROR"), "{line}");
        }
    };

    // Refused before the first byte: nothing is taken.
    let mut flipped = good.clone();
    flipped[50] ^= 1;
    let bad = [flipped, good[..good.len() - 1].to_vec(), [&good[..], b"x"].concat(), Vec::new()];
    for (n, bad) in bad.iter().enumerate() {
        server.put_object(&key, bad).await;
        assert_eq!(get(&link, "one").await.0, 500);
        told(n + 1);
    }
    server.lose_object(&key).await;
    assert_eq!(get(&link, "one").await.0, 500);
    told(bad.len() + 1);
    assert_eq!(count(&server, &link.transfer, "download.started"), 0);

    // Broken off in the middle: the count comes back once the lease is over, to anybody.
    let mut late = good.clone();
    late[600_000] ^= 1;
    server.put_object(&key, &late).await;
    assert_eq!(get(&link, "one").await, (200, None));
    wait_for("the line", async || server.log().contains("download broken off").then_some(())).await;
    told(bad.len() + 2);
    assert_eq!(get(&other, "one").await, (200, Some(bytes.clone())), "another file");
    server.put_object(&key, &good).await;
    let again = wait_for("the count to come back", async || {
        let (status, body) = get(&link, "somebody else").await;
        (status != 503).then_some((status, body))
    })
    .await;
    assert_eq!(again, (200, Some(bytes)));

    // It can be ended as ever.
    server.put_object(&server.key_of(&other).await, b"damaged").await;
    let ended = client("sender").delete(&other.url).basic_auth("", Some(&server.token)).send().await.unwrap();
    assert_eq!(ended.status(), 204);
    for link in [&link, &other] {
        wait_for("the purge", async || {
            (server.transfer(&link.transfer).await["state"] == "purged").then_some(())
        })
        .await;
    }
    assert!(server.stored().await.is_empty());
}

/// A request that opened the transfer before its end, and comes to the objects after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_went_with_its_transfer_meanwhile_is_no_damage() {
    let running = InProcess::start(Arc::new(SystemClock)).await;
    let sent = client("sender").put(format!("{}/f", running.url)).basic_auth("", Some(&running.token));
    let link = sent.body("hello").send().await.unwrap().text().await.unwrap();
    let link = Link::parse(link.trim_end(), "");
    let service = &running.service;
    let id = link.url.rsplit('/').next().unwrap().parse().unwrap();
    let open = service.open(id, &Proof::parse(&link.secret).unwrap(), &Asker::default()).await.unwrap();
    let ended = client("sender").delete(&link.url).basic_auth("", Some(&running.token));
    assert_eq!(ended.send().await.unwrap().status(), 204);
    let objects = running.dir.path().join("objects/o");
    wait_for("the objects to go", async || files_below(&objects).is_empty().then_some(())).await;
    let (holder, asker) = (Holder(HolderId::from_bytes([1; 16])), Asker::default());
    let answer = service.download(&open, &open.files[0], 0..5, holder, &asker, || {}).await;
    assert!(matches!(answer, Err(ServiceError::LinkNotFound)), "{:?}", answer.err());
}
