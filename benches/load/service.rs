//! The service in this process, for what cannot be reached from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use burnbag::app::App;
use burnbag::clock::SystemClock;
use burnbag::config::{Config, Flags};

/// Opens the stores in `<dir>/data`, with the records in a Redis where one is named.
pub async fn open(dir: &Path, listen: SocketAddr, workers: &str, redis: Option<&str>) -> App {
    let mut settings = vec![
        ("DATA_DIR", dir.join("data").display().to_string()),
        ("LISTEN", listen.to_string()),
        ("RATE", "off".to_owned()),
        ("WORKERS", workers.to_owned()),
    ];
    settings.extend(redis.map(|url| ("REDIS_URL", url.to_owned())));
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
