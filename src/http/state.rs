//! What handlers share.

use std::sync::Arc;

use super::client::TrustedProxies;
use crate::service::Service;

/// The use cases, and what a handler needs beside them.
#[derive(Clone)]
pub struct AppState {
    /// The use cases.
    pub service: Arc<Service>,
    /// Whose `X-Forwarded-For` is believed.
    pub proxies: Arc<TrustedProxies>,
}
