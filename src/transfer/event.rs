//! What goes on record: one event for each change, in the words of DESIGN §9.

use serde::{Deserialize, Serialize};

use super::id::{AccountId, FileId, InstanceId, LinkId, OperationId, TransferId};
use crate::clock::Timestamp;

macro_rules! event_types {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// What happened. The text form is that of DESIGN §9.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        pub enum EventType {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl EventType {
            /// Every type there is.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word in the log.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

event_types! {
    /// A file's upload began.
    UploadStarted = "upload.started",
    /// A file is whole and durable.
    UploadCompleted = "upload.completed",
    /// A file's upload broke off.
    UploadAborted = "upload.aborted",
    /// An upload was refused before it began.
    UploadRefused = "upload.refused",
    /// The owner took a file out of a draft.
    FileRemoved = "file.removed",
    /// A transfer was made.
    TransferCreated = "transfer.created",
    /// A transfer's deadline or policy changed.
    TransferChanged = "transfer.changed",
    /// A transfer waits for a scan or an approval.
    TransferHeld = "transfer.held",
    /// A transfer can be fetched.
    TransferAvailable = "transfer.available",
    /// The deadline passed.
    TransferExpired = "transfer.expired",
    /// Every download was used.
    TransferExhausted = "transfer.exhausted",
    /// Somebody ended the transfer.
    TransferDeleted = "transfer.deleted",
    /// A scan or an approver refused the transfer.
    TransferRejected = "transfer.rejected",
    /// The upload was never finished.
    TransferAbandoned = "transfer.abandoned",
    /// The objects are confirmed gone.
    TransferPurged = "transfer.purged",
    /// The tombstone is gone.
    TransferForgotten = "transfer.forgotten",
    /// A link was minted.
    LinkCreated = "link.created",
    /// A link was taken back.
    LinkRevoked = "link.revoked",
    /// The owner lifted the failed tries of a link.
    LinkUnlocked = "link.unlocked",
    /// A link's own deadline passed.
    LinkExpired = "link.expired",
    /// The first byte of a file is about to leave under a lease.
    DownloadStarted = "download.started",
    /// A file was wholly delivered under a lease.
    DownloadCompleted = "download.completed",
    /// A lease ended before a file that it had begun was delivered.
    DownloadInterrupted = "download.interrupted",
    /// A download was refused.
    DownloadRefused = "download.refused",
    /// A token was made.
    TokenCreated = "token.created",
    /// A token was revoked.
    TokenRevoked = "token.revoked",
    /// An account was made.
    AccountCreated = "account.created",
    /// An account got a new account key; what it owned before can only be ended.
    AccountReset = "account.reset",
    /// An account got another role, or was disabled or enabled.
    AccountChanged = "account.changed",
    /// An account was removed.
    AccountRemoved = "account.removed",
    /// A team was made.
    TeamCreated = "team.created",
    /// A team got another name or other limits.
    TeamChanged = "team.changed",
    /// A team was removed.
    TeamRemoved = "team.removed",
    /// A token was refused.
    LoginRefused = "login.refused",
    /// The sweep deleted an object that no record knows.
    SweepDeleted = "sweep.deleted",
    /// The sweep found too much to be true and deleted nothing.
    SweepStopped = "sweep.stopped",
}

/// Who did it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Actor {
    /// An account, by one of its tokens.
    Account(AccountId),
    /// Whoever holds a link.
    Link(LinkId),
    /// The service itself.
    System,
    /// The operator at the command line.
    Operator,
    /// Nobody that was proved.
    Anonymous,
}

/// The form that an [`Actor`] has in a record.
#[derive(Serialize, Deserialize)]
struct ActorRecord {
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

impl Serialize for Actor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (kind, id) = match self {
            Self::Account(id) => ("account", Some(id.to_string())),
            Self::Link(id) => ("link", Some(id.to_string())),
            Self::System => ("system", None),
            Self::Operator => ("operator", None),
            Self::Anonymous => ("anonymous", None),
        };
        ActorRecord { kind: kind.to_owned(), id }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Actor {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let ActorRecord { kind, id } = ActorRecord::deserialize(deserializer)?;
        match (kind.as_str(), id) {
            ("account", Some(id)) => id.parse().map(Self::Account).map_err(D::Error::custom),
            ("link", Some(id)) => id.parse().map(Self::Link).map_err(D::Error::custom),
            ("system", None) => Ok(Self::System),
            ("operator", None) => Ok(Self::Operator),
            ("anonymous", None) => Ok(Self::Anonymous),
            _ => Err(D::Error::custom("an unknown kind of actor")),
        }
    }
}

/// How it went.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    #[default]
    Ok,
    /// It was asked for and not allowed.
    Refused,
    /// It was begun and broke.
    Failed,
}

/// One event, as it waits in the outbox. The log adds version, shard, number and chain (DESIGN §9).
///
/// Never holds a secret, a file name or a digest of content.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The operation's id, a dot, a number: the same however often the operation is sent.
    pub id: String,
    /// When it was decided.
    pub time: Timestamp,
    /// The process that decided it.
    pub instance: InstanceId,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: EventType,
    /// Who did it.
    pub actor: Actor,
    /// The address that asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transfer: Option<TransferId>,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileId>,
    /// The link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<LinkId>,
    /// Plaintext bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Proof of the content for who is given the receipt key (DESIGN §6), hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_mac: Option<String>,
    /// How it went.
    pub outcome: Outcome,
    /// Why: a problem code, or a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How many times, where one event stands for several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// The request id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Under what a change happens: who, when, from where, and the id under which it can be sent again.
#[derive(Clone, Debug)]
pub struct Context {
    /// Chosen before the change is first sent.
    pub operation: OperationId,
    /// The time by which the change is decided.
    pub now: Timestamp,
    /// Who asks.
    pub actor: Actor,
    /// The process that decides.
    pub instance: InstanceId,
    /// The address that asks.
    pub client: Option<String>,
    /// The request id.
    pub trace: Option<String>,
}

impl Context {
    /// The service itself, at `now`.
    #[must_use]
    pub fn system(instance: InstanceId, now: Timestamp) -> Self {
        Self {
            operation: OperationId::generate(now),
            now,
            actor: Actor::System,
            instance,
            client: None,
            trace: None,
        }
    }

    /// The same asker at a later time, with a new operation.
    #[must_use]
    pub fn again(&self, now: Timestamp) -> Self {
        Self { operation: OperationId::generate(now), now, ..self.clone() }
    }

    /// The event number `n` of this operation; what it is about is filled in by the caller.
    #[must_use]
    pub fn event(&self, n: usize, kind: EventType) -> Event {
        Event {
            id: format!("{}.{n}", self.operation),
            time: self.now,
            instance: self.instance,
            kind,
            actor: self.actor,
            client: self.client.clone(),
            transfer: None,
            file: None,
            link: None,
            bytes: None,
            content_mac: None,
            outcome: Outcome::Ok,
            reason: None,
            count: None,
            trace: self.trace.clone(),
        }
    }
}
