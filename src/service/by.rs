//! On whose behalf accounts, tokens and teams are looked at and changed.

use super::{Asker, Caller, Service, ServiceError};
use crate::transfer::access::{AccessChange, Capability, Team};
use crate::transfer::{Actor, Context, TeamId};

/// Who asks.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// The operator at the command line, who may do everything.
    Operator,
    /// An account.
    Caller(&'a Caller),
}

impl By<'_> {
    /// Account and token allow it.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`].
    pub(super) fn require(self, what: Capability) -> Result<(), ServiceError> {
        match self {
            Self::Operator => Ok(()),
            Self::Caller(caller) => caller.require(what),
        }
    }

    /// Nobody gives what they do not have.
    ///
    /// # Errors
    /// [`ServiceError::CapabilityMissing`], with the first one that is missing.
    pub(super) fn require_all(self, what: impl IntoIterator<Item = Capability>) -> Result<(), ServiceError> {
        what.into_iter().try_for_each(|one| self.require(one))
    }

    /// It is the caller's own team: of another one nothing is told.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`].
    pub(super) fn require_team(self, team: TeamId) -> Result<(), ServiceError> {
        match self {
            Self::Caller(caller) if caller.team.id != team => Err(ServiceError::NotFound),
            Self::Caller(_) | Self::Operator => Ok(()),
        }
    }
}

impl Service {
    pub(super) fn context_of(&self, by: By<'_>) -> Context {
        match by {
            By::Operator => self.context(Actor::Operator, &Asker::default()),
            By::Caller(caller) => self.context(caller.actor(), &caller.asker),
        }
    }

    /// A team that was not removed.
    pub(super) async fn team(&self, id: TeamId) -> Result<Team, ServiceError> {
        self.records.team(id).await?.ok_or(ServiceError::NotFound)
    }

    /// Commits a change of accounts, tokens and teams. False if something of it changed meanwhile: it is to be decided anew.
    pub(super) async fn commit_access(&self, change: AccessChange) -> Result<bool, ServiceError> {
        use crate::storage::StoreError;
        let mut done = self.records.commit_access(change.clone()).await;
        if matches!(done, Err(StoreError::Unavailable(_))) {
            self.metrics.retried(crate::metrics::Store::Records, "commit_access");
            done = self.records.commit_access(change).await;
        }
        self.outbox.ring();
        match done {
            Ok(()) => Ok(true),
            Err(StoreError::Conflict) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// Somebody else may change the same between read and commit so often before it is given up.
pub(super) const TRIES: usize = 8;

/// It kept changing.
pub(super) fn kept_changing() -> ServiceError {
    ServiceError::Unavailable("accounts or teams kept changing while they were to be changed".to_owned())
}

/// A name that a team or an account can have.
///
/// # Errors
/// [`crate::transfer::policy::OptionError::Invalid`].
pub(super) fn check_name(field: &'static str, name: &str) -> Result<(), ServiceError> {
    use crate::transfer::access::{NAME_FORM, is_name};
    use crate::transfer::policy::OptionError;
    if is_name(name) {
        return Ok(());
    }
    Err(OptionError::Invalid { field, expected: NAME_FORM.to_owned() }.into())
}
