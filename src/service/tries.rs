//! Failed tries at passwords and tokens, counted per link and per address (DESIGN §11).

use super::view::LinkView;
use super::{Asker, Caller, Service, ServiceError};
use crate::transfer::tries::{LINK_STOP, Tried, TryAnswer, unlocked};
use crate::transfer::{LinkId, OperationId, TransferId};

/// What a try comes to that is not taken.
pub(super) const fn taken(answer: TryAnswer) -> Result<(), ServiceError> {
    match answer {
        TryAnswer::Taken => Ok(()),
        TryAnswer::Wait(retry_after) => Err(ServiceError::TooManyAttempts { retry_after }),
        TryAnswer::Stopped => Err(ServiceError::LinkStopped),
        TryAnswer::Gone => Err(ServiceError::LinkNotFound),
    }
}

impl Service {
    /// Takes one try of each, or none.
    pub(super) async fn take_tries(&self, of: &[Tried], id: OperationId) -> Result<(), ServiceError> {
        for (n, one) in of.iter().enumerate() {
            let asked = self.passwords.lane.moment();
            let answer = self.records.take_try(one, id).await;
            if let (Tried::Link(link), Ok(answer)) = (one, &answer) {
                self.passwords.lane.answered(*link, asked, *answer);
            }
            if let Err(refused) = answer.map_err(ServiceError::from).and_then(taken) {
                self.give_back_tries(&of[..n], id).await;
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Gives these tries back, which did not fail. One that cannot be given back counts as failed.
    pub(super) async fn give_back_tries(&self, of: &[Tried], id: OperationId) {
        for one in of {
            if let Err(error) = self.records.give_back_try(one, id).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "a try was not given back");
            }
        }
    }

    /// Lets the holder of a token in.
    ///
    /// # Errors
    /// [`ServiceError::TokenInvalid`] for a text that is no token, an unknown token, one revoked or past its end;
    /// [`ServiceError::TooManyAttempts`] in its place for an address from which too many failed.
    pub async fn login(&self, token: &str, asker: Asker) -> Result<Caller, ServiceError> {
        let address = asker.group.clone();
        match (self.let_in(token, asker).await, address) {
            (Err(ServiceError::TokenInvalid), Some(address)) => Err(self.refused_token(address).await),
            (done, _) => done,
        }
    }

    /// What to say of a token that failed: how often it did is counted only then, so that a good one costs nothing more.
    async fn refused_token(&self, address: String) -> ServiceError {
        let id = OperationId::generate(self.clock.now());
        match self.take_tries(&[Tried::Address(address)], id).await {
            Err(too_many @ ServiceError::TooManyAttempts { .. }) => too_many,
            // What is not counted is refused all the same.
            Ok(()) | Err(_) => ServiceError::TokenInvalid,
        }
    }

    /// Says of each of these links of the caller's team how many tries failed.
    pub(super) async fn with_tries(
        &self,
        caller: &Caller,
        links: &mut [LinkView],
    ) -> Result<(), ServiceError> {
        let asked: Vec<&mut LinkView> = links.iter_mut().filter(|link| link.password).collect();
        if asked.is_empty() {
            return Ok(());
        }
        let ids: Vec<LinkId> = asked.iter().map(|link| link.id).collect();
        let failed = self.records.failed_tries(caller.team.id, &ids).await?;
        for (link, failed) in asked.into_iter().zip(failed) {
            link.tries = failed;
            link.stopped = failed >= LINK_STOP;
        }
        Ok(())
    }

    /// The owner lifts what failed of a link, so that it takes tries again. Repeated, it succeeds again.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for a transfer of another team and a link of another transfer;
    /// [`ServiceError::CapabilityMissing`] for a member who did not send it.
    pub async fn unlock_link(
        &self,
        caller: &Caller,
        id: TransferId,
        link: LinkId,
    ) -> Result<(), ServiceError> {
        let record = self.records.transfer(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
        if record.transfer.link(link).is_none() {
            return Err(ServiceError::NotFound);
        }
        caller.require_to_end(&record.transfer)?;
        let event = unlocked(id, link, &self.context(caller.actor(), &caller.asker));
        self.records.forget_tries(caller.team.id, id, link, event).await?;
        self.outbox.ring();
        Ok(())
    }
}
