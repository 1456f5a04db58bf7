//! Opening a link (DESIGN §6): the secret proves itself before any record is read, and the clock is asked before any key.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::passwords::Locked;
use super::{Asker, Service, ServiceError};
use crate::crypto::{FileMeta, LinkSecret, PasswordBlock, PasswordKey, Slot, TransferKey, open_outer};
use crate::storage::records::{Opening, Record};
use crate::transfer::{FileId, LinkId, State, TransferId};

/// What somebody says to prove a link: its secret, and a password. Whether they are the link's is for [`Service::open`] to see.
pub struct Proof {
    pub(super) secret: LinkSecret,
    pub(super) said: Said,
}

/// What is said beside the secret. A link without a password does not ask for it.
pub(super) enum Said {
    Nothing,
    Password(Zeroizing<String>),
    /// What the password gave once, out of a ticket.
    Key(PasswordKey),
}

impl Proof {
    /// From the 43 characters after the `#` of a link; none for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        LinkSecret::parse(text).map(|secret| Self { secret, said: Said::Nothing })
    }

    /// With a password; an empty one is none.
    #[must_use]
    pub fn with_password(self, password: &str) -> Self {
        let said = if password.is_empty() {
            Said::Nothing
        } else {
            Said::Password(Zeroizing::new(password.to_owned()))
        };
        Self { said, ..self }
    }

    /// Whether it is this link's. Needs no record: the link's id comes from the secret.
    pub(super) fn proves(&self, link: LinkId) -> bool {
        self.secret.proves(link.as_bytes())
    }
}

/// A transfer that a proved link opens, for the length of one request.
pub struct OpenTransfer {
    /// The link.
    pub link: LinkId,
    /// Its files, in the order in which they were sent.
    pub files: Vec<OpenFile>,
    pub(super) record: Record,
    pub(super) key: TransferKey,
    /// What the link's password gave.
    pub(super) password: PasswordKey,
}

/// A file whose sealed part was opened.
#[derive(Clone, Debug)]
pub struct OpenFile {
    /// Its id.
    pub id: FileId,
    /// Its name.
    pub name: String,
    /// Its media type, as the sender said.
    pub media_type: Option<String>,
    /// Plaintext bytes.
    pub size: u64,
    /// SHA-256 of the plaintext.
    pub sha256: Option<[u8; 32]>,
}

impl OpenTransfer {
    /// The transfer.
    #[must_use]
    pub const fn id(&self) -> TransferId {
        self.record.transfer.id()
    }

    /// The instant after which no byte is served.
    #[must_use]
    pub fn deadline(&self) -> crate::clock::Timestamp {
        let own = self.record.transfer.link(self.link).and_then(|link| link.deadline);
        self.record.transfer.slot_deadline(own)
    }

    /// The file of this name.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&OpenFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl Service {
    /// Opens a link by its secret and its password.
    ///
    /// # Errors
    /// [`ServiceError::LinkNotFound`], the same for every reason; nothing is looked up for a secret that is not the link's. Who
    /// proved the secret learns [`ServiceError::PasswordRequired`], [`ServiceError::PasswordWrong`],
    /// [`ServiceError::TooManyAttempts`], [`ServiceError::LinkStopped`], [`ServiceError::PasswordBusy`].
    pub async fn open(
        self: &Arc<Self>,
        link: LinkId,
        proof: &Proof,
        asker: &Asker,
    ) -> Result<OpenTransfer, ServiceError> {
        let secret = &proof.secret;
        if !secret.proves(link.as_bytes()) {
            return Err(ServiceError::LinkNotFound);
        }
        let known = match &proof.said {
            Said::Nothing => None,
            Said::Password(password) => self.recall(link, secret, password),
            Said::Key(key) => Some(key.copy()),
        };
        let place = match (&proof.said, &known) {
            (Said::Password(_), None) => Some(self.passwords.lane.enter(link).await?),
            _ => None,
        };
        let opening = self.records.opening(link).await?.ok_or(ServiceError::LinkNotFound)?;
        let Opening { record, slot, now } = opening;
        let now = now.max(self.clock.now());
        let transfer = &record.transfer;
        let recorded =
            transfer.link(link).filter(|link| link.stands(now)).ok_or(ServiceError::LinkNotFound)?;
        if transfer.state() != State::Available || now >= transfer.deadline() {
            return Err(ServiceError::LinkNotFound);
        }
        let slot = Slot::from_bytes(&slot.ok_or(ServiceError::LinkNotFound)?)?;
        let id = *transfer.id().as_bytes();
        let block = recorded.password.as_ref();
        let block = block.map_or(Ok(PasswordBlock::none()), |block| PasswordBlock::from_bytes(&block.0))?;
        let deadline = transfer.slot_deadline(recorded.deadline).as_millis();
        let closed = |error| {
            tracing::error!(transfer = %transfer.id(), error = &error as &dyn std::error::Error, "slot does not open");
            ServiceError::LinkNotFound
        };
        // That the deadline is the slot's own is proved here, before a password costs anything.
        let slot = open_outer(&self.keks, &slot, &id, link.as_bytes(), &block, deadline).map_err(closed)?;
        let has_password = block.is_set();
        let locked = Locked { transfer: transfer.id(), link, secret: secret.copy(), block, slot };
        let known = if has_password { known } else { Some(PasswordKey::none()) };
        let (password, key) = match (known, &proof.said) {
            (Some(known), _) => {
                let key = locked.open(&known).map_err(closed)?;
                (known, key)
            }
            (None, Said::Password(password)) => {
                self.unlock(locked, password, asker.group.as_deref().unwrap_or_default(), place).await?
            }
            (None, _) => return Err(ServiceError::PasswordRequired(link)),
        };
        if !key.committed(&id, transfer.commitment()) {
            return Err(ServiceError::Internal("the key of a transfer is not the one recorded".to_owned()));
        }
        let files = open_files(&record, &key)?;
        Ok(OpenTransfer { link, files, record, key, password })
    }

    /// Whether what was opened has not ended since.
    pub(super) async fn is_open_yet(&self, open: &OpenTransfer) -> Result<bool, ServiceError> {
        let record = self.records.transfer(open.record.transfer.team(), open.id()).await?;
        let stands = record.is_some_and(|record| {
            let link = record.transfer.link(open.link);
            record.transfer.state() == State::Available
                && link.is_some_and(|link| link.stands(self.clock.now()))
        });
        Ok(stands && self.clock.now() < open.deadline())
    }
}

/// Opens what is sealed of the whole files.
pub(super) fn open_files(record: &Record, key: &TransferKey) -> Result<Vec<OpenFile>, ServiceError> {
    let transfer = &record.transfer;
    let meta_key = key.meta_key(transfer.id().as_bytes());
    transfer
        .whole_files()
        .map(|file| {
            let id = transfer.id();
            let meta = FileMeta::open(&meta_key, id.as_bytes(), file.id.as_bytes(), &file.sealed.0)?;
            let digest = meta.sha256.as_deref().and_then(|text| {
                let mut digest = [0; 32];
                hex::decode_to_slice(text, &mut digest).ok().map(|()| digest)
            });
            Ok(OpenFile {
                id: file.id,
                name: meta.name,
                media_type: meta.r#type,
                size: file.size.unwrap_or_default(),
                sha256: digest,
            })
        })
        .collect()
}
