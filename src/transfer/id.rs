//! Names of things: 16 bytes each, 32 lower-case hex digits everywhere, no hyphens (DESIGN §5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::clock::Timestamp;

/// The text is not 32 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an id is 32 lower-case hex digits")]
pub struct InvalidId;

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], InvalidId> {
    let mut bytes = [0; N];
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(InvalidId);
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| InvalidId)?;
    Ok(bytes)
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// The id made of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The bytes, as they go into keys and formats.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = [0; 32];
                hex::encode_to_slice(self.0, &mut text).map_err(|_| fmt::Error)?;
                f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'_, str>::deserialize(deserializer)?;
                text.parse().map_err(D::Error::custom)
            }
        }
    )+};
}

ids! {
    /// A transfer. `UUIDv7`: sorts by the time it was made.
    TransferId
    /// A file of a transfer. Drawn anew in each attempt at a file.
    FileId
    /// A link: its first byte is the shard, the rest is derived from the link secret (DESIGN §6).
    LinkId
    /// A team.
    TeamId
    /// An account: a person or a service in one team.
    AccountId
    /// A token of an account.
    TokenId
    /// A lease: the id of the stream that opened it.
    LeaseId
    /// One response that sends bytes of a file. Chosen before the lease is asked for.
    StreamId
    /// One write to a store. Chosen before it is first sent, so that it can be sent again.
    OperationId
    /// Who holds a lease: the owner id of a ticket, or a digest of link, address and user agent.
    HolderId
    /// One running process.
    InstanceId
}

macro_rules! generated {
    ($($name:ident)+) => {$(
        impl $name {
            /// A new id: a `UUIDv7` of `now` and 74 random bits.
            #[must_use]
            pub fn generate(now: Timestamp) -> Self {
                Self(uuid::Builder::from_unix_timestamp_millis(now.as_millis(), &rand::random()).into_uuid().into_bytes())
            }
        }
    )+};
}

generated! { TransferId FileId TeamId AccountId TokenId StreamId OperationId InstanceId }

impl From<StreamId> for LeaseId {
    fn from(stream: StreamId) -> Self {
        Self(stream.0)
    }
}

impl From<StreamId> for OperationId {
    /// A stream's take, renewals and settlement are sent under its own id (DESIGN §4).
    fn from(stream: StreamId) -> Self {
        Self(stream.0)
    }
}

impl From<LeaseId> for OperationId {
    /// The end of a lease is told under the id of the stream that opened it.
    fn from(lease: LeaseId) -> Self {
        Self(lease.0)
    }
}

impl LinkId {
    /// The owner's slot has no link; where a link id is asked for, it is this one (DESIGN §6).
    pub const OWNER: Self = Self([0; 16]);
}

/// Where an object lies in the blob store (DESIGN §5).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlobKey {
    /// The shard of the record store that holds the transfer.
    pub shard: u8,
    /// The transfer.
    pub transfer: TransferId,
    /// The file.
    pub file: FileId,
    /// The number of the object in the file, from 0.
    pub object: u32,
    /// Drawn with the key, so that no two attempts ever share one.
    pub random: u64,
}

impl BlobKey {
    /// A key that was never used.
    #[must_use]
    pub fn generate(shard: u8, transfer: TransferId, file: FileId, object: u32) -> Self {
        Self { shard, transfer, file, object, random: rand::random() }
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shard, transfer, file, object, random } = self;
        write!(f, "o/{shard:02x}/{transfer}/{file}/{object:08x}-{random:016x}")
    }
}

impl FromStr for BlobKey {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(InvalidId);
        if next()? != "o" {
            return Err(InvalidId);
        }
        let [shard] = parse_hex(next()?)?;
        let (transfer, file) = (next()?.parse()?, next()?.parse()?);
        let (object, random) = next()?.split_once('-').ok_or(InvalidId)?;
        let (object, random) =
            (u32::from_be_bytes(parse_hex(object)?), u64::from_be_bytes(parse_hex(random)?));
        if parts.next().is_some() {
            return Err(InvalidId);
        }
        Ok(Self { shard, transfer, file, object, random })
    }
}

impl Serialize for BlobKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Bytes in a record, as unpadded base64url.
pub(crate) mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(crate) fn serialize<S: Serializer, B: AsRef<[u8]>>(bytes: &B, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: TryFrom<Vec<u8>>>(
        from: D,
    ) -> Result<B, D::Error> {
        let text = std::borrow::Cow::<'_, str>::deserialize(from)?;
        let bytes = URL_SAFE_NO_PAD.decode(text.as_bytes()).map_err(D::Error::custom)?;
        B::try_from(bytes).map_err(|_| D::Error::custom("a value of another length was expected"))
    }
}
