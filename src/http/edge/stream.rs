//! The streams of an HTTP/2 connection: each is a task that ends when its client takes nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::exchange::Exchange;
use super::timer::Timer;
use super::{LINGER, LINGER_BYTES};

/// Spawns the streams of one connection for hyper.
#[derive(Clone)]
pub(super) struct Streams {
    tasks: TaskTracker,
    idle_write: Duration,
    /// hyper calls the service for a request, and then has the stream run: this is how the two meet.
    begun: Arc<Mutex<Option<Exchange>>>,
}

impl Streams {
    pub(super) fn new(tasks: TaskTracker, idle_write: Duration) -> Self {
        Self { tasks, idle_write, begun: Arc::default() }
    }

    /// The exchange of the stream that is spawned next.
    pub(super) fn begin(&self, exchange: Exchange) {
        exchange.connection().state().begin_stream();
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = Some(exchange);
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner).take();
        match begun {
            Some(exchange) => {
                let future = Box::pin(future);
                let done = Done(exchange.clone());
                let timer = Timer::default();
                let idle_write = self.idle_write;
                self.tasks.spawn(Stream { future, rest: None, exchange, idle_write, timer, _done: done });
            }
            None => {
                self.tasks.spawn(future);
            }
        }
    }
}

/// hyper's future of a stream. Dropped before its end it resets the stream, and h2 throws away what it holds of it.
struct Stream<F> {
    // Dropped first: what is thrown away is so before the stream counts as done.
    future: Pin<Box<F>>,
    /// After the response.
    rest: Option<Rest>,
    exchange: Exchange,
    idle_write: Duration,
    timer: Timer,
    _done: Done,
}

impl<F: Future<Output = ()>> Future for Stream<F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.exchange.wake_me(cx.waker());
        if this.exchange.is_broken() {
            return Poll::Ready(());
        }
        if this.rest.is_none() && this.future.as_mut().poll(cx).is_ready() {
            match this.exchange.take_unread() {
                Some(body) if !this.exchange.is_broken() => this.rest = Some(Rest::new(body)),
                _ => return Poll::Ready(()),
            }
        }
        if let Some(rest) = &mut this.rest {
            return if rest.poll(cx).is_ready() {
                Poll::Ready(())
            } else {
                this.timer.poll_passed(Some(rest.end), cx)
            };
        }
        let deadline = this.exchange.deadline(this.idle_write);
        if this.timer.poll_passed(deadline, cx).is_ready() {
            tracing::debug!(peer = %this.exchange.peer(), "client takes nothing of a stream: reset");
            this.exchange.break_off();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// The rest of a request's body, which is read and thrown away like that of HTTP/1.1.
struct Rest {
    body: Incoming,
    left: u64,
    end: Instant,
}

impl Rest {
    fn new(body: Incoming) -> Self {
        Self { body, left: LINGER_BYTES, end: Instant::now() + LINGER }
    }

    /// Ready when it is over, or has become too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(Ok(frame)) = ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            self.left = self.left.saturating_sub(frame.data_ref().map_or(0, Bytes::len) as u64);
            if self.left == 0 {
                break;
            }
        }
        Poll::Ready(())
    }
}

struct Done(Exchange);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.connection().stream_done();
    }
}
