//! The edge: our own accept loop over HTTP/1.1 and HTTP/2 without TLS, with a limit on every wait for a client (DESIGN §10).
//!
//! No client can hold a connection for ever: each time that one may take is in [`EdgeLimits`]. A handler sees its
//! request and the response as [`Exchange`] in the request's extensions, and can cut it.

mod body;
mod connection;
mod exchange;
mod io;
mod places;
mod requests;
mod stream;
mod task;
mod timer;

use std::io::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use body::{BodyTimeout, is_body_timeout};
pub use exchange::Exchange;

use connection::Connection;
use places::Places;

use crate::metrics::Level;

/// A head that is longer is refused with 431.
const MAX_HEAD: u32 = 32 * 1024;

/// Requests at once on one connection of HTTP/2; the client is told so.
const MAX_STREAMS: u32 = 100;

/// Streams that a client may open and reset before we come to them; after that the connection ends.
const MAX_RESETS: usize = 100;

/// Bounds, for one connection of HTTP/1.1, the read buffer and what waits to be written: two segments of a download. Over
/// loopback a large file takes a tenth less CPU either way than with 64 KiB.
const MAX_BUFFER: usize = 128 * 1024;

/// The same for a connection that begins with an upload, and is one of at most [`FEW`] then: with parts of 4 MiB a large upload
/// takes a tenth less CPU (ADR 2). A download is slower with it.
const MAX_UPLOAD_BUFFER: usize = 512 * 1024;

/// More of them, and 64 uploads would not fit in 400 MiB: each may have ten such buffers on their way to the cipher.
const FEW: usize = 4;

/// The same for what waits to be written on one stream of HTTP/2, of which a connection has many.
const MAX_STREAM_BUFFER: usize = 64 * 1024;

/// Bytes that the kernel holds unsent for a slow client; it asks for more when half of them are gone, which within
/// [`EdgeLimits::idle_write`] takes 4 KiB/s. Without it the kernel takes up to 4 MiB: a client at 20 KiB/s would look dead for a
/// minute.
#[cfg(target_os = "linux")]
const MAX_UNSENT: u32 = 512 * 1024;

/// After an early refusal the rest of the request is read and thrown away, at most for so long (DESIGN §10).
const LINGER: Duration = Duration::from_secs(2);

/// And at most so many bytes (DESIGN §10).
const LINGER_BYTES: u64 = 64 * 1024 * 1024;

/// The waits between two failures to accept.
const ACCEPT_RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long, and how many.
#[derive(Clone, Copy, Debug)]
pub struct EdgeLimits {
    /// Connections at once. When there are more, those that have waited longest for a request give way; while each has a
    /// request, further ones wait in the kernel's backlog.
    pub connections: usize,
    /// From the accept to the first byte.
    pub first_byte: Duration,
    /// From the first byte of a request's head to its end.
    pub header: Duration,
    /// Without one byte of a request's body while a handler waits for it; then the body ends with [`BodyTimeout`].
    pub idle_body: Duration,
    /// A body that came slower than so many bytes a second, over a window in which the server waited for it, ends with
    /// [`BodyTimeout`].
    pub slowest_body: u32,
    /// That window.
    pub body_window: Duration,
    /// Without one byte taken by the client while a response waits to be written; then the connection is cut, or the stream.
    pub idle_write: Duration,
    /// Between the end of a response and the next request.
    pub keep_alive: Duration,
    /// After the stop, for the requests that run; then they are cut.
    pub drain: Duration,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        Self {
            connections: 4096,
            first_byte: Duration::from_secs(30),
            header: Duration::from_secs(15),
            idle_body: Duration::from_secs(30),
            slowest_body: 4096,
            body_window: Duration::from_mins(1),
            idle_write: Duration::from_mins(1),
            keep_alive: Duration::from_secs(75),
            drain: Duration::from_secs(30),
        }
    }
}

/// Serves until `stop`, then drains: no new connection, idle ones are closed at once, requests that run may end within
/// [`EdgeLimits::drain`] and are cut then. Returns when no connection is left. Dropping it cuts nothing: stop it.
///
/// # Errors
/// The listener has no address. Failures to accept are logged and tried again.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: EdgeLimits,
    stop: CancellationToken,
) -> Result<(), Error> {
    serve_counted(listener, router, limits, stop, Level::default()).await
}

/// [`serve`], and shows how many connections there are.
///
/// # Errors
/// As [`serve`].
pub async fn serve_counted(
    listener: TcpListener,
    router: Router,
    limits: EdgeLimits,
    stop: CancellationToken,
    connections: Level,
) -> Result<(), Error> {
    let address = listener.local_addr()?;
    let tasks = TaskTracker::new();
    let shared = Arc::new(task::Edge {
        router: router.with_state(()),
        limits,
        tasks: tasks.clone(),
        stop,
        cut: CancellationToken::new(),
    });
    let places = Places::new(limits.connections);
    tracing::info!(%address, connections = limits.connections, "listening");
    let accepting = async {
        loop {
            let (stream, peer) = accept(&listener, &places).await;
            let connection = Connection::new(peer);
            let place = places.take(&connection).await;
            let (shared, counted) = (Arc::clone(&shared), connections.enter());
            tasks.spawn(async move {
                task::run(stream, connection, place, shared).await;
                drop(counted);
            });
        }
    };
    let _ = shared.stop.run_until_cancelled(accepting).await;
    drop(listener);
    tasks.close();
    tracing::info!(%address, running = tasks.len(), "draining");
    if tokio::time::timeout(limits.drain, tasks.wait()).await.is_err() {
        tracing::warn!(%address, cut = tasks.len(), "the time to drain is over");
        shared.cut.cancel();
        tasks.wait().await;
    }
    Ok(())
}

/// The next connection. Out of file descriptors, say, another one gives way, and it tries again.
async fn accept(listener: &TcpListener, places: &Places) -> (TcpStream, SocketAddr) {
    let (mut wait, longest) = ACCEPT_RETRY;
    let mut told = false;
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(error = &error as &dyn std::error::Error, "cannot accept a connection");
                }
                if tokio::time::timeout(wait, places.make_room()).await.is_err() {
                    (wait, told) = (longest.min(wait * 2), false);
                }
            }
        }
    }
}

/// The client left before it was accepted.
fn is_of_the_client(error: &Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
