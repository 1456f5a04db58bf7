//! Whether what must be recorded may go on: fail closed (DESIGN §9).

use tokio::sync::watch;

use crate::clock::Timestamp;

/// New uploads stop when more events than this wait for the log.
pub const UPLOADS_STOP: u64 = 50_000;
/// Downloads stop when more events than this wait for the log.
pub const DOWNLOADS_STOP: u64 = 100_000;

#[derive(Clone, Debug)]
enum State {
    Working { backlog: u64 },
    Failing { why: String, since: Option<Timestamp> },
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
    /// One line for the operator. It may name paths.
    pub text: String,
}

/// Tells who is about to do something that must be recorded whether it can be. Clones show the same.
///
/// Ends never ask: they always work, and their events wait in the outbox.
#[derive(Clone, Debug)]
pub struct AuditGate(watch::Sender<State>);

impl Default for AuditGate {
    fn default() -> Self {
        Self::new()
    }
}

impl AuditGate {
    /// Closed until the relay has opened the log.
    #[must_use]
    pub fn new() -> Self {
        let why = "the relay has not started yet".to_owned();
        Self(watch::Sender::new(State::Failing { why, since: None }))
    }

    /// The log is written, and `backlog` events wait for it.
    pub fn working(&self, backlog: u64) {
        self.0.send_replace(State::Working { backlog });
    }

    /// The log cannot be written. A gate that was closed before keeps the instant at which it closed.
    pub fn failing(&self, why: String, now: Timestamp) {
        self.0.send_modify(|state| {
            let since = match state {
                State::Failing { since, .. } => since.unwrap_or(now),
                State::Working { .. } => now,
            };
            *state = State::Failing { why, since: Some(since) };
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
        match &*self.0.borrow() {
            State::Working { backlog } if *backlog > most => {
                Err(AuditUnavailable::Behind { backlog: *backlog })
            }
            State::Working { .. } => Ok(()),
            State::Failing { why, .. } => Err(AuditUnavailable::Failing { why: why.clone() }),
        }
    }

    /// How the log does.
    #[must_use]
    pub fn status(&self) -> AuditStatus {
        match &*self.0.borrow() {
            State::Working { backlog } => {
                let effect = match *backlog {
                    b if b > DOWNLOADS_STOP => ": no uploads, no downloads",
                    b if b > UPLOADS_STOP => ": no uploads",
                    _ => "",
                };
                AuditStatus {
                    ready: *backlog <= UPLOADS_STOP,
                    text: format!("the audit log is written; {backlog} events wait{effect}"),
                }
            }
            State::Failing { why, since } => {
                let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
                let text = format!("the audit log cannot be written{since}: {why}");
                AuditStatus { ready: false, text }
            }
        }
    }

    /// Ends when the log is written.
    pub async fn opened(&self) {
        // The sender lives as long as `self`, so the wait ends only when the state has come.
        let _ = self.0.subscribe().wait_for(|state| matches!(state, State::Working { .. })).await;
    }
}
