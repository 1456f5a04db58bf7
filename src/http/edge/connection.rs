//! What is known of one connection, shared by its task, its socket, its bodies and its handlers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

use super::{EdgeLimits, LINGER};

/// The connection that a request came on. In the extensions of every request.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Shared>);

impl Connection {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self(Arc::new(Shared {
            peer,
            broken: AtomicBool::new(false),
            task: AtomicWaker::new(),
            state: Mutex::new(State {
                phase: Phase::Head(Instant::now()),
                blocked: None,
                answering: false,
                receiving: false,
                unread: false,
            }),
        }))
    }

    /// The other end of the socket: the client, or a proxy.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.peer
    }

    /// Whether the connection failed, was cut or ran out of time. True before any part of a response is dropped
    /// unwritten, false while parts are dropped because the socket took them whole.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }

    /// Cuts the connection now: nothing more is written, and what the kernel still holds is thrown away (RST).
    pub fn abort(&self) {
        self.break_off();
        self.0.task.wake();
    }

    /// Marks it broken. From here on every write fails, and the close is a reset.
    pub(super) fn break_off(&self) {
        self.0.broken.store(true, Ordering::Release);
    }

    pub(super) fn wake_on_abort(&self, task: &Waker) {
        self.0.task.register(task);
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handler, or who it gave the body to, is done with it. `whole`: it was read to its end.
    pub(super) fn body_done(&self, whole: bool) {
        let mut state = self.state();
        state.receiving = false;
        state.unread &= !whole;
        drop(state);
        self.0.task.wake();
    }
}

#[derive(Debug)]
struct Shared {
    peer: SocketAddr,
    broken: AtomicBool,
    task: AtomicWaker,
    state: Mutex<State>,
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
    /// Since when the socket takes no byte.
    blocked: Option<Instant>,
    /// The response is not wholly handed over yet.
    answering: bool,
    /// Someone may still ask for more of the request's body.
    receiving: bool,
    /// The request's body was not read to its end.
    unread: bool,
}

impl State {
    /// A head is complete; its request runs.
    pub(super) fn begin(&mut self, has_body: bool) {
        self.phase = Phase::Busy;
        self.answering = true;
        self.receiving = has_body;
        self.unread = has_body;
    }

    /// The last of the response is in the write queue.
    pub(super) fn answered(&mut self) {
        self.answering = false;
    }

    /// The write queue is empty.
    pub(super) fn flushed(&mut self) {
        self.blocked = None;
        if self.phase == Phase::Busy && !self.answering && !self.receiving {
            self.phase = Phase::Idle(Instant::now());
        }
    }

    /// Bytes came in.
    pub(super) fn received(&mut self) {
        if matches!(self.phase, Phase::Idle(_)) {
            self.phase = Phase::Head(Instant::now());
        }
    }

    /// The socket takes no byte (`true`), or took some.
    pub(super) fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked.then(Instant::now);
    }

    /// All is written, and no more will be. Whether the client may still be sending.
    pub(super) fn closing(&mut self) -> bool {
        let lingers = self.unread || matches!(self.phase, Phase::Head(_));
        self.phase = Phase::Lingering(Instant::now());
        lingers
    }

    /// Whether part of the request's body was not read.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    /// Whether a request was not wholly answered.
    pub(super) fn is_busy(&self) -> bool {
        self.phase == Phase::Busy
    }

    /// When the connection must end unless something moves.
    pub(super) fn deadline(&self, limits: &EdgeLimits) -> Option<Instant> {
        match self.phase {
            Phase::Head(since) => Some(since + limits.header),
            Phase::Idle(since) => Some(since + limits.keep_alive),
            Phase::Lingering(since) => Some(since + LINGER),
            Phase::Busy => self.blocked.map(|since| since + limits.idle_write),
        }
    }
}
