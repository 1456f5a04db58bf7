//! The task of one connection: hyper, its limits, and an end that tells the truth.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::Connection;
use super::io::Socket;
use super::places::Place;
use super::requests::Requests;
use super::stream::Streams;
use super::timer::Timer;
use super::{
    EdgeLimits, FEW, MAX_BUFFER, MAX_HEAD, MAX_RESETS, MAX_STREAM_BUFFER, MAX_STREAMS, MAX_UPLOAD_BUFFER,
};

/// What all connections share.
pub(super) struct Edge {
    pub(super) router: Router,
    pub(super) limits: EdgeLimits,
    /// Connections and their streams.
    pub(super) tasks: TaskTracker,
    /// Ends idle connections, and the others after their request.
    pub(super) stop: CancellationToken,
    /// Cuts what still runs.
    pub(super) cut: CancellationToken,
}

/// What a client that knows that we speak HTTP/2 begins with (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection to its end.
pub(super) async fn run(mut stream: TcpStream, connection: Connection, place: Place, edge: Arc<Edge>) {
    // Until the preface is told apart a connection costs its socket and this small future: hyper's buffers come later.
    let begin = async {
        // A look, not `readable()`, which may say so too early.
        let mut look = [0];
        let first_byte = tokio::time::timeout(edge.limits.first_byte, stream.peek(&mut look));
        let Ok(Ok(1)) = first_byte.await else { return None };
        connection.state().heard();
        tokio::time::timeout(edge.limits.header, preface(&mut stream)).await.ok()?.ok()
    };
    let begin = tokio::select! {
        biased;
        () = edge.stop.cancelled() => None,
        () = poll_fn(|cx| connection.poll_evicted(cx)) => None,
        begin = begin => begin,
    };
    let Some(early) = begin else { return };
    set_options(&stream);
    let is_http2 = early == PREFACE;
    // PUT or POST: whatever else begins so sends little, and the buffer grows only with what comes.
    let is_upload = early.starts_with(b"P");
    let buffer = if is_upload && place.is_one_of(FEW) { MAX_UPLOAD_BUFFER } else { MAX_BUFFER };
    let io = TokioIo::new(Socket::new(stream, early, connection.clone()));
    if is_http2 {
        connection.state().set_http2();
        let streams = Streams::new(edge.tasks.clone(), edge.limits.idle_write);
        let requests = Requests::http2(&edge, connection.clone(), streams.clone());
        let http = http2::Builder::new(streams)
            .adaptive_window(true)
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .max_send_buf_size(MAX_STREAM_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .serve_connection(io, requests);
        Box::pin(speak(http, connection, place, &edge)).await;
    } else {
        let http = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(MAX_HEAD as usize)
            .max_buf_size(buffer)
            .serve_connection(io, Requests::http1(&edge, connection.clone()));
        Box::pin(speak(http, connection, place, &edge)).await;
    }
}

/// Reads as long as it looks like [`PREFACE`], and a little more where it stops to.
async fn preface(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut read = [0; PREFACE.len()];
    let mut length = 0;
    loop {
        let (known, free) = read.split_at_mut(length);
        let more = stream.read(free).await?;
        length = known.len() + more;
        let early = read.get(..length).unwrap_or_default();
        if more == 0 || length == PREFACE.len() || !PREFACE.starts_with(early) {
            return Ok(Bytes::copy_from_slice(early));
        }
    }
}

/// Failures are not the client's business, and harmless.
fn set_options(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_notsent_lowat(super::MAX_UNSENT) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
}

type Io = TokioIo<Socket>;

/// hyper's future of a connection.
trait Http: Future<Output = hyper::Result<()>> {
    /// Ends it after the requests that run.
    fn leave(self: Pin<&mut Self>);
}

impl Http for http1::Connection<Io, Requests> {
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Http for http2::Connection<Io, Requests, Streams> {
    fn leave(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Why a connection is over.
enum End {
    /// hyper has written all that was to be written.
    Done,
    /// hyper gave up: the client left, sent nonsense, or a response failed.
    Failed(hyper::Error),
    /// A time limit.
    Late,
    /// Its place was wanted, and no request ran.
    Evicted,
    /// Someone cut it.
    Cut,
}

async fn speak(http: impl Http, connection: Connection, mut place: Place, edge: &Arc<Edge>) {
    // Dropped in reverse order, in a panic too: the guard marks the connection before hyper drops its chunks.
    let mut http = std::pin::pin!(http);
    let mut guard = Guard { connection: &connection, done: false };
    let mut stop = std::pin::pin!(edge.stop.cancelled());
    let mut cut = std::pin::pin!(edge.cut.cancelled());
    let mut stopping = false;
    let mut timer = Timer::default();
    let end = poll_fn(|cx| {
        connection.wake_me(cx.waker());
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.state().leave();
            http.as_mut().leave();
        }
        let evicted = connection.is_evicted();
        if evicted {
            http.as_mut().leave();
        }
        loop {
            if connection.is_broken() || (stopping && cut.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(End::Cut);
            }
            match http.as_mut().poll(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(End::Done),
                Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
                Poll::Pending if connection.is_broken() => return Poll::Ready(End::Cut),
                Poll::Pending => {}
            }
            let waits = connection.state().waits_after();
            if evicted && waits.is_some() {
                return Poll::Ready(End::Evicted);
            }
            place.note(waits);
            let deadline = connection.state().deadline(&edge.limits);
            std::task::ready!(timer.poll_passed(deadline, cx));
            if !connection.state().leave_late() {
                return Poll::Ready(End::Late);
            }
            // HTTP/2 says goodbye, so that the client knows which requests it may send again.
            http.as_mut().leave();
        }
    })
    .await;
    let busy = connection.state().is_busy();
    let peer = connection.peer();
    match end {
        End::Done | End::Evicted => guard.done = true,
        // All that was answered is written: a plain close.
        End::Late if !busy => guard.done = true,
        End::Failed(error) => {
            guard.done = !busy && !connection.is_broken();
            tracing::debug!(%peer, busy, error = &error as &dyn std::error::Error, "connection failed");
        }
        End::Late => tracing::debug!(%peer, "client takes no byte: connection cut"),
        End::Cut => tracing::debug!(%peer, busy, "connection cut"),
    }
}

/// Marks the connection broken unless it is known that hyper holds nothing unwritten.
struct Guard<'a> {
    connection: &'a Connection,
    done: bool,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.connection.break_off();
        }
        self.connection.release_copied();
    }
}
