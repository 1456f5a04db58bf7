//! Keys and bytes: the only room that touches a key or a plaintext.
//!
//! `key.rs` holds every derivation and every label; the other files use them and name none of their own.
//! The formats are fixed to the byte by DESIGN §5 and §6 and pinned by `tests/vectors/`. This room knows no
//! other: ids come in as plain bytes, time does not come in at all.

mod account;
mod digest;
mod envelope;
mod error;
mod gcm;
mod kek;
mod key;
mod layout;
mod meta;
mod outer;
mod password;
mod secret;
mod stream;
mod ticket;
mod token;

pub use account::{
    open_account_key, open_request_secret, rewrap_account_key, wrap_account_key, wrap_request_secret,
};
pub use digest::ContentDigest;
pub use envelope::{InnerSlot, OWNER, Slot, open_outer, open_slot, rewrap_slot, seal_slot};
pub use error::CryptoError;
pub use kek::KekRing;
pub use key::{
    AccountKey, LinkSecret, MainKey, MetaKey, PasswordKey, RecallKey, ReceiptKey, RequestSecret, TransferKey,
};
pub use layout::{Cover, HEADER, Layout, SEGMENT, TAG};
pub use meta::{FileMeta, RUNS_PER_PAGE, Run, open_digest_state, open_runs, seal_digest_state, seal_runs};
pub use password::PasswordBlock;
pub use stream::{Header, Opener, RunId, Writer};
pub use ticket::Ticket;
pub use token::{Token, TokenKind};

/// 16 bytes that name a transfer, a file, a link, an account or a token.
pub type Id = [u8; 16];
