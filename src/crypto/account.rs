//! Account keys, wrapped once for each token of the account: the token inside, the KEK outside (DESIGN §6).

use zeroize::Zeroizing;

use super::Id;
use super::error::{CryptoError, Result};
use super::gcm::{open_once, seal_once};
use super::kek::KekRing;
use super::key::{AccountKey, RequestSecret, aad, label, token_key};
use super::outer::{self, Kind};
use super::secret::Secret;
use super::token::Token;

/// Wraps an account's key under one of its tokens, for the token's record: 101 bytes. A token wraps one key in
/// its life, be it this or a request secret: the inner nonce is all zero.
#[must_use]
pub fn wrap_account_key(
    ring: &KekRing,
    token: &Token,
    account: &Id,
    token_id: &Id,
    key: &AccountKey,
) -> Vec<u8> {
    wrap(ring, token, account, token_id, &key.0)
}

/// Unwraps an account's key. `Refused` for another token, account or token id, or changed bytes.
pub fn open_account_key(
    ring: &KekRing,
    token: &Token,
    account: &Id,
    token_id: &Id,
    wrapped: &[u8],
) -> Result<AccountKey> {
    open(ring, token, account, token_id, wrapped).map(AccountKey)
}

/// As [`wrap_account_key`], for an upload-only token: it holds a request secret in the account key's place.
#[must_use]
pub fn wrap_request_secret(
    ring: &KekRing,
    token: &Token,
    account: &Id,
    token_id: &Id,
    secret: &RequestSecret,
) -> Vec<u8> {
    wrap(ring, token, account, token_id, &secret.0)
}

/// Unwraps what [`wrap_request_secret`] made. Which of the two a token wraps, its record says.
pub fn open_request_secret(
    ring: &KekRing,
    token: &Token,
    account: &Id,
    token_id: &Id,
    wrapped: &[u8],
) -> Result<RequestSecret> {
    open(ring, token, account, token_id, wrapped).map(RequestSecret)
}

/// The same key under the ring's current KEK: needs no token. Serves both kinds.
pub fn rewrap_account_key(ring: &KekRing, account: &Id, token_id: &Id, wrapped: &[u8]) -> Result<Vec<u8>> {
    let inner = open_outer(ring, account, token_id, wrapped)?;
    Ok(outer::seal(ring, Kind::Account, &[account, token_id], &inner))
}

fn open_outer(ring: &KekRing, account: &Id, token_id: &Id, wrapped: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    outer::open(ring, Kind::Account, &[account, token_id], wrapped)
}

fn wrap(ring: &KekRing, token: &Token, account: &Id, token_id: &Id, key: &Secret<32>) -> Vec<u8> {
    let wrap = token_key(token.secret(), account, token_id);
    let inner = seal_once(&wrap, &aad(label::ACCOUNT_INNER, &[account, token_id]), key.bytes());
    outer::seal(ring, Kind::Account, &[account, token_id], &inner)
}

fn open(ring: &KekRing, token: &Token, account: &Id, token_id: &Id, wrapped: &[u8]) -> Result<Secret<32>> {
    let inner = open_outer(ring, account, token_id, wrapped)?;
    let wrap = token_key(token.secret(), account, token_id);
    let key = open_once(&wrap, &aad(label::ACCOUNT_INNER, &[account, token_id]), &inner)?;
    key.first_chunk().map(Secret::copy).ok_or(CryptoError::Malformed("wrapped account key"))
}
