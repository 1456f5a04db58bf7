//! AES-256-GCM in place, the one way in which this room calls it.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use zeroize::Zeroizing;

use super::error::{CryptoError, Result};
use super::secret::{Secret, random};

pub(super) const TAG: usize = 16;
pub(super) const NONCE: usize = 12;

pub(super) fn cipher(key: &Secret<32>) -> Aes256Gcm {
    Aes256Gcm::new(key.bytes().into())
}

/// Encrypts in place and gives the tag.
pub(super) fn seal(cipher: &Aes256Gcm, nonce: &[u8; NONCE], aad: &[u8], text: &mut [u8]) -> [u8; TAG] {
    let Ok(tag) = cipher.encrypt_inout_detached(nonce.into(), aad, InOutBuf::from(text)) else {
        unreachable!("GCM refuses only texts above 64 GiB; the longest here is a segment or a record's field")
    };
    tag.into()
}

/// Checks the tag, then decrypts in place; a text that is refused is left as it was.
pub(super) fn open(
    cipher: &Aes256Gcm,
    nonce: &[u8; NONCE],
    aad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG],
) -> Result<()> {
    cipher
        .decrypt_inout_detached(nonce.into(), aad, InOutBuf::from(text), tag.into())
        .map_err(|_| CryptoError::Refused)
}

/// GCM0 of DESIGN §6: the all-zero nonce, for a key that is used once.
pub(super) fn seal_once(key: &Secret<32>, aad: &[u8], text: &[u8]) -> Vec<u8> {
    append_sealed(Vec::with_capacity(text.len() + TAG), key, &[0; NONCE], aad, text)
}

/// Opens what [`seal_once`] made.
pub(super) fn open_once(key: &Secret<32>, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    open_copy(key, &[0; NONCE], aad, sealed)
}

/// `01 || nonce12 || GCM(key, nonce12, aad, text)`: a field of a record, under a key that seals many.
pub(super) fn seal_field(key: &Secret<32>, aad: &[u8], text: &[u8]) -> Vec<u8> {
    let nonce = random::<NONCE>();
    let mut field = Vec::with_capacity(1 + NONCE + text.len() + TAG);
    field.push(1);
    field.extend_from_slice(&nonce);
    append_sealed(field, key, &nonce, aad, text)
}

/// Opens what [`seal_field`] made.
pub(super) fn open_field(key: &Secret<32>, aad: &[u8], field: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let [1, rest @ ..] = field else { return Err(CryptoError::Malformed("sealed field")) };
    let (nonce, sealed) = rest.split_first_chunk().ok_or(CryptoError::Malformed("sealed field"))?;
    open_copy(key, nonce, aad, sealed)
}

/// `out` has room for all of it, so no growth leaves a copy of the text behind.
fn append_sealed(
    mut out: Vec<u8>,
    key: &Secret<32>,
    nonce: &[u8; NONCE],
    aad: &[u8],
    text: &[u8],
) -> Vec<u8> {
    let start = out.len();
    out.extend_from_slice(text);
    let tag = seal(&cipher(key), nonce, aad, &mut out[start..]);
    out.extend_from_slice(&tag);
    out
}

fn open_copy(key: &Secret<32>, nonce: &[u8; NONCE], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let (text, tag) = sealed.split_last_chunk().ok_or(CryptoError::Malformed("sealed bytes"))?;
    let mut text = Zeroizing::new(text.to_vec());
    open(&cipher(key), nonce, aad, &mut text, tag)?;
    Ok(text)
}
