//! One request and its response: what became of the bytes, and how it is cut.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use hyper::body::Incoming;
use tokio::time::Instant;

use super::connection::Connection;

/// The exchange that a request began. In the extensions of every request.
#[derive(Clone, Debug)]
pub struct Exchange(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: Connection,
    broken: AtomicBool,
    /// None on HTTP/1.1, where an exchange has the connection to itself.
    stream: Option<Stream>,
}

/// What there is to know of a stream of HTTP/2.
#[derive(Debug)]
struct Stream {
    task: AtomicWaker,
    flow: Mutex<Flow>,
}

#[derive(Debug)]
struct Flow {
    /// Pieces of the response in the hands of hyper.
    pieces: usize,
    /// When the client last took something, or the first of them was handed over.
    moved: Instant,
    /// The request's body, which nobody read to its end.
    unread: Option<Incoming>,
}

impl Exchange {
    /// On HTTP/1.1.
    pub(super) fn alone(connection: Connection) -> Self {
        Self(Arc::new(Inner { connection, broken: AtomicBool::new(false), stream: None }))
    }

    /// On a stream of HTTP/2.
    pub(super) fn stream(connection: Connection) -> Self {
        let flow = Mutex::new(Flow { pieces: 0, moved: Instant::now(), unread: None });
        let stream = Some(Stream { task: AtomicWaker::new(), flow });
        Self(Arc::new(Inner { connection, broken: AtomicBool::new(false), stream }))
    }

    /// The other end of the socket: the client, or a proxy.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.0.connection.peer()
    }

    /// Whether the exchange failed, was cut or ran out of time. True before any part of the response is dropped unwritten,
    /// false while parts are dropped because the socket took them whole.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire) || self.0.connection.is_broken()
    }

    /// Cuts the exchange now: nothing more is written. On HTTP/1.1 that cuts the connection, and what the kernel still
    /// holds is thrown away; on HTTP/2 the stream is reset, and the others go on.
    pub fn abort(&self) {
        self.break_off();
        match &self.0.stream {
            Some(stream) => stream.task.wake(),
            None => self.0.connection.abort(),
        }
    }

    /// Marks it broken.
    pub(super) fn break_off(&self) {
        self.0.broken.store(true, Ordering::Release);
        if self.0.stream.is_none() {
            self.0.connection.break_off();
        }
    }

    /// The handler, or who it gave the request's body to, is done with it: it was read to its end, or is `unread`.
    pub(super) fn body_done(&self, unread: Option<Incoming>) {
        match self.flow() {
            Some(mut flow) => flow.unread = unread,
            None => self.0.connection.body_done(unread.is_none()),
        }
    }

    /// HTTP/2: what is to be read and thrown away after the response, so that the client finds the answer and no reset.
    pub(super) fn take_unread(&self) -> Option<Incoming> {
        self.flow()?.unread.take()
    }

    /// The last of the response is with hyper, or it failed.
    pub(super) fn answered(&self) {
        if self.0.stream.is_none() {
            self.0.connection.state().answered();
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0.connection
    }

    /// Who is woken by an abort, and when the client has taken all that there is.
    pub(super) fn wake_me(&self, task: &Waker) {
        if let Some(stream) = &self.0.stream {
            stream.task.register(task);
        }
    }

    fn flow(&self) -> Option<MutexGuard<'_, Flow>> {
        self.0.stream.as_ref().map(|stream| stream.flow.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// HTTP/2: whether hyper holds a part of the response. [`Self::wake_me`] tells when it does no longer.
    pub(super) fn is_sending(&self) -> bool {
        self.flow().is_some_and(|flow| flow.pieces > 0)
    }

    /// HTTP/2: when the stream must end unless the client takes something.
    pub(super) fn deadline(&self, idle_write: Duration) -> Option<Instant> {
        self.flow().filter(|flow| flow.pieces > 0).map(|flow| flow.moved + idle_write)
    }
}

/// A part of a response in the hands of hyper, which advances it as the socket takes it. Dropped before its end it says
/// so first, so that who made the bytes can tell.
pub(super) struct Piece {
    bytes: Bytes,
    exchange: Exchange,
}

impl Piece {
    pub(super) fn new(bytes: Bytes, exchange: Exchange) -> Self {
        if let Some(mut flow) = exchange.flow() {
            if flow.pieces == 0 {
                flow.moved = Instant::now();
            }
            flow.pieces += 1;
        }
        Self { bytes, exchange }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        // `Bytes` would let go of its owner at its end.
        self.bytes.advance(count);
        if let Some(mut flow) = self.exchange.flow() {
            flow.moved = Instant::now();
        }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        let Some(mut flow) = self.exchange.flow() else { return };
        flow.pieces = flow.pieces.saturating_sub(1);
        let last = flow.pieces == 0;
        drop(flow);
        if self.bytes.has_remaining() {
            self.exchange.break_off();
        } else {
            self.exchange.connection().state().copied(std::mem::take(&mut self.bytes));
        }
        if let (true, Some(stream)) = (last, &self.exchange.0.stream) {
            stream.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Witness(Exchange, Arc<Mutex<Vec<bool>>>);

    impl AsRef<[u8]> for Witness {
        fn as_ref(&self) -> &[u8] {
            b"some bytes"
        }
    }

    impl Drop for Witness {
        fn drop(&mut self) {
            let written = !self.0.is_broken();
            self.1.lock().unwrap_or_else(PoisonError::into_inner).push(written);
        }
    }

    /// A piece that was advanced so far and dropped, and what its maker saw.
    fn dropped(advanced: usize) -> (Connection, Arc<Mutex<Vec<bool>>>) {
        let connection = Connection::new(SocketAddr::from(([127, 0, 0, 1], 1)));
        connection.state().set_http2();
        let exchange = Exchange::stream(connection.clone());
        let seen = Arc::default();
        let bytes = Bytes::from_owner(Witness(exchange.clone(), Arc::clone(&seen)));
        let mut piece = Piece::new(bytes, exchange.clone());
        assert!(exchange.is_sending());
        piece.advance(advanced);
        drop(piece);
        assert!(!exchange.is_sending());
        (connection, seen)
    }

    fn seen(seen: &Mutex<Vec<bool>>) -> Vec<bool> {
        seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[test]
    fn what_was_copied_into_a_buffer_is_written_only_when_the_buffer_is() {
        let (connection, witness) = dropped(10);
        assert!(seen(&witness).is_empty());
        connection.release_copied();
        assert_eq!(seen(&witness), [true]);
        let (connection, witness) = dropped(10);
        connection.break_off();
        connection.release_copied();
        assert_eq!(seen(&witness), [false]);
    }

    #[test]
    fn what_was_dropped_before_its_end_was_not_written() {
        assert_eq!(seen(&dropped(9).1), [false]);
    }
}
