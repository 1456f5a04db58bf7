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

use super::EdgeLimits;
use super::exchange::{Exchange, Piece};

/// The client sent no byte of the request's body for [`EdgeLimits::idle_body`], or was slower than
/// [`EdgeLimits::slowest_body`].
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

type BoxError = Box<dyn Error + Send + Sync>;

/// A request's body that fails when nothing comes for too long. Only the time in which it is asked counts.
pub(super) struct RequestBody {
    /// Until it was read to its end.
    incoming: Option<Incoming>,
    exchange: Exchange,
    limits: EdgeLimits,
    /// When the wait for the next frame is over, while one is waited for.
    deadline: Option<Instant>,
    /// How long this window was waited, and what came in it.
    waited: Duration,
    came: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, exchange: Exchange, limits: EdgeLimits) -> Self {
        Self {
            incoming: Some(incoming),
            exchange,
            limits,
            deadline: None,
            waited: Duration::ZERO,
            came: 0,
            timer: None,
        }
    }

    /// Too few bytes over a window of waiting for the client (DESIGN §5); the server's own time does not count.
    fn is_too_slow(&mut self, waited: Duration, came: u64) -> bool {
        self.waited += waited;
        self.came += came;
        if self.waited < self.limits.body_window {
            return false;
        }
        let milliseconds = std::mem::take(&mut self.waited).as_millis();
        let enough = u128::from(self.limits.slowest_body) * milliseconds / 1000;
        u128::from(std::mem::take(&mut self.came)) < enough
    }

    /// Ready when the wait has lasted too long. The timer is not moved at every frame, but when it fires too early.
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.deadline.get_or_insert_with(|| Instant::now() + self.limits.idle_body);
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
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = match Pin::new(incoming).poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending => {
                ready!(self.poll_late(cx));
                return Poll::Ready(Some(Err(BodyTimeout.into())));
            }
        };
        let since = self.deadline.take().and_then(|deadline| deadline.checked_sub(self.limits.idle_body));
        let length = frame
            .as_ref()
            .and_then(|frame| frame.as_ref().ok())
            .and_then(Frame::data_ref)
            .map_or(0, Bytes::len);
        let too_slow =
            self.is_too_slow(since.map(|since| since.elapsed()).unwrap_or_default(), length as u64);
        let whole = match &frame {
            None => true,
            Some(Ok(_)) => self.is_end_stream(),
            Some(Err(_)) => false,
        };
        if whole {
            self.incoming = None;
            self.exchange.body_done(None);
        } else if too_slow {
            return Poll::Ready(Some(Err(BodyTimeout.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if let Some(unread) = self.incoming.take() {
            self.exchange.body_done(Some(unread));
        }
    }
}

/// A response's body. On HTTP/1.1 its drop says that all of it is in the write queue, or that it failed. On HTTP/2 it ends
/// only when the client has taken all of it: until then hyper keeps the stream, which can be reset as long as it is kept.
pub(super) struct ResponseBody {
    body: Body,
    exchange: Exchange,
    ended: bool,
}

impl ResponseBody {
    pub(super) fn new(body: Body, exchange: Exchange) -> Self {
        Self { body, exchange, ended: false }
    }
}

impl HttpBody for ResponseBody {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        if !self.ended {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let piece = |bytes| Piece::new(bytes, self.exchange.clone());
                    return Poll::Ready(Some(Ok(frame.map_data(piece))));
                }
                Some(Err(error)) => {
                    // What is queued will not be written: it must not be counted when hyper drops it.
                    self.exchange.break_off();
                    return Poll::Ready(Some(Err(error)));
                }
                None => self.ended = true,
            }
        }
        // Polled again by the task of the stream, which is woken when the last piece is let go.
        if self.exchange.is_sending() { Poll::Pending } else { Poll::Ready(None) }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream() && !self.exchange.is_sending()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.exchange.answered();
    }
}
