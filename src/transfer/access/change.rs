//! A decided change of teams, accounts and tokens.

use super::super::event::{Context, Event, EventType};
use super::super::id::OperationId;
use super::{Account, Team, TokenRecord};

/// One record of a change, and which version of it the store must hold.
#[derive(Clone, Debug)]
pub struct Part<T> {
    pub(super) record: T,
    pub(super) expected: Option<u64>,
}

impl<T> Part<T> {
    /// The record after the change.
    #[must_use]
    pub const fn record(&self) -> &T {
        &self.record
    }

    /// The version that the store must hold; absent: there must be no such record, and nothing of that name.
    #[must_use]
    pub const fn expected(&self) -> Option<u64> {
        self.expected
    }
}

/// A decided change of teams, accounts and tokens, to be committed with its events in one atomic step: every part holds its
/// version, or nothing is written.
///
/// Only `transfer::access` makes one:
///
/// ```compile_fail
/// use burnbag::transfer::{Context, access::AccessChange};
/// fn forge(context: Context) -> AccessChange {
///     AccessChange { context, team: None, accounts: vec![], tokens: vec![], events: vec![] }
/// }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a change does nothing until it is committed"]
pub struct AccessChange {
    pub(super) context: Context,
    pub(super) team: Option<Part<Team>>,
    pub(super) accounts: Vec<Part<Account>>,
    pub(super) tokens: Vec<TokenRecord>,
    events: Vec<Event>,
}

impl AccessChange {
    pub(super) fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            team: None,
            accounts: Vec::new(),
            tokens: Vec::new(),
            events: Vec::new(),
        }
    }

    /// With an event, and what it is about: the log's lines have no field for accounts, tokens and teams.
    pub(super) fn tell(&mut self, kind: EventType, about: String) {
        let event = self.context.event(self.events.len(), kind);
        self.events.push(Event { reason: Some(about), ..event });
    }

    /// Under which the change can be sent again.
    #[must_use]
    pub const fn operation(&self) -> OperationId {
        self.context.operation
    }

    /// The team, where it changes, or where its version must hold for what changes beside it.
    #[must_use]
    pub const fn team(&self) -> Option<&Part<Team>> {
        self.team.as_ref()
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &[Part<Account>] {
        &self.accounts
    }

    /// Tokens made or changed. Each is of one of the accounts.
    #[must_use]
    pub fn tokens(&self) -> &[TokenRecord] {
        &self.tokens
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }
}
