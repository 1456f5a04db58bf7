//! What is known of one connection, shared by its task, its socket and its exchanges.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::{EdgeLimits, LINGER};

/// A handle of one connection.
#[derive(Clone, Debug)]
pub(super) struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    peer: SocketAddr,
    broken: AtomicBool,
    evicted: AtomicBool,
    task: AtomicWaker,
    state: Mutex<State>,
}

impl Connection {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            peer,
            broken: AtomicBool::new(false),
            evicted: AtomicBool::new(false),
            task: AtomicWaker::new(),
            state: Mutex::new(State {
                phase: Phase::Head(Instant::now()),
                requests: 0,
                blocked: None,
                leaving: None,
                answering: false,
                receiving: false,
                unread: false,
                streams: None,
                copied: Vec::new(),
            }),
        }))
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether the connection failed, was cut or ran out of time.
    pub(super) fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }

    /// Cuts the connection now: nothing more is written, and what the kernel still holds is thrown away (RST).
    pub(super) fn abort(&self) {
        self.break_off();
        self.0.task.wake();
    }

    /// Marks it broken. From here on every write fails, and the close is a reset.
    pub(super) fn break_off(&self) {
        self.0.broken.store(true, Ordering::Release);
    }

    /// Its place is wanted: it is to close, unless a request has begun.
    pub(super) fn evict(&self) {
        self.0.evicted.store(true, Ordering::Release);
        self.0.task.wake();
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.0.evicted.load(Ordering::Acquire)
    }

    /// A request had begun: its place stays its own.
    pub(super) fn stay(&self) {
        self.0.evicted.store(false, Ordering::Release);
    }

    /// Ready once its place is wanted.
    pub(super) fn poll_evicted(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.wake_me(cx.waker());
        if self.is_evicted() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Who is woken when something happens that its task does not see.
    pub(super) fn wake_me(&self, task: &Waker) {
        self.0.task.register(task);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// HTTP/1.1: the handler, or who it gave the body to, is done with it. `whole`: it was read to its end.
    pub(super) fn body_done(&self, whole: bool) {
        let mut state = self.state();
        state.receiving = false;
        state.unread &= !whole;
        drop(state);
        self.0.task.wake();
    }

    /// HTTP/2: a stream is over, whatever became of it.
    pub(super) fn stream_done(&self) {
        let mut state = self.state();
        let left = state.streams.map_or(0, |streams| streams.saturating_sub(1));
        state.streams = Some(left);
        if left == 0 && state.phase == Phase::Busy {
            state.phase = Phase::Idle(Instant::now());
        }
        drop(state);
        self.0.task.wake();
    }

    /// What was copied into the write buffer of h2 is let go: it went to the socket, or the connection is broken.
    pub(super) fn release_copied(&self) {
        let copied = std::mem::take(&mut self.state().copied);
        // Not under the lock: who made it may look at the connection.
        drop(copied);
    }
}

/// Where a connection stands, and since when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// A head is coming in.
    Head(Instant),
    /// A request runs.
    Busy,
    /// Nothing is under way.
    Idle(Instant),
    /// Answered; what the client still sends is thrown away.
    Lingering(Instant),
}

/// What its limits depend on.
#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    /// How many requests began.
    requests: u64,
    /// Since when the socket takes no byte.
    blocked: Option<Instant>,
    /// Since when no further request is wanted.
    leaving: Option<Instant>,
    /// HTTP/1.1: the response is not wholly handed over yet.
    answering: bool,
    /// HTTP/1.1: someone may still ask for more of the request's body.
    receiving: bool,
    /// HTTP/1.1: the request's body was not read to its end.
    unread: bool,
    /// HTTP/2: how many streams run.
    streams: Option<usize>,
    /// HTTP/2: pieces of responses that are in the write buffer of h2.
    copied: Vec<Bytes>,
}

impl State {
    /// The first byte came.
    pub(super) fn heard(&mut self) {
        self.phase = Phase::Head(Instant::now());
    }

    /// The client speaks HTTP/2.
    pub(super) fn set_http2(&mut self) {
        self.streams = Some(0);
    }

    pub(super) fn is_http2(&self) -> bool {
        self.streams.is_some()
    }

    /// HTTP/1.1: a head is complete; its request runs.
    pub(super) fn begin(&mut self, has_body: bool) {
        self.phase = Phase::Busy;
        self.requests += 1;
        self.answering = true;
        self.receiving = has_body;
        self.unread = has_body;
    }

    /// HTTP/2: the same.
    pub(super) fn begin_stream(&mut self) {
        self.phase = Phase::Busy;
        self.requests += 1;
        self.streams = self.streams.map(|streams| streams + 1);
    }

    /// HTTP/1.1: the last of the response is in the write queue.
    pub(super) fn answered(&mut self) {
        self.answering = false;
    }

    /// HTTP/2: a piece of a response was taken whole; perhaps into a buffer, so it is kept until that is empty.
    pub(super) fn copied(&mut self, piece: Bytes) {
        self.copied.push(piece);
    }

    /// The write queue is empty.
    pub(super) fn flushed(&mut self) {
        self.blocked = None;
        if !self.is_http2() && self.phase == Phase::Busy && !self.answering && !self.receiving {
            self.phase = Phase::Idle(Instant::now());
        }
    }

    /// Bytes came in. For HTTP/2 they may be of any frame, and mean no request.
    pub(super) fn received(&mut self) {
        if !self.is_http2() && matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(Instant::now());
        }
    }

    /// The socket takes no byte (`true`), or took some.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked.then(Instant::now);
    }

    /// No further request is wanted.
    pub(super) fn leave(&mut self) {
        self.leaving.get_or_insert_with(Instant::now);
    }

    /// All is written, and no more will be. Whether the client may still be sending.
    pub(super) fn closing(&mut self) -> bool {
        let lingers = self.unread || self.is_http2() || matches!(self.phase, Phase::Head(_));
        self.phase = Phase::Lingering(Instant::now());
        lingers
    }

    /// HTTP/1.1: whether part of the request's body was not read.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Whether a request was not wholly answered.
    pub(super) fn is_busy(&self) -> bool {
        self.phase == Phase::Busy
    }

    /// While it waits for a request: how many there were before.
    pub(super) fn waits_after(&self) -> Option<u64> {
        (self.phase != Phase::Busy).then_some(self.requests)
    }

    /// Its time is over. Whether the client is first to be told, which HTTP/2 can.
    pub(super) fn leave_late(&mut self) -> bool {
        let first = self.is_http2() && matches!(self.phase, Phase::Idle(_)) && self.leaving.is_none();
        if first {
            self.leave();
        }
        first
    }

    /// When the connection must end unless something moves.
    pub(super) fn deadline(&self, limits: &EdgeLimits) -> Option<Instant> {
        let blocked = self.blocked.map(|since| since + limits.idle_write);
        match self.phase {
            Phase::Head(since) => {
                let end = since + limits.header;
                Some(self.leaving.map_or(end, |leaving| end.min(leaving + LINGER)))
            }
            Phase::Idle(since) => Some(match self.leaving {
                // It was told so, and has this long to say what was under way.
                Some(leaving) if self.is_http2() => since.max(leaving) + LINGER,
                _ => since + limits.keep_alive,
            }),
            Phase::Lingering(since) => Some(since + LINGER),
            Phase::Busy => blocked,
        }
    }
}
