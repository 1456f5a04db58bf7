//! hyper's view of the router.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::Service;
use hyper::{Request, Response};

use super::body::{RequestBody, ResponseBody};
use super::connection::Connection;
use super::exchange::Exchange;
use super::stream::Streams;
use super::task::Edge;

/// The requests of one connection.
pub(super) struct Requests {
    edge: Arc<Edge>,
    connection: Connection,
    /// None on HTTP/1.1.
    streams: Option<Streams>,
}

impl Requests {
    pub(super) fn http1(edge: &Arc<Edge>, connection: Connection) -> Self {
        Self { edge: Arc::clone(edge), connection, streams: None }
    }

    pub(super) fn http2(edge: &Arc<Edge>, connection: Connection, streams: Streams) -> Self {
        Self { edge: Arc::clone(edge), connection, streams: Some(streams) }
    }

    fn begin(&self, has_body: bool) -> Exchange {
        let connection = self.connection.clone();
        let Some(streams) = &self.streams else {
            connection.state().begin(has_body);
            return Exchange::alone(connection);
        };
        let exchange = Exchange::stream(connection);
        streams.begin(exchange.clone());
        exchange
    }
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut parts, incoming) = request.into_parts();
        let has_body = !hyper::body::Body::is_end_stream(&incoming);
        let exchange = self.begin(has_body);
        parts.extensions.insert(exchange.clone());
        let body = if has_body {
            Body::new(RequestBody::new(incoming, exchange.clone(), self.edge.limits))
        } else {
            Body::empty()
        };
        let stop = self.edge.stop.clone();
        let answer = tower::Service::call(&mut self.edge.router.clone(), Request::from_parts(parts, body));
        let is_http1 = self.streams.is_none();
        Box::pin(async move {
            let mut response = answer.await?;
            if is_http1 && (exchange.connection().state().is_unread() || stop.is_cancelled()) {
                // hyper will not read the rest of a body. Told so, clients stop sending and read the answer.
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response.map(|body| ResponseBody::new(body, exchange)))
        })
    }
}
