//! Downloading: a lease first, then verified bytes; the connection breaks where anything is wrong (DESIGN §2, §10).

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::plan::Plan;
use super::{Asker, OpenFile, OpenTransfer, Service, ServiceError};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Store;
use crate::storage::StoreError;
use crate::storage::records::LeaseAnswer;
use crate::transfer::lease::{
    LeaseOp, LeaseRefused, LeaseRequest, OpenStream, RENEW_EVERY, STREAM_ALIVE, StreamRef,
};
use crate::transfer::{Actor, Context, HolderId, LinkId, StreamId, TeamId, TransferId};

mod source;

pub use source::Chunk;
use source::{Progress, READ_AHEAD, Source};

/// No answer from the store for so long breaks the connection (DESIGN §4).
const RENEW_PATIENCE: Duration = Duration::from_secs(20);
/// So long before its deadline a download asks for the last time where that is.
const LAST_LOOK: Duration = Duration::from_secs(1);
/// Between two attempts to renew where the first failed.
const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// What was handed out and not yet let go when a download is cut is waited for so long.
const CUT_PATIENCE: Duration = Duration::from_secs(5);
/// Between two attempts to settle.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// When to come back for a download that others hold.
const BUSY_RETRY: Duration = Duration::from_secs(30);

/// Who holds a lease.
#[derive(Clone, Copy, Debug)]
pub struct Holder(pub HolderId);

/// A download that may begin: its event is on record, its first segment verified.
pub struct Download {
    /// The bytes, in order. It ends early, without a mark, if the download is cut.
    pub chunks: mpsc::Receiver<Chunk>,
    /// How many bytes must come out of `chunks`.
    pub length: u64,
}

impl Service {
    /// Takes or joins a lease and starts to read `range`, which lies inside the file.
    ///
    /// `cut` is called if the stream must stop before its end: it must break the connection at once.
    ///
    /// # Errors
    /// [`ServiceError::LinkNotFound`], [`ServiceError::LinkBusy`], [`ServiceError::Audit`], or
    /// [`ServiceError::Internal`] for a damaged object; then no byte has left and no count is used.
    pub async fn download(
        self: &Arc<Self>,
        open: &OpenTransfer,
        file: &OpenFile,
        range: Range<u64>,
        holder: Holder,
        asker: &Asker,
        cut: impl FnOnce() + Send + 'static,
    ) -> Result<Download, ServiceError> {
        self.gate.downloads()?;
        self.room_for_a_download().await?;
        let transfer = &open.record.transfer;
        let recorded = transfer.file(file.id).ok_or(ServiceError::LinkNotFound)?;
        let id = transfer.id();
        let plan = Plan::open(&open.key.meta_key(id.as_bytes()), id, recorded)?;
        let pieces = plan.pieces(id, recorded, &range)?;
        let objects = plan.objects(&pieces);
        let progress = Arc::new(Progress::new(self.metrics.sent()));
        let main = open.key.main_key(id.as_bytes(), file.id.as_bytes());
        let mut source = Source::new(Arc::clone(&self.blobs), main, pieces, Arc::clone(&progress));
        let first = match source.first(&objects).await {
            // What has ended meanwhile has lost its objects, which is no damage.
            Err(ServiceError::Internal(_)) if !self.is_open_yet(open).await? => {
                return Err(ServiceError::LinkNotFound);
            }
            first => first?,
        };
        let context = self.context(Actor::Link(open.link), asker);
        let stream = StreamId::generate(context.now);
        let ask = OpenStream {
            stream,
            link: open.link,
            holder: holder.0,
            file: file.id,
            from: range.start,
            to: range.end,
        };
        let lease = Lease { service: Arc::clone(self), team: transfer.team(), transfer: id, context };
        let (sender, chunks) = mpsc::channel(READ_AHEAD);
        let length = range.end - range.start;
        let deadline = open.deadline();
        let running = Running { lease, progress, source, sender, length, deadline };
        // A task of its own, so that a lease is settled also if the asker leaves while it is taken.
        let (tell, told) = oneshot::channel();
        self.tasks.spawn(running.begin(ask, first, tell, cut));
        told.await.map_err(|_| ServiceError::Internal("the download's task stopped".to_owned()))??;
        Ok(Download { chunks, length })
    }
}

/// The lease operations of one stream.
struct Lease {
    service: Arc<Service>,
    team: TeamId,
    transfer: TransferId,
    context: Context,
}

impl Lease {
    async fn ask(&self, op: LeaseOp, context: Context) -> Result<LeaseAnswer, StoreError> {
        let request = LeaseRequest {
            team: self.team,
            transfer: self.transfer,
            op,
            context,
            times: self.service.rules.leases,
        };
        let answer = self.service.records.lease(request).await;
        self.service.outbox.ring();
        answer
    }

    async fn open(&self, ask: OpenStream) -> Result<StreamRef, ServiceError> {
        let mut answer = self.ask(LeaseOp::Open(ask.clone()), self.context.clone()).await;
        if matches!(answer, Err(StoreError::Unavailable(_))) {
            self.service.metrics.retried(Store::Records, "lease_open");
            answer = self.ask(LeaseOp::Open(ask), self.context.clone()).await;
        }
        match answer? {
            LeaseAnswer::Opened(stream) => Ok(stream),
            LeaseAnswer::Refused(LeaseRefused::Busy) => {
                Err(ServiceError::LinkBusy { retry_after: BUSY_RETRY })
            }
            _ => Err(ServiceError::LinkNotFound),
        }
    }

    async fn renew(&self, stream: StreamRef, written: u64) -> Result<Option<Timestamp>, StoreError> {
        let context = self.context.again(self.service.clock.now());
        match self.ask(LeaseOp::Renew { stream, written }, context).await? {
            LeaseAnswer::Goes { until } => Ok(Some(until)),
            _ => Ok(None),
        }
    }

    /// Settling works in every state, and is sent again until it is answered or the lease has ended by itself: idle, and
    /// its stream silent for too long.
    async fn settle(&self, stream: StreamRef, written: u64) {
        let context = self.context.again(self.service.clock.now());
        let give_up = Instant::now() + self.service.rules.leases.idle.max(STREAM_ALIVE);
        let mut wait = Duration::from_millis(100);
        loop {
            match self.ask(LeaseOp::Settle { stream, written }, context.clone()).await {
                Ok(_) | Err(StoreError::NotFound) => break,
                Err(error) if Instant::now() >= give_up => {
                    tracing::error!(error = &error as &dyn std::error::Error, "download not settled");
                    break;
                }
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "download not settled yet");
                    self.service.metrics.retried(Store::Records, "lease_settle");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
        }
        self.service.due.ring();
    }
}

/// Why a stream stopped before its end.
#[derive(Debug, thiserror::Error)]
enum Stopped {
    #[error("the receiver left")]
    Left,
    #[error("the deadline came")]
    Deadline,
    #[error("the transfer was ended, or the link revoked")]
    Ended,
    #[error("the record store did not answer")]
    NoAnswer,
    #[error(transparent)]
    Failed(#[from] ServiceError),
}

impl Stopped {
    /// How the download ended, in metrics.
    const fn word(&self) -> &'static str {
        match self {
            Self::Left => "receiver_left",
            Self::Deadline => "deadline",
            Self::Ended => "ended",
            Self::NoAnswer => "no_answer",
            Self::Failed(_) => "failed",
        }
    }
}

struct Running {
    lease: Lease,
    progress: Arc<Progress>,
    source: Source,
    sender: mpsc::Sender<Chunk>,
    length: u64,
    deadline: Timestamp,
}

impl Running {
    async fn begin(
        self,
        ask: OpenStream,
        first: Vec<Chunk>,
        tell: oneshot::Sender<Result<(), ServiceError>>,
        cut: impl FnOnce() + Send,
    ) {
        let asked = Instant::now();
        match self.lease.open(ask).await {
            Err(error) => {
                let _ = tell.send(Err(error));
            }
            Ok(stream) => match tell.send(Ok(())) {
                Ok(()) => self.run((stream, asked), first, cut).await,
                Err(_) => self.lease.settle(stream, 0).await,
            },
        }
    }

    async fn run(self, (stream, asked): (StreamRef, Instant), first: Vec<Chunk>, cut: impl FnOnce() + Send) {
        let Self { lease, progress, source, sender, length, deadline } = self;
        let clock = Arc::clone(&lease.service.clock);
        let running = lease.service.metrics.download();
        let (moved, deadline) = watch::channel(deadline);
        let outcome = tokio::select! {
            biased;
            () = until(&*clock, deadline.clone()) => Err(Stopped::Deadline),
            stopped = renew(&lease, (stream, asked), &progress, &moved) => Err(stopped),
            sent = send(source, first, &sender, &progress, &*clock, (length, &deadline)) => sent,
        };
        if let Err(stopped) = &outcome {
            cut();
            match stopped {
                Stopped::Left => tracing::debug!(transfer = %lease.transfer, "receiver left"),
                Stopped::Failed(error) => {
                    tracing::error!(transfer = %lease.transfer, %error, "download broken off");
                }
                other => tracing::info!(transfer = %lease.transfer, reason = %other, "download cut"),
            }
            // The connection lets go of what it holds; what it wrote before counts.
            drop(sender);
            let _ = tokio::time::timeout(CUT_PATIENCE, progress.released()).await;
        }
        running.end(outcome.as_ref().err().map_or("completed", Stopped::word));
        let written = progress.written();
        lease.settle(stream, written).await;
    }
}

/// Until the deadline, which can move meanwhile.
async fn until(clock: &dyn Clock, mut deadline: watch::Receiver<Timestamp>) {
    loop {
        let at = *deadline.borrow_and_update();
        tokio::select! {
            () = clock.sleep_until(at) => return,
            Ok(()) = deadline.changed() => {}
        }
    }
}

async fn send(
    mut source: Source,
    first: Vec<Chunk>,
    sender: &mpsc::Sender<Chunk>,
    progress: &Progress,
    clock: &dyn Clock,
    (length, deadline): (u64, &watch::Receiver<Timestamp>),
) -> Result<(), Stopped> {
    let mut chunks = first;
    while !chunks.is_empty() {
        for chunk in chunks {
            // The timer sleeps; a clock that jumped is noticed here.
            if clock.now() >= *deadline.borrow() {
                return Err(Stopped::Deadline);
            }
            sender.send(chunk).await.map_err(|_| Stopped::Left)?;
        }
        chunks = source.next().await?;
    }
    progress.released().await;
    if progress.written() == length { Ok(()) } else { Err(Stopped::Left) }
}

/// `known` is when the last request that was answered was sent: what the store said was true then, and it counts the
/// stream as silent from then on.
async fn renew(
    lease: &Lease,
    (stream, mut known): (StreamRef, Instant),
    progress: &Progress,
    deadline: &watch::Sender<Timestamp>,
) -> Stopped {
    let mut wait = RENEW_EVERY;
    loop {
        let patience = known + RENEW_PATIENCE;
        // Another process may have moved the deadline: that is asked for once more before it comes.
        let left = deadline.borrow().since(lease.service.clock.now()).saturating_sub(LAST_LOOK);
        let wait_now = if left.is_zero() { wait } else { wait.min(left) };
        tokio::time::sleep_until((Instant::now() + wait_now).min(patience)).await;
        let asked = Instant::now();
        let until = patience.min(asked + RENEW_EVERY);
        match tokio::time::timeout_at(until, lease.renew(stream, progress.written())).await {
            Ok(Ok(Some(moved))) => {
                deadline.send_replace(moved);
                (known, wait) = (asked, RENEW_EVERY);
            }
            Ok(Ok(None) | Err(StoreError::NotFound)) => return Stopped::Ended,
            Ok(Err(_)) | Err(_) if Instant::now() >= patience => return Stopped::NoAnswer,
            Ok(Err(_)) | Err(_) => wait = RENEW_AGAIN,
        }
    }
}

impl OpenTransfer {
    /// The holder of a lease that is told apart by link, address and user agent (DESIGN §10 "Leases").
    #[must_use]
    pub fn holder_of(link: LinkId, address: &str, user_agent: &str) -> Holder {
        let mut digest = crate::crypto::ContentDigest::default();
        for part in [link.as_bytes().as_slice(), address.as_bytes(), user_agent.as_bytes()] {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&digest.finish()[..16]);
        Holder(HolderId::from_bytes(id))
    }
}
