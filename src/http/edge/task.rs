//! The task of one connection: hyper, its limits, and an end that tells the truth.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::io::Socket;
use super::{EdgeLimits, MAX_BUFFER, MAX_HEAD};

/// What all connections share.
pub(super) struct Edge {
    pub(super) router: Router,
    pub(super) limits: EdgeLimits,
    /// Ends idle connections, and the others after their request.
    pub(super) stop: CancellationToken,
    /// Cuts what still runs.
    pub(super) cut: CancellationToken,
}

/// Serves one connection to its end.
pub(super) async fn run(stream: TcpStream, edge: Arc<Edge>) {
    let Ok(peer) = stream.peer_addr() else { return };
    // Until the first byte a connection costs its socket and this small future: hyper's buffers come later.
    // A look, not `readable()`, which may say so too early.
    let mut look = [0];
    let first_byte = tokio::time::timeout(edge.limits.first_byte, stream.peek(&mut look));
    let Some(Ok(Ok(1))) = edge.stop.run_until_cancelled(first_byte).await else { return };
    set_options(&stream);
    Box::pin(speak(stream, Connection::new(peer), &edge)).await;
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

/// Why a connection is over.
enum End {
    /// hyper has written all that was to be written.
    Done,
    /// hyper gave up: the client left, sent nonsense, or a response failed.
    Failed(hyper::Error),
    /// A time limit.
    Late,
    /// Someone cut it.
    Cut,
}

async fn speak(stream: TcpStream, connection: Connection, edge: &Arc<Edge>) {
    let socket = TokioIo::new(Socket::new(stream, connection.clone()));
    let service = Requests { edge: Arc::clone(edge), connection: connection.clone() };
    let http = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(socket, service);
    // Dropped in reverse order, in a panic too: the guard marks the connection before hyper drops its chunks.
    let mut http = std::pin::pin!(http);
    let mut guard = Guard { connection: &connection, done: false };
    let mut stop = std::pin::pin!(edge.stop.cancelled());
    let mut cut = std::pin::pin!(edge.cut.cancelled());
    let mut stopping = false;
    let mut timer = std::pin::pin!(Timer(None));
    let end = poll_fn(|cx| {
        connection.wake_on_abort(cx.waker());
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            http.as_mut().graceful_shutdown();
        }
        if connection.is_broken() || (stopping && cut.as_mut().poll(cx).is_ready()) {
            return Poll::Ready(End::Cut);
        }
        match http.as_mut().poll(cx) {
            Poll::Ready(Ok(())) => return Poll::Ready(End::Done),
            Poll::Ready(Err(error)) => return Poll::Ready(End::Failed(error)),
            Poll::Pending if connection.is_broken() => return Poll::Ready(End::Cut),
            Poll::Pending => {}
        }
        let deadline = connection.state().deadline(&edge.limits);
        timer.as_mut().poll_passed(deadline, cx).map(|()| End::Late)
    })
    .await;
    let busy = connection.state().is_busy();
    let peer = connection.peer();
    match end {
        End::Done => guard.done = true,
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
    }
}

/// One timer for all limits. It is moved only when it would fire too late, or has fired too early.
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Ready once `deadline` has passed.
    fn poll_passed(mut self: Pin<&mut Self>, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let timer = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// hyper's view of the router.
struct Requests {
    edge: Arc<Edge>,
    connection: Connection,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut parts, incoming) = request.into_parts();
        let connection = self.connection.clone();
        let has_body = !hyper::body::Body::is_end_stream(&incoming);
        connection.state().begin(has_body);
        parts.extensions.insert(connection.clone());
        let body = if has_body {
            Body::new(RequestBody::new(incoming, connection.clone(), self.edge.limits.idle_body))
        } else {
            Body::empty()
        };
        let stop = self.edge.stop.clone();
        let answer = tower::Service::call(&mut self.edge.router.clone(), Request::from_parts(parts, body));
        Box::pin(async move {
            let mut response = answer.await?;
            if connection.state().is_unread() || stop.is_cancelled() {
                // hyper will not read the rest of a body. Told so, clients stop sending and read the answer.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| ResponseBody::new(body, connection)))
        })
    }
}
