//! The connection of a shard: one, on which the commands of all askers follow each other without waiting. One that does not answer
//! is given up, and the next asker makes a new one. In a cluster it leads to the node that has the shard's slot: that node is
//! found by what any other says (`MOVED`).

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo as _,
    Pipeline, RedisError, Value,
};
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::super::StoreError;

/// A connection is made within this time, or not.
const CONNECT: Duration = Duration::from_secs(2);
/// An answer comes within this time, or the connection is given up.
const ANSWER: Duration = Duration::from_secs(5);
/// Commands that wait to be written; more wait outside.
const WAITING: usize = 1024;
/// How often one question follows a slot that moves.
const MOVES: u8 = 5;

/// What each command was answered.
pub(super) type Answers = Vec<Result<Value, RedisError>>;

/// Whether commands may be sent again when their answers were lost with the connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// They change nothing the second time.
    SendAgain,
    /// They are the asker's to repeat.
    Fail,
}

/// The connection, or why there is none.
pub(super) struct Line {
    /// As the URL says.
    seed: ConnectionInfo,
    /// The node that has the slot, where another one said so.
    node: watch::Sender<Option<(String, u16)>>,
    state: Mutex<State>,
}

enum State {
    Up { connection: MultiplexedConnection, number: u64 },
    Down { tried: Option<Instant>, why: String, number: u64 },
}

impl Line {
    /// To the Redis of this URL; nothing is sent yet.
    ///
    /// # Errors
    /// The URL is none.
    pub(super) fn to(url: &str) -> Result<Self, StoreError> {
        let unusable = |error: RedisError| {
            let what = error.detail().map_or_else(|| error.category().to_owned(), str::to_owned);
            StoreError::Unavailable(format!(
                "BURNBAG_REDIS_URL cannot be used ({what}): it takes redis://user:password@host:6379 or rediss://…"
            ))
        };
        let info = url.into_connection_info().map_err(unusable)?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        let state = Mutex::new(State::Down { tried: None, why: String::new(), number: 0 });
        Ok(Self { seed: info.set_tcp_settings(tcp), node: watch::Sender::new(None), state })
    }

    /// A client of the node that has the slot, as far as that is known.
    pub(super) fn client(&self) -> Result<Client, StoreError> {
        let mut info = self.seed.clone();
        if let Some((host, port)) = self.node.borrow().clone() {
            let addr = match info.addr() {
                ConnectionAddr::TcpTls { insecure, tls_params, .. } => {
                    ConnectionAddr::TcpTls { host, port, insecure: *insecure, tls_params: tls_params.clone() }
                }
                _ => ConnectionAddr::Tcp(host, port),
            };
            info = info.set_addr(addr);
        }
        Client::open(info).map_err(|error| store_error(&error))
    }

    /// Tells when the slot is found on another node.
    pub(super) fn moves(&self) -> watch::Receiver<Option<(String, u16)>> {
        self.node.subscribe()
    }

    /// Sends commands in one go; each is answered by itself.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: no answer. What was asked may have been done.
    pub(super) async fn send(&self, commands: &Pipeline, lost: Lost) -> Result<Answers, StoreError> {
        let mut again = lost == Lost::SendAgain;
        let mut moves = 0;
        loop {
            let (mut connection, number) = self.connection().await?;
            let error = match timeout(ANSWER, commands.query_async::<Answers>(&mut connection)).await {
                Ok(Ok(answers)) => match moved(&answers) {
                    // All keys lie in one slot: none of it was done here.
                    Some(node) if moves < MOVES => {
                        moves += 1;
                        self.follow(number, node).await;
                        continue;
                    }
                    _ => return Ok(answers),
                },
                Ok(Err(error)) => error,
                Err(_) => RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)),
            };
            self.give_up(number, &error).await;
            // An answer that did not come in time has used up the asker's.
            if !std::mem::take(&mut again) || error.is_timeout() {
                return Err(store_error(&error));
            }
        }
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), StoreError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        let next = match &*state {
            State::Up { connection, number } => return Ok((connection.clone(), *number)),
            // An attempt that began after this one asked has failed: it holds for this one too.
            State::Down { tried: Some(tried), why, .. } if *tried >= asked => {
                return Err(StoreError::Unavailable(why.clone()));
            }
            State::Down { number, .. } => number + 1,
        };
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(ANSWER))
            .set_pipeline_buffer_size(WAITING);
        let began = Instant::now();
        let client = self.client()?;
        let made = timeout(CONNECT, client.get_multiplexed_async_connection_with_config(&config)).await;
        let error = match made {
            Ok(Ok(connection)) => {
                *state = State::Up { connection: connection.clone(), number: next };
                return Ok((connection, next));
            }
            Ok(Err(error)) => store_error(&error),
            Err(_) => store_error(&std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
        };
        let why = match &error {
            StoreError::Unavailable(why) => why.clone(),
            other => other.to_string(),
        };
        *state = State::Down { tried: Some(began), why, number: next };
        // Whoever has the slot now is asked for where the URL leads.
        self.node.send_if_modified(|node| node.take().is_some());
        Err(error)
    }

    /// The slot is on another node.
    async fn follow(&self, from: u64, (host, port): (String, u16)) {
        let mut state = self.state.lock().await;
        if !matches!(&*state, State::Up { number, .. } if *number == from) {
            return;
        }
        // A node that does not know its own name means the host that was asked.
        let host = match (host.is_empty(), self.seed.addr()) {
            (true, ConnectionAddr::Tcp(asked, _) | ConnectionAddr::TcpTls { host: asked, .. }) => {
                asked.clone()
            }
            _ => host,
        };
        tracing::info!(host, port, "the shard is on this node of the cluster");
        self.node.send_replace(Some((host, port)));
        *state = State::Down { tried: None, why: String::new(), number: from };
    }

    /// The next asker makes a new connection, unless somebody did so before.
    async fn give_up(&self, broken: u64, error: &RedisError) {
        let mut state = self.state.lock().await;
        if matches!(&*state, State::Up { number, .. } if *number == broken) {
            tracing::warn!(error = %store_error(error), "the connection to Redis is given up");
            *state = State::Down { tried: None, why: String::new(), number: broken };
        }
    }
}

/// The node to which an answer leads.
fn moved(answers: &Answers) -> Option<(String, u16)> {
    let moved = answers.iter().find_map(|answer| {
        answer
            .as_ref()
            .err()
            .filter(|error| error.code() == Some("MOVED"))
            .and_then(RedisError::redirect_node)
    });
    let (address, _slot) = moved?;
    let (host, port) = address.rsplit_once(':')?;
    Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?))
}

/// What Redis said, with what to do about it.
pub(super) fn store_error(error: &RedisError) -> StoreError {
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        _ => error.to_string(),
    };
    let what_to_do = match error.code() {
        Some("OOM") => {
            return StoreError::Full(format!(
                "Redis is full ({said}): raise its maxmemory, or wait until transfers end"
            ));
        }
        Some("MISCONF") if said.contains("No space left") => {
            return StoreError::Full(format!("the disk of Redis is full ({said}): make room on it"));
        }
        Some("MISCONF") => "it cannot write to its disk: look at its log",
        Some("LOADING") => "it is reading its data, and answers soon",
        Some("NOAUTH" | "WRONGPASS") => "set user and password in BURNBAG_REDIS_URL",
        Some("NOPERM") => "give its user the rights that docs/OPERATIONS.md lists",
        Some("READONLY") => "it is a replica: let BURNBAG_REDIS_URL lead to the one that takes writes",
        Some("CROSSSLOT" | "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN") => {
            "the cluster is moving: it is tried again"
        }
        Some(_) => "it answers with an error: look at its log",
        None if error.kind() == ErrorKind::AuthenticationFailed => {
            "set user and password in BURNBAG_REDIS_URL"
        }
        None if said.contains("certificate") => {
            "see that its certificate names this host, and that this machine trusts its CA: SSL_CERT_FILE may name a file with CAs"
        }
        None if error.is_timeout() => "it did not answer in time: see that it runs and is not overloaded",
        None => "see that it runs, and that BURNBAG_REDIS_URL leads to it",
    };
    StoreError::Unavailable(format!("Redis: {said}; {what_to_do}"))
}
