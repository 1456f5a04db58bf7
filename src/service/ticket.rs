//! Tickets: a proved link for the length of a browser's visit, sealed so that the server keeps nothing (DESIGN §6, §10).

use std::time::Duration;

use zeroize::Zeroizing;

use super::open::Said;
use super::{Holder, OpenTransfer, Proof, Service, ServiceError};
use crate::clock::Timestamp;
use crate::crypto::Ticket;
use crate::transfer::{HolderId, LinkId};

/// A ticket lasts to the deadline, and at most so long.
const LONGEST: Duration = Duration::from_hours(24);

/// What a ticket proves.
pub struct TicketHolder {
    /// The link's secret and password.
    pub proof: Proof,
    /// Whose leases it joins.
    pub holder: Holder,
}

impl Service {
    /// A new ticket for a link that was just opened by `proof`: the text of the cookie, and when it ends.
    #[must_use]
    pub fn ticket(&self, open: &OpenTransfer, proof: Proof) -> (Zeroizing<String>, Timestamp) {
        let until = open.deadline().min(self.clock.now().after(LONGEST));
        let ticket = Ticket {
            transfer: *open.id().as_bytes(),
            link: *open.link.as_bytes(),
            owner: rand::random(),
            until_ms: until.as_millis(),
            secret: proof.secret,
            password: open.password.copy(),
        };
        (ticket.seal(&self.keks), until)
    }

    /// Reads a ticket for this link.
    ///
    /// # Errors
    /// [`ServiceError::LinkNotFound`] for a ticket that is not ours, of another link, or past its end.
    pub fn open_ticket(&self, link: LinkId, text: &str) -> Result<TicketHolder, ServiceError> {
        let ticket = Ticket::open(&self.keks, text).map_err(|_| ServiceError::LinkNotFound)?;
        if ticket.link != *link.as_bytes() || self.clock.now().as_millis() >= ticket.until_ms {
            return Err(ServiceError::LinkNotFound);
        }
        let proof = Proof { secret: ticket.secret, said: Said::Key(ticket.password) };
        Ok(TicketHolder { proof, holder: Holder(HolderId::from_bytes(ticket.owner)) })
    }
}
