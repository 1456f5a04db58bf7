//! What holds of Redis alone: lost connections, a server that hangs or is full, keys that expire by themselves.

use std::sync::Arc;
use std::time::{Duration, Instant};

use burnbag::clock::{Clock as _, SystemClock};
use burnbag::storage::records::redis::{RedisOptions, RedisRecords};
use burnbag::storage::records::{Claim, LeaseAnswer};
use burnbag::storage::{RecordStore, StoreError};
use burnbag::transfer::lease::LeaseOp;
use burnbag::transfer::policy::Expires;
use burnbag::transfer::{Change, SlotOwner};
use futures_util::future::join_all;

use crate::record_contract::{all_events, is_conflict};
use crate::redis_server::RedisServer;
use crate::sample::{available, holder, open, request, settle, stream, system, team, uploaded};
use crate::support::{SOON, free_port, wait_for};

const HOUR: Expires = Expires::After(3_600_000);

fn ready() -> Change {
    available(team(1), HOUR, &[1], Some(1), &system(SystemClock.now()))
}

async fn kind_of_failure(url: String) -> String {
    match RedisRecords::connect(RedisOptions { url, shards: 1, wait: 0, strict: true }).await {
        Err(StoreError::Unavailable(why)) => why,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn the_slots_go_with_their_key_when_its_time_comes() {
    let server = RedisServer::start().await;
    let store = server.records().await;
    let soon = available(team(1), Expires::After(300), &[1], None, &system(SystemClock.now()));
    let (id, deadline) = (soon.id(), soon.record().deadline());
    let name = format!("bb:{{bb.0}}:keys:{id}");
    store.commit(soon).await.unwrap();
    assert_eq!(server.ask::<u64>(&["PEXPIRETIME", &name]), deadline.as_millis());
    assert_eq!(server.ask::<i64>(&["PTTL", &format!("bb:{{bb.0}}:t:{id}")]), -1, "the record stays");
    wait_for("the key to expire", async || (server.ask::<u32>(&["EXISTS", &name]) == 0).then_some(())).await;
    assert!(store.slot(team(1), id, SlotOwner::Owner).await.unwrap().is_none());
    let ready = store.transfer(team(1), id).await.unwrap().unwrap().transfer;
    store.commit(ready.expire(&system(SystemClock.now())).unwrap()).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_gone_are_not_written_again() {
    let server = RedisServer::start().await;
    let store = server.records().await;
    let now = || system(SystemClock.now());
    let uploaded = uploaded(team(1), HOUR, &[1], &now());
    let (id, record) = (uploaded.id(), uploaded.record().clone());
    store.commit(uploaded).await.unwrap();
    assert_eq!(server.ask::<u32>(&["DEL", &format!("bb:{{bb.0}}:keys:{id}")]), 1);
    let late = record.complete(vec![], b"late".to_vec(), &now()).unwrap();
    assert!(is_conflict(&store.commit(late).await));
    assert!(store.slot(team(1), id, SlotOwner::Owner).await.unwrap().is_none());
}

#[tokio::test]
async fn scripts_that_redis_forgot_are_sent_again() {
    let server = RedisServer::start().await;
    let store = server.records().await;
    store.commit(ready()).await.unwrap();
    server.ask::<String>(&["SCRIPT", "FLUSH", "SYNC"]);
    let changes: Vec<Change> = (0..50).map(|_| ready()).collect();
    for answer in store.commit_all(changes.clone()).await {
        answer.unwrap();
    }
    for answer in store.commit_all(changes).await {
        answer.unwrap();
    }
    let store: Arc<dyn RecordStore> = Arc::new(store);
    // Created, a file begun and finished, a link, and Available.
    assert_eq!(all_events(&store, 1).await.len(), 51 * 5);
}

#[tokio::test]
async fn a_damaged_record_among_many_ends_fails_alone() {
    let server = RedisServer::start().await;
    let store = server.records().await;
    let changes: Vec<Change> = (0..60).map(|_| ready()).collect();
    for answer in store.commit_all(changes.clone()).await {
        answer.unwrap();
    }
    let damaged = format!("bb:{{bb.0}}:t:{}", changes[20].id());
    server.ask::<String>(&["SET", &damaged, "what no script wrote"]);
    let now = system(SystemClock.now());
    let ends = changes.iter().map(|change| change.record().clone().delete(&now).unwrap());
    for (n, answer) in store.commit_all(ends.collect()).await.into_iter().enumerate() {
        match answer {
            Ok(()) => assert_ne!(n, 20),
            Err(error) => assert!(n == 20 && error.to_string().contains("WRONGTYPE"), "{n}: {error}"),
        }
    }
    let used = store.usage(team(1)).await.unwrap();
    assert_eq!((used.held.transfers, used.held.uploads), (1, 0));
    assert_eq!(server.ask::<u32>(&["ZCARD", "bb:{bb.0}:due"]), 1);
    assert_eq!(server.ask::<u32>(&["ZCARD", "bb:{bb.0}:purge"]), 59);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_killed_lose_nothing_and_do_nothing_twice() {
    let server = Arc::new(RedisServer::start().await);
    let store: Arc<dyn RecordStore> = Arc::new(server.records().await);
    let killer = {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            for _ in 0..20 {
                server.ask::<u32>(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
    };
    let mut applied = 0;
    while !killer.is_finished() {
        let changes: Vec<Change> = (0..32).map(|_| ready()).collect();
        for change in &changes {
            // Whoever was told nothing asks again under the same operation.
            while let Err(error) = store.commit(change.clone()).await {
                assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
            }
        }
        for change in changes {
            let found = store.transfer(team(1), change.id()).await;
            assert!(matches!(found, Ok(Some(_)) | Err(StoreError::Unavailable(_))));
            applied += 1;
        }
    }
    killer.await.unwrap();
    assert_eq!(all_events(&store, 1).await.len(), applied * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_is_given_up_within_seconds_and_found_again() {
    let server = RedisServer::start().await;
    let store = Arc::new(server.records().await);
    server.freeze();
    let began = Instant::now();
    let answers = join_all((0..20).map(|_| store.commit(ready()))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    let late = ready();
    let error = store.commit(late.clone()).await.unwrap_err().to_string();
    assert!(error.contains("did not answer in time"), "{error}");
    assert!(began.elapsed() < SOON, "nobody waits for ever: {:?}", began.elapsed());
    server.resume();
    wait_for("Redis to be found again", async || store.commit(late.clone()).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_is_there_after_a_kill() {
    let mut server = RedisServer::start().await;
    let store = server.records().await;
    let changes: Vec<Change> = (0..100).map(|_| ready()).collect();
    let ids: Vec<_> = changes.iter().map(Change::id).collect();
    for answer in store.commit_all(changes).await {
        answer.unwrap();
    }
    server.kill();
    let error = store.now().await.unwrap_err().to_string();
    assert!(error.contains("see that it runs"), "{error}");
    server.start_again().await;
    wait_for("Redis to be found again", async || store.now().await.ok()).await;
    assert!(store.states(&ids).await.unwrap().iter().all(Option::is_some));
}

#[tokio::test]
async fn a_full_redis_ends_what_it_holds_and_takes_nothing_new() {
    let server = RedisServer::start().await;
    let store = server.records().await;
    let kept = available(team(1), HOUR, &[1], Some(2), &system(SystemClock.now()));
    let record = kept.record().clone();
    store.commit(kept).await.unwrap();
    let now = || SystemClock.now();
    let opened =
        store.lease(request(&record, open(&record, holder(1), stream(), 0, 1), now())).await.unwrap();
    let LeaseAnswer::Opened(running) = opened else { panic!("{opened:?}") };
    server.ask::<String>(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = store.commit(ready()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Full(why) if why.contains("maxmemory")), "{error:?}");
    let open = request(&record, open(&record, holder(2), stream(), 0, 1), now());
    assert!(matches!(store.lease(open).await, Err(StoreError::Full(_))), "a new download");
    store.lease(request(&record, LeaseOp::Renew { stream: running, written: 1 }, now())).await.unwrap();
    store.lease(request(&record, settle(running, 1), now())).await.unwrap();
    let ended = record.delete(&system(now())).unwrap();
    let purged = ended.record().clone();
    store.commit(ended).await.unwrap();
    store.retry(team(1), purged.id(), now()).await.unwrap();
    store.claim(0, Claim::All, 9, Duration::from_secs(1)).await.unwrap();
    store.commit(purged.purge(None, now(), &system(now())).unwrap()).await.unwrap();
    let last = store.outbox_length(0).await.unwrap().last;
    store.trim(0, last).await.unwrap();
    let length = store.outbox_length(0).await.unwrap();
    assert_eq!((length.entries, length.last), (0, last));
}

#[tokio::test]
async fn what_keeps_it_from_redis_is_said_with_what_to_do() {
    let server = RedisServer::with(&[("requirepass", "secret")]).await;
    let why = kind_of_failure(server.url()).await;
    assert!(why.contains("set user and password in BURNBAG_REDIS_URL"), "{why}");
    let wrong = server.url().replace("//", "//default:wrong@");
    let why = kind_of_failure(wrong).await;
    assert!(why.contains("set user and password in BURNBAG_REDIS_URL") && !why.contains("wrong@"), "{why}");
    let nobody = format!("redis://127.0.0.1:{}", free_port());
    assert!(kind_of_failure(nobody).await.contains("see that it runs"));
    assert!(kind_of_failure("http://x".to_owned()).await.contains("it takes redis://"));
}
