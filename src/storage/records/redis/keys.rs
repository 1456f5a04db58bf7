//! The names of the keys (DESIGN §7). All of a shard lie in one hash slot.

use std::fmt::Display;

use crate::transfer::rate::Counted;
use crate::transfer::{AccountId, LinkId, TeamId, TokenId, TransferId};

/// A part of the record store that lies in one hash slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shard(pub(super) u8);

impl Shard {
    /// Where accounts, tokens and teams are.
    pub(super) const ACCESS: Self = Self(0);

    fn key(self, name: impl Display) -> String {
        format!("bb:{{bb.{}}}:{name}", self.0)
    }

    pub(super) fn record(self, id: TransferId) -> String {
        self.key(format_args!("t:{id}"))
    }

    pub(super) fn slots(self, id: TransferId) -> String {
        self.key(format_args!("keys:{id}"))
    }

    /// What the names of all slots begin with.
    pub(super) fn slots_prefix(self) -> String {
        self.key("keys:")
    }

    /// A key that lives for a moment.
    pub(super) fn probe(self, random: u64) -> String {
        self.key(format_args!("probe:{random:016x}"))
    }

    pub(super) fn leases(self, id: TransferId) -> String {
        self.key(format_args!("lease:{id}"))
    }

    pub(super) fn lease_ends(self, id: TransferId) -> String {
        self.key(format_args!("ends:{id}"))
    }

    pub(super) fn link(self, id: LinkId) -> String {
        self.key(format_args!("l:{id}"))
    }

    /// What failed of a link, or from an address.
    pub(super) fn tries(self, of: impl Display) -> String {
        self.key(format_args!("try:{of}"))
    }

    /// What is to end, by its instant.
    pub(super) fn due(self) -> String {
        self.key("due")
    }

    /// What has ended, by the instant at which its objects or its tombstone are to go.
    pub(super) fn purge(self) -> String {
        self.key("purge")
    }

    pub(super) fn outbox(self) -> String {
        self.key("outbox")
    }

    /// The ids of events in the outbox that belong to no change, by their numbers.
    pub(super) fn told(self) -> String {
        self.key("told")
    }

    pub(super) fn meta(self) -> String {
        self.key("meta")
    }

    pub(super) fn used(self, team: TeamId) -> String {
        self.key(format_args!("used:{team}"))
    }

    /// The transfers of a team, by their ids, which sort by time.
    pub(super) fn list(self, team: TeamId) -> String {
        self.key(format_args!("list:{team}"))
    }

    pub(super) fn team(self, id: impl Display) -> String {
        self.key(format_args!("team:{id}"))
    }

    pub(super) fn account(self, id: impl Display) -> String {
        self.key(format_args!("acct:{id}"))
    }

    /// The accounts by name.
    pub(super) fn names(self) -> String {
        self.key("names")
    }

    /// The teams by name.
    pub(super) fn team_names(self) -> String {
        self.key("teams")
    }

    /// The accounts of a team.
    pub(super) fn accounts(self, team: TeamId) -> String {
        self.key(format_args!("accts:{team}"))
    }

    /// The hashes of an account's tokens by their ids.
    pub(super) fn tokens(self, account: AccountId) -> String {
        self.key(format_args!("toks:{account}"))
    }

    pub(super) fn token(self, hash: &str) -> String {
        self.key(format_args!("tok:{hash}"))
    }

    /// What is owed of a limit; gone by itself.
    pub(super) fn rate(self, of: Counted) -> String {
        match of {
            Counted::Token(id) => self.key(format_args!("rate:t:{id}")),
            Counted::Link(id) => self.key(format_args!("rate:l:{id}")),
        }
    }

    pub(super) fn token_id(self, id: TokenId) -> String {
        self.key(format_args!("tokid:{id}"))
    }
}
