//! What `burnbag doctor` looks at: whether what teams use is what their records add up to.

use std::time::Duration;

use super::{Service, ServiceError};
use crate::transfer::TeamId;
use crate::transfer::quota::{Holding, Usage};

/// Transfers that are read together.
const PAGE: usize = 500;
/// Numbers can be compared where nothing moves between the first and the last record; so often it is tried.
const TRIES: u32 = 20;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What was found of one team.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TeamCheck {
    /// The team.
    pub team: TeamId,
    /// What the counters said.
    pub counted: Usage,
    /// What its records added up to; absent: it kept changing while they were read.
    pub records: Option<Holding>,
}

impl TeamCheck {
    /// Counters and records differ.
    #[must_use]
    pub fn has_drift(&self) -> bool {
        self.records.is_some_and(|records| records != self.counted.held)
    }
}

impl Service {
    /// Compares what a team uses with its records, beside whatever goes on. `read` is told how many were read so far.
    ///
    /// # Errors
    /// The record store's, and a record that cannot be read.
    pub async fn check_usage(
        &self,
        team: TeamId,
        read: impl Fn(usize) + Sync,
    ) -> Result<TeamCheck, ServiceError> {
        let mut counted = self.records.usage(team).await?;
        for _ in 0..TRIES {
            let records = self.recount(team, &read).await?;
            let after = self.records.usage(team).await?;
            if after.moves == counted.moves {
                return Ok(TeamCheck { team, counted: after, records: Some(records) });
            }
            tokio::time::sleep(PAUSE).await;
            counted = self.records.usage(team).await?;
        }
        Ok(TeamCheck { team, counted, records: None })
    }

    /// What the records of a team add up to.
    async fn recount(&self, team: TeamId, read: impl Fn(usize)) -> Result<Holding, ServiceError> {
        let (mut sum, mut seen, mut before) = (Holding::default(), 0, None);
        loop {
            let ids = self.records.list(team, before, PAGE).await?;
            let Some(last) = ids.last().copied() else { return Ok(sum) };
            before = Some(last);
            seen += ids.len();
            for record in self.records.transfers(ids.into_iter().map(|id| (team, id)).collect()).await? {
                sum = record?.map_or(sum, |record| sum.and(record.transfer.holding()));
            }
            read(seen);
        }
    }

    /// Writes what the records added up to, if nothing of the team moved since; false if it did.
    ///
    /// # Errors
    /// The record store's.
    pub async fn repair_usage(&self, check: &TeamCheck) -> Result<bool, ServiceError> {
        let Some(records) = check.records else { return Ok(false) };
        Ok(self.records.set_usage(check.team, check.counted.moves, records).await?)
    }
}
