//! An upload from inside, on a clock that is turned by hand: what happens to it while its bytes come.

use std::sync::Arc;
use std::time::Duration;

use burnbag::app::App;
use burnbag::clock::{Clock as _, ManualClock};
use burnbag::config::{Config, Flags};
use burnbag::service::{Asker, Caller, Claim, NewUpload, Sending, ServiceError};
use burnbag::transfer::policy::{Expires, Settled};
use burnbag::transfer::{FileName, State, TransferId};
use bytes::Bytes;

use crate::sample::START;
use crate::support::{files_below, wait_for};

const TERMS: Settled = Settled { expires: Expires::After(86_400_000), downloads: None, password: None };

struct Running {
    app: App,
    clock: ManualClock,
    caller: Arc<Caller>,
    dir: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let settings = vec![("DATA_DIR", dir.path().display().to_string())];
        let config = Config::load(&Flags { file: None, settings }).unwrap();
        let app = App::open(config, Arc::new(clock.clone())).await.unwrap();
        app.service.gate.working(0);
        app.service.first_account().await.unwrap();
        let account = app.unkeyed_account().await.unwrap().unwrap();
        let token = app.first_token(account).await.unwrap();
        let caller = app.service.login(token.text(), Asker::default()).await.unwrap();
        Self { app, clock, caller: Arc::new(caller), dir }
    }

    async fn send(&self) -> Sending {
        self.app.service.send(Arc::clone(&self.caller), TERMS.expires, upload(0)).await.unwrap()
    }

    /// Where the only transfer stands.
    async fn state(&self) -> (TransferId, State) {
        let entries = self.app.service.records.outbox(0, 0, 10_000).await.unwrap();
        let id = entries.iter().find_map(|entry| entry.event.transfer).unwrap();
        let record = self.app.service.records.transfer(self.caller.team.id, id).await.unwrap().unwrap();
        (id, record.transfer.state())
    }
}

fn upload(n: usize) -> NewUpload {
    NewUpload { name: FileName::parse(&format!("{n}.txt")).unwrap(), media_type: None, length: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_form_of_many_small_files_lives_as_long_as_it_goes_on() {
    let running = Running::start().await;
    let mut sending = running.send().await;
    // 36 minutes in all, where 15 without progress end an upload; no file alone is long enough to be journalled.
    for n in 1..=9 {
        sending.write(Bytes::from_static(b"small")).await.unwrap();
        sending.end_file().await.unwrap();
        sending.file(upload(n)).await.unwrap();
        let files = || async {
            let (id, _) = running.state().await;
            let found = running.app.service.records.transfer(running.caller.team.id, id).await.unwrap();
            (found.unwrap().transfer.files().len() == n + 1).then_some(())
        };
        wait_for("the next file to be on record", files).await;
        running.clock.advance(Duration::from_mins(4));
        running.app.service.expire_due(0, Claim::All).await.unwrap();
        assert_eq!(running.state().await.1, State::Uploading, "after {} minutes", n * 4);
    }
    sending.end_file().await.unwrap();
    let sent = sending.complete(TERMS).await.unwrap();
    assert_eq!(sent.transfer.files.len(), 10);
    assert_eq!(running.state().await.1, State::Available);
    // And ends where it does not go on.
    let silent = running.send().await;
    running.clock.advance(Duration::from_mins(15));
    assert_eq!(running.app.service.expire_due(0, Claim::All).await.unwrap().changed, 1);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_whose_token_is_revoked_ends_and_leaves_nothing() {
    let running = Running::start().await;
    let service = &running.app.service;
    let mut sending = running.send().await;
    sending.write(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    let account = service.account("admin").await.unwrap();
    service.revoke_token(account, running.caller.token.id).await.unwrap();
    running.clock.advance(Duration::from_secs(10));
    let mut refused = None;
    for _ in 0..1000 {
        if let Err(error) = sending.write(Bytes::from_static(b"more")).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(ServiceError::TokenInvalid)), "{refused:?}");
    assert_eq!(running.state().await.1, State::Ended);
    let pass = service.expire_due(0, Claim::All).await.unwrap();
    service.purge(pass.purge).await;
    assert_eq!(running.state().await.1, State::Purged);
    for place in ["objects/o", "tmp"] {
        assert_eq!(files_below(&running.dir.path().join(place)), Vec::<std::path::PathBuf>::new(), "{place}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_who_leaves_leaves_nothing() {
    let running = Running::start().await;
    let mut sending = running.send().await;
    sending.write(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    drop(sending);
    let ended = || async { (running.state().await.1 == State::Ended).then_some(()) };
    wait_for("the upload to be ended by its own task", ended).await;
    assert_eq!(running.clock.now(), START, "no worker and no time was needed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_who_stalls_holds_one_part() {
    let running = Running::start().await;
    let service = &running.app.service;
    let part = service.blobs.part_size();
    let mut sending = running.send().await;
    sending.write(Bytes::from(vec![7; 3 * part + part / 2])).await.unwrap();
    wait_for("three parts are written, and their memory is given back", async || {
        let written = files_below(&running.dir.path().join("tmp"));
        let length: u64 = written.iter().map(|file| file.metadata().map_or(0, |file| file.len())).sum();
        (length >= 3 * part as u64 && service.buffers.taken() == part).then_some(())
    })
    .await;
    sending.end_file().await.unwrap();
    sending.complete(TERMS).await.unwrap();
    wait_for("all of it is given back", async || (service.buffers.taken() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_written_while_the_next_one_is_filled() {
    let running = Running::start().await;
    let buffers = running.app.service.buffers.clone();
    let part = running.app.service.blobs.part_size();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let most = std::thread::spawn(move || {
        let mut most = 0;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            most = most.max(buffers.taken());
            std::thread::yield_now();
        }
        most
    });
    let mut sending = running.send().await;
    for _ in 0..100 {
        sending.write(Bytes::from(vec![7; part])).await.unwrap();
    }
    sending.end_file().await.unwrap();
    sending.complete(TERMS).await.unwrap();
    drop(stop);
    assert_eq!(most.join().unwrap(), 2 * part, "two parts, and never three");
}
