//! A transfer as its owner and team see it (API.md "Transfer").

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Serialize;

use super::open::open_files;
use super::{Caller, Service, ServiceError};
use crate::clock::Timestamp;
use crate::crypto::{
    AccountKey, LinkSecret, OWNER, PasswordBlock, PasswordKey, Slot, TransferKey, open_slot,
};
use crate::storage::records::Record;
use crate::transfer::access::Capability;
use crate::transfer::lease::Counts;
use crate::transfer::{EndReason, FileId, Link, LinkId, SlotOwner, State, TransferId};

/// A transfer.
#[derive(Clone, Debug, Serialize)]
pub struct TransferView {
    /// Its id.
    pub id: TransferId,
    /// Where it stands.
    pub state: State,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    /// The instant after which no byte is served.
    #[serde(serialize_with = "rfc3339")]
    pub deadline: Timestamp,
    /// Its files.
    pub files: Vec<FileView>,
    /// Its links.
    pub links: Vec<LinkView>,
    /// Whether it is the asker's own.
    #[serde(skip)]
    pub own: bool,
    /// Goes up by one with each change.
    #[serde(skip)]
    pub version: u64,
}

/// A file. What is sealed is null where the key is out of reach: for other members, and once it has ended.
#[derive(Clone, Debug, Serialize)]
pub struct FileView {
    /// Its id.
    pub id: FileId,
    /// Its name.
    pub name: Option<String>,
    /// Plaintext bytes.
    pub size: Option<u64>,
    /// Its media type, as the sender said.
    #[serde(rename = "type")]
    pub media_type: Option<String>,
    /// SHA-256 of the plaintext, hex.
    pub sha256: Option<String>,
}

/// A link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkView {
    /// Its id.
    pub id: LinkId,
    /// The link itself, where the account key gives its secret again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The same right for tools. Whoever follows it downloads: a bot too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_url: Option<String>,
    /// What its owner calls it.
    pub label: Option<String>,
    /// When it was made.
    #[serde(serialize_with = "rfc3339")]
    pub created: Timestamp,
    /// Its own deadline; null: that of the transfer.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub deadline: Option<Timestamp>,
    /// How many downloads it is good for; null for no limit.
    pub downloads: Option<u32>,
    /// How many are used.
    pub used: u32,
    /// When a download last began.
    #[serde(serialize_with = "rfc3339_or_null")]
    pub last_used: Option<Timestamp>,
    /// Whether it asks for a password.
    pub password: bool,
    /// How many tries at its password failed.
    pub tries: u32,
    /// So many that it takes no more until its owner lifts that.
    pub stopped: bool,
    /// When it was taken back.
    pub revoked: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn rfc3339<S: serde::Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[expect(clippy::ref_option, reason = "the signature that serde asks for")]
fn rfc3339_or_null<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => rfc3339(at, serializer),
        None => serializer.serialize_none(),
    }
}

impl Caller {
    /// Whether the caller may end a transfer that was shown to him.
    #[must_use]
    pub fn may_end(&self, transfer: &TransferView) -> bool {
        self.may(Capability::EndAny) || transfer.own && self.may(Capability::Send)
    }
}

impl Service {
    /// A transfer of the caller's team.
    ///
    /// # Errors
    /// [`ServiceError::NotFound`] for an unknown id and for another team's.
    pub async fn show(&self, caller: &Caller, id: TransferId) -> Result<TransferView, ServiceError> {
        let record = self.records.transfer(caller.team.id, id).await?.ok_or(ServiceError::NotFound)?;
        let mut view = self.shown(caller, &record).await?;
        self.with_tries(caller, &mut view.links).await?;
        Ok(view)
    }

    /// A transfer of the caller's team as the caller may see it: names only of one's own, while its keys are there.
    pub(super) async fn shown(&self, caller: &Caller, record: &Record) -> Result<TransferView, ServiceError> {
        let transfer = &record.transfer;
        if transfer.owner() != caller.account.id || !transfer.state().is_live() {
            return Ok(self.view(record, None, None));
        }
        let slot = self.records.slot(caller.team.id, transfer.id(), SlotOwner::Owner).await?;
        let key = slot.and_then(|slot| self.owner_key(caller, record, &slot));
        Ok(self.view(record, key.as_ref(), Some(&caller.key)))
    }

    /// The transfer key by the account key; none if the slot is not this key's (the account was reset).
    pub(super) fn owner_key(&self, caller: &Caller, record: &Record, slot: &[u8]) -> Option<TransferKey> {
        let id = record.transfer.id();
        let secret = caller.key.owner_secret(id.as_bytes());
        let deadline = record.transfer.deadline().as_millis();
        let (password, block) = (PasswordKey::none(), PasswordBlock::none());
        let slot = Slot::from_bytes(slot).ok()?;
        open_slot(&self.keks, &slot, &secret, &password, &block, id.as_bytes(), &OWNER, deadline).ok()
    }

    pub(super) fn view(
        &self,
        record: &Record,
        key: Option<&TransferKey>,
        account: Option<&AccountKey>,
    ) -> TransferView {
        let transfer = &record.transfer;
        let opened = key.and_then(|key| open_files(record, key).ok()).unwrap_or_default();
        let file = |file: &crate::transfer::File| {
            let open = opened.iter().find(|open| open.id == file.id);
            FileView {
                id: file.id,
                name: open.map(|open| open.name.clone()),
                size: open.map(|open| open.size),
                media_type: open.and_then(|open| open.media_type.clone()),
                sha256: open.and_then(|open| open.sha256).map(hex::encode),
            }
        };
        let mut view = TransferView {
            id: transfer.id(),
            state: transfer.state(),
            reason: transfer.ended().map(|ended| ended.reason),
            created: transfer.created(),
            deadline: transfer.deadline(),
            files: transfer.files().iter().filter(|file| file.holds_name()).map(file).collect(),
            links: Vec::new(),
            own: account.is_some(),
            version: transfer.version(),
        };
        view.links = transfer
            .links()
            .iter()
            .map(|link| {
                let secret = match (account, link.n) {
                    (Some(account), Some(n)) if transfer.state().is_live() => {
                        let secret = account.link_secret(transfer.id().as_bytes(), n);
                        secret.proves(link.id.as_bytes()).then_some(secret)
                    }
                    _ => None,
                };
                let counts = record.counts_of(link.id);
                link_view(&self.rules.public_url, &view, link, counts, secret.as_ref())
            })
            .collect();
        view
    }
}

/// A link, with its secret where it is known.
pub(super) fn link_view(
    public_url: &str,
    transfer: &TransferView,
    link: &Link,
    counts: Counts,
    secret: Option<&LinkSecret>,
) -> LinkView {
    let id = link.id;
    let text = secret.map(LinkSecret::to_text);
    let tool_url = text.as_ref().and_then(|secret| {
        let (scheme, host) = public_url.split_once("://")?;
        let name = match transfer.files.as_slice() {
            [file] => file.name.as_deref().map(encode_path).unwrap_or_default(),
            _ => String::new(),
        };
        Some(format!("{scheme}://x:{}@{host}/d/{id}/{name}", secret.as_str()))
    });
    LinkView {
        id,
        url: text.as_ref().map(|secret| format!("{public_url}/d/{id}#{}", secret.as_str())),
        tool_url,
        label: link.label.clone(),
        created: link.created,
        deadline: link.deadline,
        downloads: link.downloads,
        used: counts.used,
        last_used: counts.last,
        password: link.password.is_some(),
        tries: 0,
        stopped: false,
        revoked: link.revoked.is_some(),
    }
}

/// What is not unreserved in RFC 3986 §2.3, but the slash.
const PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'$')
    .add(b'%')
    .add(b'&')
    .add(b'\'')
    .add(b'(')
    .add(b')')
    .add(b'*')
    .add(b'+')
    .add(b',')
    .add(b':')
    .add(b';')
    .add(b'<')
    .add(b'=')
    .add(b'>')
    .add(b'?')
    .add(b'@')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}')
    .add(b'!');

/// A name as the path of a URL: percent-encoded but for its slashes.
#[must_use]
pub fn encode_path(name: &str) -> String {
    utf8_percent_encode(name, PATH).to_string()
}
