//! What accounts may do: roles are sets of capabilities, in one table that the code, the docs and the tests read
//! (DESIGN §11).

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$on:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$on])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Each of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word in the API, on the command line and in records.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// By its word; none for any other text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// One thing that an account may do. To look at the transfers of its own team needs none.
    Capability {
        /// Make transfers; add links to one's own, change their deadline, end them.
        Send = "transfers.send",
        /// End any transfer of the team, and revoke any link of it.
        EndAny = "transfers.end",
        /// Release or reject what is held for an approval.
        Approve = "transfers.approve",
        /// Make and revoke one's own tokens.
        OwnTokens = "tokens.own",
        /// Read the audit log of the team.
        Audit = "audit.read",
        /// Accounts of the team, their roles and their tokens.
        Accounts = "accounts.manage",
        /// Teams and their quotas: only accounts of the operator's team have it.
        Teams = "teams.manage",
    }
}

words! {
    /// A set of capabilities.
    Role {
        /// Everything in the team.
        Admin = "admin",
        /// Sends, and ends what it sent.
        Member = "member",
        /// The same for a program.
        Service = "service",
        /// Reads the audit log; sends nothing.
        Auditor = "auditor",
        /// Decides what is held; sends nothing.
        Approver = "approver",
    }
}

impl Role {
    /// The table: what an account of this role may do. In a team that is not the operator's, [`Capability::Teams`] is left out.
    #[must_use]
    pub const fn capabilities(self) -> &'static [Capability] {
        use Capability::{Accounts, Approve, Audit, EndAny, OwnTokens, Send, Teams};
        match self {
            Self::Admin => &[Send, EndAny, Approve, OwnTokens, Audit, Accounts, Teams],
            Self::Member | Self::Service => &[Send, OwnTokens],
            Self::Auditor => &[OwnTokens, Audit],
            Self::Approver => &[Approve, OwnTokens],
        }
    }
}
