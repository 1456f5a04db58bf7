//! Whether what must be recorded may go on: fail closed (DESIGN §9).

use tokio::sync::watch;

use crate::clock::Timestamp;

/// New uploads stop when more events than this wait for the log.
pub const UPLOADS_STOP: u64 = 50_000;
/// Downloads stop when more events than this wait for the log.
pub const DOWNLOADS_STOP: u64 = 100_000;

#[derive(Clone, Debug)]
enum State {
    Working {
        backlog: u64,
    },
    /// Another instance writes it.
    Elsewhere {
        backlog: u64,
    },
    Failing {
        why: String,
        since: Option<Timestamp>,
    },
}

/// What would be done could not be recorded.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AuditUnavailable {
    /// The log cannot be written. The reason is for the operator: it names paths.
    #[error("the audit log cannot be written: {why}")]
    Failing {
        /// Why.
        why: String,
    },
    /// The log is written, but too slowly.
    #[error("{backlog} events wait for the audit log")]
    Behind {
        /// How many events wait.
        backlog: u64,
    },
}

/// How the log does, for `/readyz`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditStatus {
    /// Uploads and downloads may begin.
    pub ready: bool,
    /// Another instance writes the log.
    pub elsewhere: bool,
    /// One line for the operator. It may name paths.
    pub text: String,
}

/// Tells who is about to do something that must be recorded whether it can be. Clones show the same.
///
/// Ends never ask: they always work, and their events wait in the outbox.
#[derive(Clone, Debug)]
pub struct AuditGate {
    /// The log of each shard: all must be written.
    states: watch::Sender<Vec<State>>,
    /// Whose log it is that this clone tells of.
    shard: u8,
}

impl Default for AuditGate {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditGate {
    /// Closed until the relay has opened the log.
    #[must_use]
    pub fn new() -> Self {
        Self::of_shards(1)
    }

    /// [`AuditGate::new`] for the logs of so many shards.
    #[must_use]
    pub fn of_shards(shards: u8) -> Self {
        let why = "the relay has not started yet".to_owned();
        let closed = State::Failing { why, since: None };
        Self { states: watch::Sender::new(vec![closed; usize::from(shards.max(1))]), shard: 0 }
    }

    /// The same gate, told of by the relay of this shard.
    #[must_use]
    pub fn for_shard(&self, shard: u8) -> Self {
        Self { states: self.states.clone(), shard }
    }

    fn set(&self, to: impl FnOnce(&State) -> State) {
        self.states.send_modify(|states| {
            if let Some(state) = states.get_mut(usize::from(self.shard)) {
                *state = to(state);
            }
        });
    }

    /// The log is written, and `backlog` events wait for it.
    pub fn working(&self, backlog: u64) {
        self.set(|_| State::Working { backlog });
    }

    /// Another instance holds the log, and `backlog` events wait for it.
    pub fn elsewhere(&self, backlog: u64) {
        self.set(|_| State::Elsewhere { backlog });
    }

    /// The log cannot be written. A gate that was closed before keeps the instant at which it closed.
    pub fn failing(&self, why: String, now: Timestamp) {
        self.set(|state| {
            let since = match state {
                State::Failing { since, .. } => since.unwrap_or(now),
                State::Working { .. } | State::Elsewhere { .. } => now,
            };
            State::Failing { why, since: Some(since) }
        });
    }

    /// Whether an upload may begin.
    ///
    /// # Errors
    /// The log cannot be written, or more than [`UPLOADS_STOP`] events wait for it.
    pub fn uploads(&self) -> Result<(), AuditUnavailable> {
        self.allow(UPLOADS_STOP)
    }

    /// Whether a download may begin.
    ///
    /// # Errors
    /// The log cannot be written, or more than [`DOWNLOADS_STOP`] events wait for it.
    pub fn downloads(&self) -> Result<(), AuditUnavailable> {
        self.allow(DOWNLOADS_STOP)
    }

    fn allow(&self, most: u64) -> Result<(), AuditUnavailable> {
        self.states.borrow().iter().try_for_each(|state| match state {
            State::Working { backlog } | State::Elsewhere { backlog } if *backlog > most => {
                Err(AuditUnavailable::Behind { backlog: *backlog })
            }
            State::Working { .. } | State::Elsewhere { .. } => Ok(()),
            State::Failing { why, .. } => Err(AuditUnavailable::Failing { why: why.clone() }),
        })
    }

    /// How the logs do: the first that fails, else the one that is furthest behind.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        let states = self.states.borrow();
        let mut backlog = 0;
        let mut elsewhere = false;
        for state in states.iter() {
            match state {
                State::Failing { why, since } => {
                    let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
                    let text = format!("the audit log cannot be written{since}: {why}");
                    return AuditStatus { ready: false, elsewhere: false, text };
                }
                State::Working { backlog: waiting } => backlog = backlog.max(*waiting),
                State::Elsewhere { backlog: waiting } => {
                    backlog = backlog.max(*waiting);
                    elsewhere = true;
                }
            }
        }
        let effect = match backlog {
            b if b > DOWNLOADS_STOP => ": no uploads, no downloads",
            b if b > UPLOADS_STOP => ": no uploads",
            _ => "",
        };
        let by = if elsewhere { " by another instance" } else { "" };
        AuditStatus {
            ready: backlog <= UPLOADS_STOP,
            elsewhere,
            text: format!("the audit log is written{by}; {backlog} events wait{effect}"),
        }
    }

    /// Ends when every log is written.
    pub async fn opened(&self) {
        // The sender lives as long as `self`, so the wait ends only when the state has come.
        let open = |states: &Vec<State>| states.iter().all(|state| !matches!(state, State::Failing { .. }));
        let _ = self.states.subscribe().wait_for(open).await;
    }
}
