//! Quotas from inside: steps that are small enough to be passed.

use std::sync::Arc;

use burnbag::app::App;
use burnbag::clock::ManualClock;
use burnbag::config::{Config, Flags};
use burnbag::service::{Asker, Caller, Claim, NewUpload, QuotaRefusal, Sending, ServiceError};
use burnbag::transfer::FileName;
use burnbag::transfer::policy::{Expires, Settled};
use burnbag::transfer::quota::{Holding, Limits, Quantity, QuotaExceeded};
use bytes::Bytes;

use crate::sample::START;
use crate::support::wait_for;

const TERMS: Settled = Settled { expires: Expires::After(86_400_000), downloads: None, password: None };

struct Inside {
    app: App,
    caller: Arc<Caller>,
    _dir: tempfile::TempDir,
}

impl Inside {
    /// A service whose uploads reserve 1,000 bytes at a time, and a caller whose team may hold so many.
    async fn with(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = vec![("DATA_DIR", dir.path().display().to_string())];
        let config = Config::load(&Flags { file: None, settings }).unwrap();
        let mut app = App::open(config, Arc::new(ManualClock::new(START))).await.unwrap();
        Arc::get_mut(&mut app.service).unwrap().rules.reserve_step = 1000;
        app.service.gate.working(0);
        app.service.first_account().await.unwrap();
        let account = app.unkeyed_account().await.unwrap().unwrap();
        let token = app.first_token(account).await.unwrap();
        let mut caller = app.service.login(token.text(), Asker::default()).await.unwrap();
        caller.team.limits = Limits { bytes: Some(bytes), ..Limits::default() };
        Self { app, caller: Arc::new(caller), _dir: dir }
    }

    async fn send(&self, length: Option<u64>) -> Result<Sending, ServiceError> {
        let upload = NewUpload { name: FileName::parse("f").unwrap(), media_type: None, length };
        self.app.service.send(Arc::clone(&self.caller), TERMS.expires, upload).await
    }

    async fn held(&self) -> Holding {
        self.app.service.records.usage(self.caller.team.id).await.unwrap().held
    }

    async fn holds(&self, bytes: u64, transfers: u64, uploads: u64) {
        let expected = Holding { bytes, transfers, uploads };
        wait_for(&format!("{expected:?} to be held"), async || (self.held().await == expected).then_some(()))
            .await;
    }

    /// Deletes what has ended.
    async fn purge(&self) {
        let pass = self.app.service.expire_due(0, Claim::All).await.unwrap();
        self.app.service.purge(pass.purge).await;
    }

    async fn is_sound(&self) {
        let check = self.app.service.check_usage(self.caller.team.id, |_| {}).await.unwrap();
        assert!(check.records.is_some() && !check.has_drift(), "{check:?}");
    }
}

fn bytes(number: usize) -> Bytes {
    Bytes::from(vec![7; number])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_of_unknown_length_reserves_step_by_step_and_at_last_what_is_left() {
    let inside = Inside::with(3300).await;
    let mut sending = inside.send(None).await.unwrap();
    inside.holds(1000, 1, 1).await;
    sending.write(bytes(1000)).await.unwrap();
    sending.write(bytes(1)).await.unwrap();
    inside.holds(2000, 1, 1).await;
    let known = inside.send(Some(900)).await.unwrap();
    inside.holds(2900, 2, 2).await;
    inside.is_sound().await;
    sending.write(bytes(1000)).await.unwrap();
    inside.holds(3300, 2, 2).await;
    sending.write(bytes(399)).await.unwrap();
    let refused = inside.send(None).await.err();
    let expected = QuotaExceeded { what: Quantity::Bytes, limit: 3300, used: 3300 };
    let is_expected = |error: &Option<ServiceError>| {
        matches!(error, Some(ServiceError::QuotaExceeded(QuotaRefusal { exceeded, asked: None, frees: Some(_) }))
            if *exceeded == expected)
    };
    assert!(is_expected(&refused), "{refused:?}");
    // All that was reserved is in use: to the last byte it fits.
    sending.end_file().await.unwrap();
    sending.complete(TERMS).await.unwrap();
    assert_eq!(inside.held().await, Holding { bytes: 3300, transfers: 2, uploads: 1 });
    drop(known);
    inside.holds(3300, 1, 0).await;
    inside.purge().await;
    assert_eq!(inside.held().await, Holding { bytes: 2400, transfers: 1, uploads: 0 });
    inside.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_needs_a_step_too_much_ends_and_gives_all_back() {
    let inside = Inside::with(1500).await;
    let mut sending = inside.send(None).await.unwrap();
    sending.write(bytes(1500)).await.unwrap();
    inside.holds(1500, 1, 1).await;
    let mut refused = None;
    for _ in 0..100 {
        if let Err(error) = sending.write(bytes(1)).await {
            refused = Some(error);
            break;
        }
    }
    let expected = QuotaExceeded { what: Quantity::Bytes, limit: 1500, used: 1500 };
    assert!(
        matches!(&refused, Some(ServiceError::QuotaExceeded(QuotaRefusal { exceeded, .. })) if *exceeded == expected),
        "{refused:?}"
    );
    inside.holds(1500, 0, 0).await;
    inside.purge().await;
    assert_eq!(inside.held().await, Holding::default());
    inside.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_a_form_share_what_is_reserved() {
    let inside = Inside::with(5000).await;
    let upload = |name| NewUpload { name: FileName::parse(name).unwrap(), media_type: None, length: None };
    let service = &inside.app.service;
    let mut sending = service
        .send_several(Arc::clone(&inside.caller), TERMS.expires, upload("a"), Some(2500))
        .await
        .unwrap();
    inside.holds(2500, 1, 1).await;
    sending.write(bytes(1200)).await.unwrap();
    sending.end_file().await.unwrap();
    sending.file(upload("b")).await.unwrap();
    sending.write(bytes(1100)).await.unwrap();
    sending.end_file().await.unwrap();
    inside.holds(2500, 1, 1).await;
    sending.complete(TERMS).await.unwrap();
    assert_eq!(inside.held().await, Holding { bytes: 2300, transfers: 1, uploads: 0 });
    // Without a length, in steps over all of them.
    let mut sending = inside.send(None).await.unwrap();
    sending.write(bytes(600)).await.unwrap();
    sending.end_file().await.unwrap();
    sending.file(upload("b")).await.unwrap();
    sending.write(bytes(400)).await.unwrap();
    inside.holds(3300, 2, 1).await;
    sending.write(bytes(1)).await.unwrap();
    inside.holds(4300, 2, 1).await;
    sending.end_file().await.unwrap();
    sending.complete(TERMS).await.unwrap();
    assert_eq!(inside.held().await, Holding { bytes: 3301, transfers: 2, uploads: 0 });
    inside.is_sound().await;
}
