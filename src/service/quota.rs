//! What a team may hold, and what it is told when that is too little (DESIGN §11 "Quotas").

use std::fmt;
use std::time::Duration;

use super::{Caller, Service, ServiceError};
use crate::clock::Timestamp;
use crate::storage::StoreError;
use crate::transfer::access::Team;
use crate::transfer::policy::Policy;
use crate::transfer::quota::{Holding, Limits, Quantity, QuotaExceeded};
use crate::transfer::{Change, TeamId, Transfer};

/// Between a refusal and another try with what is left, others may take of that; so often before it is given up.
const TRIES: usize = 8;
/// Transfers among which the next end is looked for.
const LOOKED_AT: usize = 100;

/// Why an upload was refused, with all that helps its sender.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QuotaRefusal {
    /// Which limit, and what is used of it.
    pub exceeded: QuotaExceeded,
    /// How much more was asked for; absent: nobody knows how much the upload brings.
    pub asked: Option<u64>,
    /// When the next transfer of the team ends, among its newest.
    pub frees: Option<Timestamp>,
}

impl fmt::Display for QuotaRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QuotaExceeded { what, limit, used } = self.exceeded;
        match (what, self.asked) {
            (Quantity::Bytes, Some(asked)) => write!(
                f,
                "the team may store {limit} bytes, {used} are used or reserved, and {asked} more were asked for"
            )?,
            (Quantity::Bytes, None) => write!(
                f,
                "the team may store {limit} bytes, {used} are used or reserved, and this upload brings more than is left"
            )?,
            (Quantity::Transfers, _) => {
                write!(
                    f,
                    "the team may have {limit} live transfers, it has {used}, and 1 more was asked for"
                )?;
            }
            (Quantity::Uploads, _) => {
                write!(
                    f,
                    "the team may have {limit} uploads at once, it has {used}, and 1 more was asked for"
                )?;
            }
        }
        match self.frees {
            Some(at) => write!(f, "; the next of its transfers ends at {at}"),
            None => Ok(()),
        }
    }
}

impl Service {
    /// What a team may hold: its own limits, else the operator's.
    #[must_use]
    pub fn limits_of(&self, team: &Team) -> Limits {
        team.limits.or(self.rules.quota)
    }

    /// What senders of a team may ask for.
    #[must_use]
    pub fn policy_of(&self, team: &Team) -> Policy {
        let limits = self.limits_of(team);
        let longest = self.rules.policy.expires_max;
        let expires_max = limits.expires.map_or(longest, |seconds| Duration::from_secs(seconds).min(longest));
        Policy {
            expires_default: self.rules.policy.expires_default.min(expires_max),
            expires_max,
            max_upload_bytes: limits.file_bytes,
        }
    }

    /// Whether an upload of so many bytes would be let in now; what is committed later is exact.
    ///
    /// # Errors
    /// [`ServiceError::QuotaExceeded`].
    pub(super) async fn look_at_quota(
        &self,
        caller: &Caller,
        bytes: Option<u64>,
    ) -> Result<(), ServiceError> {
        let limits = self.limits_of(&caller.team);
        if Quantity::ALL.iter().all(|what| limits.of(*what).is_none()) {
            return Ok(());
        }
        let usage = self.records.usage(caller.team.id).await?;
        let asked = Holding { bytes: bytes.unwrap_or(1), transfers: 1, uploads: 1 };
        match usage.moved(Holding::default(), asked, Some(&limits)) {
            Ok(_) => Ok(()),
            Err(exceeded) => Err(self.quota_refusal(caller.team.id, exceeded, bytes).await),
        }
    }

    /// Commits a change that reserves bytes of the team's quota: `known` bytes, or where nobody knows how much will come a step,
    /// or what is left if that is less. Returns the record after it.
    ///
    /// # Errors
    /// [`ServiceError::QuotaExceeded`]; [`ServiceError::Ended`] if the upload was ended from elsewhere.
    pub(super) async fn commit_reserving(
        &self,
        caller: &Caller,
        known: Option<u64>,
        decide: impl Fn(u64) -> Result<Change, ServiceError>,
    ) -> Result<Transfer, ServiceError> {
        let limits = self.limits_of(&caller.team);
        let mut bytes = known.unwrap_or(self.rules.reserve_step);
        let mut tries = 1..TRIES;
        loop {
            let change = decide(bytes)?.within(limits);
            let record = change.record().clone();
            match self.commit(change).await {
                Err(StoreError::QuotaExceeded(QuotaExceeded { what: Quantity::Bytes, limit, used }))
                    if known.is_none() && used < limit && tries.next().is_some() =>
                {
                    bytes = bytes.min(limit - used);
                }
                Err(StoreError::QuotaExceeded(exceeded)) => {
                    return Err(self.quota_refusal(caller.team.id, exceeded, known).await);
                }
                // Nobody else writes to a transfer in Uploading but to end it.
                Err(StoreError::Conflict) => return Err(ServiceError::Ended),
                done => {
                    done?;
                    return Ok(record);
                }
            }
        }
    }

    async fn quota_refusal(&self, team: TeamId, exceeded: QuotaExceeded, asked: Option<u64>) -> ServiceError {
        // What helps the sender is no reason to fail otherwise.
        let frees = self.next_end(team).await.unwrap_or_default();
        ServiceError::QuotaExceeded(QuotaRefusal { exceeded, asked, frees })
    }

    /// The earliest deadline among the newest live transfers of a team.
    pub(super) async fn next_end(&self, team: TeamId) -> Result<Option<Timestamp>, ServiceError> {
        let newest = self.records.list(team, None, LOOKED_AT).await?;
        let records = self.records.transfers(newest.into_iter().map(|id| (team, id)).collect()).await?;
        let live = records.into_iter().flatten().flatten().map(|record| record.transfer);
        Ok(live.filter(|transfer| transfer.state().is_live()).map(|transfer| transfer.deadline()).min())
    }
}
