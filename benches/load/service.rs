//! The service in this process, for what cannot be reached from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use burnbag::app::App;
use burnbag::clock::SystemClock;
use burnbag::config::{Config, Flags};

/// Opens the stores in `<dir>/data`, or those that settings such as `("REDIS_URL", …)` name.
pub async fn open(dir: &Path, listen: SocketAddr, workers: &str, stores: &[(&'static str, String)]) -> App {
    let settings = [
        ("DATA_DIR", dir.join("data").display().to_string()),
        ("LISTEN", listen.to_string()),
        ("RATE", "off".to_owned()),
        ("RATE_TOKEN", "off".to_owned()),
        ("RATE_LINK", "off".to_owned()),
        ("WORKERS", workers.to_owned()),
    ];
    let stores = stores.iter().map(|(name, value)| (*name, value.clone()));
    let settings = settings.into_iter().chain(stores).collect();
    let config = Config::load(&Flags { file: None, settings }).unwrap();
    App::open(config, Arc::new(SystemClock)).await.unwrap()
}

/// The first token of a new service.
pub async fn token(app: &App) -> String {
    app.service.first_account().await.unwrap();
    let account = app.unkeyed_account().await.unwrap().unwrap();
    app.first_token(account).await.unwrap().text().to_string()
}

/// A runtime as the binary has it.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}
