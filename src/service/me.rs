//! What a caller is, may do and has left, and what anybody may ask for (API.md).

use serde::Serialize;

use super::{Caller, Service, ServiceError};
use crate::transfer::access::{Capability, Role};
use crate::transfer::policy::MAX_DOWNLOADS;
use crate::transfer::quota::Quantity;
use crate::transfer::{AccountId, MAX_FILES, TeamId, TokenId};

/// The caller.
#[derive(Debug, Serialize)]
pub struct Me {
    /// The account.
    pub account: MyAccount,
    /// Its team.
    pub team: MyTeam,
    /// What account and token allow together.
    pub capabilities: Vec<Capability>,
    /// The token of this request.
    pub token: MyToken,
    /// What the team may hold, and holds.
    pub quota: MyQuota,
}

/// An account.
#[derive(Debug, Serialize)]
pub struct MyAccount {
    /// Its id.
    pub id: AccountId,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
}

/// A team.
#[derive(Debug, Serialize)]
pub struct MyTeam {
    /// Its id.
    pub id: TeamId,
    /// Its name.
    pub name: String,
}

/// A token, without anything that proves it.
#[derive(Debug, Serialize)]
pub struct MyToken {
    /// Its id.
    pub id: TokenId,
    /// The word after `bb_`.
    pub kind: String,
    /// What it is good for; null: all that the role allows.
    pub scope: Option<Vec<Capability>>,
    /// When it stops (RFC 3339); null: never.
    pub expires: Option<String>,
}

/// One quantity of a quota.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The most; null for no limit.
    pub limit: Option<u64>,
    /// What is used or reserved.
    pub used: u64,
    /// What is left; null for no limit.
    pub left: Option<u64>,
}

/// A team's quota.
#[derive(Debug, Serialize)]
pub struct MyQuota {
    /// Bytes stored and reserved.
    pub bytes: Measured,
    /// Live transfers.
    pub transfers: Measured,
    /// Transfers that are being uploaded.
    pub uploads: Measured,
    /// Bytes of one file; null for no limit.
    pub file_bytes: Option<u64>,
    /// The longest time to live, in seconds.
    pub expires: u64,
    /// When the next of the team's transfers ends, among its newest (RFC 3339); null: there is none.
    pub frees: Option<String>,
}

/// What senders may ask for; teams may have less.
#[derive(Debug, Serialize)]
pub struct SenderLimits {
    /// Time to live, in seconds.
    pub expires: ExpiresLimits,
    /// The most bytes of one file; null for no limit.
    pub file_bytes: Option<u64>,
    /// The most files of one transfer.
    pub files: usize,
    /// The most downloads that a link can be limited to.
    pub downloads: u32,
}

/// Seconds.
#[derive(Debug, Serialize)]
pub struct ExpiresLimits {
    /// For who asks for nothing.
    pub default: u64,
    /// The longest.
    pub max: u64,
}

impl Service {
    /// What the caller is, may do and has left.
    ///
    /// # Errors
    /// The record store's.
    pub async fn me(&self, caller: &Caller) -> Result<Me, ServiceError> {
        let (account, team, token) = (&caller.account, &caller.team, &caller.token);
        let (usage, frees) =
            tokio::try_join!(async { Ok(self.records.usage(team.id).await?) }, self.next_end(team.id))?;
        let (limits, policy) = (self.limits_of(team), self.policy_of(team));
        let measured = |what: Quantity| {
            let (limit, used) = (limits.of(what), usage.held.of(what));
            Measured { limit, used, left: limit.map(|limit| limit.saturating_sub(used)) }
        };
        Ok(Me {
            account: MyAccount { id: account.id, name: account.name.clone(), role: account.role },
            team: MyTeam { id: team.id, name: team.name.clone() },
            capabilities: Capability::ALL.iter().copied().filter(|what| caller.may(*what)).collect(),
            token: MyToken {
                id: token.id,
                kind: token.kind.clone(),
                scope: token.scope.clone(),
                expires: token.expires.map(|end| end.to_string()),
            },
            quota: MyQuota {
                bytes: measured(Quantity::Bytes),
                transfers: measured(Quantity::Transfers),
                uploads: measured(Quantity::Uploads),
                file_bytes: policy.max_upload_bytes,
                expires: policy.expires_max.as_secs(),
                frees: frees.map(|at| at.to_string()),
            },
        })
    }

    /// What senders may ask for here.
    #[must_use]
    pub fn sender_limits(&self) -> SenderLimits {
        let policy = &self.rules.policy;
        SenderLimits {
            expires: ExpiresLimits {
                default: policy.expires_default.as_secs(),
                max: policy.expires_max.as_secs(),
            },
            file_bytes: policy.max_upload_bytes,
            files: MAX_FILES,
            downloads: MAX_DOWNLOADS,
        }
    }
}
