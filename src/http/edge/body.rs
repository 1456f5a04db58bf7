//! The bodies on their way through the edge: a time limit on the request's, a witness of the response's end.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};

use super::connection::Connection;

/// The client sent no byte of the request's body for [`EdgeLimits::idle_body`](super::EdgeLimits::idle_body), or fewer than
/// 4 KiB/s over a minute.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no byte of the body came in time")]
pub struct BodyTimeout;

/// Whether an error of a request's body is, or was caused by, a [`BodyTimeout`]: 408 `body_timeout`.
#[must_use]
pub fn is_body_timeout(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<BodyTimeout>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A body is held against [`SLOWEST`] each time that it was waited for this long.
const SLOW_WINDOW: Duration = Duration::from_mins(1);
/// Bytes in a [`SLOW_WINDOW`]: 4 KiB/s.
const SLOWEST: u64 = 60 * 4096;

type BoxError = Box<dyn Error + Send + Sync>;

/// A request's body that fails when nothing comes for too long. Only the time in which it is asked counts.
pub(super) struct RequestBody {
    incoming: Incoming,
    connection: Connection,
    idle: Duration,
    /// When the wait for the next frame is over, while one is waited for.
    deadline: Option<Instant>,
    /// How long this window was waited, and what came in it.
    waited: Duration,
    came: u64,
    timer: Option<Pin<Box<Sleep>>>,
    done: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, connection: Connection, idle: Duration) -> Self {
        Self {
            incoming,
            connection,
            idle,
            deadline: None,
            waited: Duration::ZERO,
            came: 0,
            timer: None,
            done: false,
        }
    }

    fn done(&mut self, whole: bool) {
        if !std::mem::replace(&mut self.done, true) {
            self.connection.body_done(whole);
        }
    }

    /// Less than 4 KiB/s over a minute of waiting for the client (DESIGN §5); the server's own time does not count.
    fn is_too_slow(&mut self, waited: Duration, came: u64) -> bool {
        self.waited += waited;
        self.came += came;
        if self.waited < SLOW_WINDOW {
            return false;
        }
        self.waited = Duration::ZERO;
        std::mem::take(&mut self.came) < SLOWEST
    }

    /// Ready when the wait has lasted too long. The timer is not moved at every frame, but when it fires too early.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.idle);
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.poll_late(cx));
                return Poll::Ready(Some(Err(BodyTimeout.into())));
            }
        };
        let since = self.deadline.take().and_then(|deadline| deadline.checked_sub(self.idle));
        let length = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok())
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        if self.is_too_slow(since.map(|since| since.elapsed()).unwrap_or_default(), length as u64) {
            return Poll::Ready(Some(Err(BodyTimeout.into())));
        }
        let whole = match &frame {
            None => true,
            Some(Ok(_)) => self.incoming.is_end_stream(),
            Some(Err(_)) => false,
        };
        if whole {
            self.done(true);
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.done(false);
    }
}

/// A response's body; its drop says that all of it is in the write queue, or that it failed.
pub(super) struct ResponseBody {
    body: Body,
    connection: Connection,
}

impl ResponseBody {
    pub(super) fn new(body: Body, connection: Connection) -> Self {
        Self { body, connection }
    }
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(_)) = frame {
            // What is queued will not be written: it must not be counted when hyper drops it.
            self.connection.break_off();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.connection.state().answered();
    }
}
