//! The socket as hyper sees it: it notes what moves, fails once the connection is cut, and lingers after a refusal.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::LINGER_BYTES;
use super::connection::Connection;

/// Read at a time while lingering.
const DISCARD: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    connection: Connection,
    blocked: bool,
    linger: Option<Linger>,
    /// What was read to see which protocol the client speaks.
    early: Bytes,
}

/// The write half is shut; so many bytes more are read.
#[derive(Debug)]
struct Linger {
    left: u64,
    buffer: Box<[u8]>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, early: Bytes, connection: Connection) -> Self {
        Self { stream, connection, blocked: false, linger: None, early }
    }

    fn check(&self) -> io::Result<()> {
        if self.connection.is_broken() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }

    /// Notes what became of a write.
    fn note<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = written {
            self.connection.break_off();
        }
        if written.is_pending() != self.blocked {
            self.blocked = written.is_pending();
            self.connection.state().set_blocked(self.blocked);
        }
        written
    }

    /// Reads what the client still sends until its end, so that it finds the answer and not a reset.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(linger) = &mut self.linger else { return Poll::Ready(()) };
        while linger.left > 0 {
            let mut buffer = ReadBuf::new(&mut linger.buffer);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => break,
                Ok(()) => linger.left = linger.left.saturating_sub(buffer.filled().len() as u64),
                Err(_) => break,
            }
        }
        linger.left = 0;
        Poll::Ready(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        if this.early.has_remaining() {
            let length = this.early.len().min(buffer.remaining());
            buffer.put_slice(&this.early.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match read {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => this.connection.state().received(),
            Poll::Ready(Err(_)) => this.connection.break_off(),
            // An end alone breaks nothing: a half-closed client may still take its answer.
            _ => {}
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note(written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check()?;
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, parts);
        this.note(written)
    }

    /// hyper queues the chunks of a body as they are, without a copy, only if this is true.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper and h2 come here only when what they had to write is written.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        this.blocked = false;
        this.connection.state().flushed();
        this.connection.release_copied();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check()?;
        if this.linger.is_none() {
            let lingers = this.connection.state().closing();
            // A client that has left already is no failure: all was written.
            if ready!(Pin::new(&mut this.stream).poll_shutdown(cx)).is_err() || !lingers {
                return Poll::Ready(Ok(()));
            }
            this.linger = Some(Linger { left: LINGER_BYTES, buffer: vec![0; DISCARD].into_boxed_slice() });
        }
        this.poll_linger(cx).map(Ok)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.is_broken() {
            // The kernel throws its send queue away and resets. Where it cannot, the peer has left already.
            let _ = self.stream.set_zero_linger();
        }
    }
}
