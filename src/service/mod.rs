//! The use cases, one a file: each reads as its steps, in order. No wire types, no keys spelled out.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::AuditGate;
use crate::clock::Clock;
use crate::crypto::KekRing;
use crate::metrics::{Metrics, Store};
use crate::storage::{BlobStore, RecordStore};
use crate::transfer::lease::LeaseTimes;
use crate::transfer::policy::Policy;
use crate::transfer::quota::Limits;
use crate::transfer::{Actor, Context, InstanceId, OperationId};

mod accounts;
mod append;
mod bell;
mod buffers;
mod by;
mod complete;
mod create;
mod deadline;
mod delete;
mod doctor;
mod download;
mod error;
mod expire;
mod health;
mod lane;
mod links;
mod listing;
mod login;
mod me;
mod observe;
mod open;
mod parts;
mod passwords;
mod plan;
mod purge;
mod quota;
mod rates;
mod refusals;
mod room;
mod sending;
mod session;
mod stores;
mod sweep;
mod teams;
mod ticket;
mod tokens;
mod tries;
mod upload;
mod view;

pub use bell::Bell;
pub use buffers::Buffers;
pub use by::By;
pub use complete::Sent;
pub use doctor::TeamCheck;
pub use download::{Chunk, Download, Holder};
pub use error::ServiceError;
pub use expire::{BATCH, Claim, Heard, Pass};
pub use health::Health;
pub use listing::Listing;
pub use login::{Caller, is_token};
pub use me::{Me, SenderLimits};
pub use open::{OpenFile, OpenTransfer, Proof};
pub use passwords::{Passwords, refuse_token};
pub use quota::QuotaRefusal;
pub use rates::{Permits, Rates, Standing};
pub use refusals::{Refusal, Refusals};
pub use room::Room;
pub use sending::Sending;
pub use session::Session;
pub use stores::StoreIds;
pub use sweep::SweepReport;
pub use teams::MadeTeam;
pub use ticket::TicketHolder;
pub use tokens::{KeySource, NewToken, TokenKind, TokenTerms};
pub use upload::NewUpload;
pub use view::{FileView, LinkView, TransferView, encode_path};

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Rules {
    /// What senders may ask for.
    pub policy: Policy,
    /// What teams may hold that have no limits of their own.
    pub quota: Limits,
    /// Bytes that an upload of unknown length reserves at a time.
    pub reserve_step: u64,
    /// How long leases live.
    pub leases: LeaseTimes,
    /// An upload without progress ends after this.
    pub upload_idle: Duration,
    /// How long a tombstone is kept.
    pub tombstones: Duration,
    /// The sweep leaves younger objects alone.
    pub sweep_min_age: Duration,
    /// Less free room than this, and uploads are refused.
    pub min_free_bytes: u64,
    /// How many requests may come with one token or link.
    pub rates: Rates,
    /// Where links point, without a slash at the end.
    pub public_url: String,
}

/// The use cases over one pair of stores.
pub struct Service {
    /// Where records live.
    pub records: Arc<dyn RecordStore>,
    /// Where bytes live.
    pub blobs: Arc<dyn BlobStore>,
    /// The server's keys.
    pub keks: KekRing,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Whether what happens can be recorded.
    pub gate: AuditGate,
    /// What the operator decided.
    pub rules: Rules,
    /// The memory for uploads.
    pub buffers: Buffers,
    /// The disk for uploads.
    pub room: Room,
    /// This process.
    pub instance: InstanceId,
    /// Rung when something may have become due.
    pub due: Bell,
    /// Rung when there is something to relay.
    pub outbox: Bell,
    /// What this instance took from limits and has not spent yet.
    pub permits: Permits,
    /// Refusals that are not yet on record.
    pub refusals: Refusals,
    /// The turns at passwords.
    pub passwords: Passwords,
    /// What is counted of all this.
    pub metrics: Metrics,
    /// What goes on when its request is gone: uploads that are being ended, downloads that are being settled.
    pub tasks: tokio_util::task::TaskTracker,
}

/// Who asks, before anything is proved.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The address, as it goes on record.
    pub client: Option<String>,
    /// By what its failed tries are counted: the address, for IPv6 its /64.
    pub group: Option<String>,
    /// The request id.
    pub trace: Option<String>,
}

impl Service {
    fn context(&self, actor: Actor, asker: &Asker) -> Context {
        let now = self.clock.now();
        Context {
            operation: OperationId::generate(now),
            now,
            actor,
            instance: self.instance,
            client: asker.client.clone(),
            trace: asker.trace.clone(),
        }
    }

    fn system(&self) -> Context {
        self.context(Actor::System, &Asker::default())
    }

    /// Commits, rings the workers, and sends again what was not answered, under the same operation.
    async fn commit(&self, change: crate::transfer::Change) -> Result<(), crate::storage::StoreError> {
        // A new deadline is further off than the reaper's next look; only an end has work for it now.
        let ends = change.record().state() == crate::transfer::State::Ended;
        let mut done = self.records.commit(change.clone()).await;
        if matches!(done, Err(crate::storage::StoreError::Unavailable(_))) {
            self.metrics.retried(Store::Records, "commit");
            done = self.records.commit(change).await;
        }
        self.outbox.ring();
        if ends {
            self.due.ring();
        }
        done
    }
}
