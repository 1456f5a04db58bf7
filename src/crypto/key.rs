//! Every key, every derivation and every label of burnbag (DESIGN §6). Nothing is derived anywhere else.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hkdf::{Hkdf, HkdfExtract};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::Id;
use super::secret::Secret;

/// What keeps one use of a key from another. A label is never reused and never changes its meaning.
pub(super) mod label {
    // Derivations.
    pub(in crate::crypto) const STREAM: &str = "burnbag/v1/stream";
    pub(in crate::crypto) const META: &str = "burnbag/v1/meta";
    pub(in crate::crypto) const COMMIT: &str = "burnbag/v1/commit";
    pub(in crate::crypto) const RECEIPT: &str = "burnbag/v1/receipt";
    pub(in crate::crypto) const LINK_ID: &str = "burnbag/v1/link-id";
    pub(in crate::crypto) const LINK_WRAP: &str = "burnbag/v1/link-wrap";
    pub(in crate::crypto) const OUTER_WRAP: &str = "burnbag/v1/outer-wrap";
    pub(in crate::crypto) const TICKET_WRAP: &str = "burnbag/v1/ticket-wrap";
    pub(in crate::crypto) const KEK_CHECK: &str = "burnbag/v1/kek-check";
    pub(in crate::crypto) const TOKEN: &str = "burnbag/v1/token";
    pub(in crate::crypto) const ACCOUNT_WRAP: &str = "burnbag/v1/account-wrap";
    pub(in crate::crypto) const OWNER: &str = "burnbag/v1/owner";
    pub(in crate::crypto) const LINK: &str = "burnbag/v1/link";
    pub(in crate::crypto) const REQUEST: &str = "burnbag/v1/request";
    pub(in crate::crypto) const REQUEST_OWNER: &str = "burnbag/v1/request-owner";
    // Associated data. A sealed file's is META.
    pub(in crate::crypto) const OBJECT: &str = "burnbag/v1/object";
    pub(in crate::crypto) const RUNS: &str = "burnbag/v1/runs";
    pub(in crate::crypto) const DIGEST: &str = "burnbag/v1/digest";
    pub(in crate::crypto) const INNER: &str = "burnbag/v1/inner";
    pub(in crate::crypto) const OUTER: &str = "burnbag/v1/outer";
    pub(in crate::crypto) const ACCOUNT_INNER: &str = "burnbag/v1/account-inner";
    pub(in crate::crypto) const ACCOUNT_OUTER: &str = "burnbag/v1/account-outer";
    pub(in crate::crypto) const TICKET: &str = "burnbag/v1/ticket";
}

/// `X(salt, ikm)`, the parts of `ikm` one after another; the PRK lives on only inside, and is wiped with it.
fn extract(salt: &[u8], ikm: &[&[u8]]) -> Hkdf<Sha256> {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    let (mut prk, hkdf) = extract.finalize();
    prk.as_mut_slice().zeroize();
    hkdf
}

/// `E(prk, label, x)`, the parts of `x` one after another.
fn expand(prk: &Hkdf<Sha256>, label: &str, x: &[&[u8]]) -> Secret<32> {
    expand_info(prk, &[&[label.as_bytes(), b"\0"], x].concat())
}

fn expand_info(prk: &Hkdf<Sha256>, info: &[&[u8]]) -> Secret<32> {
    let mut key = Secret::zeroed();
    let Ok(()) = prk.expand_multi_info(info, key.bytes_mut()) else {
        unreachable!("HKDF refuses only outputs above 8,160 bytes")
    };
    key
}

/// A uniformly random key is a PRK as it stands (RFC 5869 §3.3).
fn prk(key: &Secret<32>) -> Hkdf<Sha256> {
    let Ok(prk) = Hkdf::from_prk(key.bytes()) else { unreachable!("32 bytes are a PRK's least length") };
    prk
}

fn derive(key: &Secret<32>, label: &str, x: &[&[u8]]) -> Secret<32> {
    expand(&prk(key), label, x)
}

/// Associated data: `label || 00 || fields`, the fields of fixed width.
pub(super) fn aad(label: &str, fields: &[&[u8]]) -> Vec<u8> {
    [&[label.as_bytes(), b"\0"], fields].concat().concat()
}

/// `K` of a run: Tink's derivation, so without a label of its own (DESIGN §5).
pub(super) fn run_key(main: &MainKey, salt: &[u8; 32], aad: &[u8]) -> Secret<32> {
    expand_info(&extract(salt, &[main.0.bytes()]), &[aad])
}

/// `K_link`, which wraps a transfer key for one link.
pub(super) fn link_key(
    secret: &LinkSecret,
    password: &PasswordKey,
    transfer: &Id,
    link: &Id,
    pwb: &[u8; 29],
) -> Secret<32> {
    let prk = extract(label::LINK_WRAP.as_bytes(), &[secret.0.bytes(), password.0.bytes()]);
    expand(&prk, label::LINK_WRAP, &[transfer, link, pwb])
}

/// `K_out` with [`label::OUTER_WRAP`], a ticket's key with [`label::TICKET_WRAP`].
pub(super) fn outer_key(kek: &Secret<32>, label: &str, salt: &[u8; 32]) -> Secret<32> {
    expand(&extract(salt, &[kek.bytes()]), label, &[])
}

/// What the record store keeps of a KEK, to know it again.
pub(super) fn kek_check(kek: &Secret<32>) -> [u8; 32] {
    *derive(kek, label::KEK_CHECK, &[]).bytes()
}

/// `K_tok`; `s` is the token's 30 random characters.
pub(super) fn token_key(s: &[u8], account: &Id, token_id: &Id) -> Secret<32> {
    expand(&extract(label::TOKEN.as_bytes(), &[s]), label::ACCOUNT_WRAP, &[account, token_id])
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        pub struct $name(pub(super) Secret<32>);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

keys! {
    /// `T`: everything of one transfer derives from it. Drawn together with the transfer's id, never changed.
    TransferKey
    /// `main_key`, from which each run of one file has its own key (DESIGN §5).
    MainKey
    /// `K_meta`, which seals the fields of a transfer's record.
    MetaKey
    /// Proves later what a `content_mac` in the audit log stood for; given only to who may know.
    ReceiptKey
    /// `L`: whoever holds it holds the link. The server never stores it.
    LinkSecret
    /// `U`: an account's key, stored only wrapped under each of its tokens.
    AccountKey
    /// `R`: whoever holds it may upload through one request link.
    RequestSecret
    /// `pwk`: what a link's password adds to its secret.
    PasswordKey
    /// Names a password that was right, for as long as the process runs.
    RecallKey
}

impl TransferKey {
    /// Draws a new key from the kernel.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::random())
    }

    /// Takes over 32 uniformly random bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Secret::take(bytes))
    }

    /// The key of one file's runs.
    #[must_use]
    pub fn main_key(&self, transfer: &Id, file: &Id) -> MainKey {
        MainKey(derive(&self.0, label::STREAM, &[transfer, file]))
    }

    /// The key of the sealed fields of this transfer's record.
    #[must_use]
    pub fn meta_key(&self, transfer: &Id) -> MetaKey {
        MetaKey(derive(&self.0, label::META, &[transfer]))
    }

    /// What the record stores of the key; tells nothing of it.
    #[must_use]
    pub fn commitment(&self, transfer: &Id) -> [u8; 32] {
        *derive(&self.0, label::COMMIT, &[transfer]).bytes()
    }

    /// Compares with the stored [`commitment`](Self::commitment) in constant time. Ask after every unwrap:
    /// GCM alone does not commit to a key.
    #[must_use]
    pub fn committed(&self, transfer: &Id, stored: &[u8; 32]) -> bool {
        self.commitment(transfer).ct_eq(stored).into()
    }

    /// The key under which the audit log names one file's content.
    #[must_use]
    pub fn receipt_key(&self, transfer: &Id, file: &Id) -> ReceiptKey {
        ReceiptKey(derive(&self.0, label::RECEIPT, &[transfer, file]))
    }
}

impl ReceiptKey {
    /// HMAC-SHA256 over the plaintext's SHA-256: an audit line's `content_mac`.
    #[must_use]
    pub fn content_mac(&self, sha256: &[u8; 32]) -> [u8; 32] {
        mac(&self.0, &[sha256])
    }

    /// 64 lower-case hex digits, for the receipt that a person keeps.
    #[must_use]
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.0.bytes()))
    }
}

impl LinkSecret {
    /// Draws a new secret from the kernel: for a link minted without the account key, shown once.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::random())
    }

    /// From a link's fragment: exactly 43 characters of canonical unpadded base64url.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_text(text).map(Self)
    }

    /// The 43 characters that [`parse`](Self::parse) takes.
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        to_text(&self.0)
    }

    /// The same secret in memory of its own, for work that outlives the request.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Secret::copy(self.0.bytes()))
    }

    /// The public id of the link whose records live in `shard`.
    #[must_use]
    pub fn link_id(&self, shard: u8) -> Id {
        let hash = derive(&self.0, label::LINK_ID, &[]);
        let mut id = [shard; 16];
        id[1..].copy_from_slice(&hash.bytes()[..15]);
        id
    }

    /// Whether this is the secret of `link`, in whatever shard; in constant time. Ask before any look-up, so
    /// that nobody without the secret makes the server read a record.
    #[must_use]
    pub fn proves(&self, link: &Id) -> bool {
        self.link_id(link[0]).ct_eq(link).into()
    }
}

impl AccountKey {
    /// Draws a new key from the kernel.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::random())
    }

    /// The secret of the owner's own slot in `transfer`; it is no link and is never served.
    #[must_use]
    pub fn owner_secret(&self, transfer: &Id) -> LinkSecret {
        LinkSecret(derive(&self.0, label::OWNER, &[transfer]))
    }

    /// The secret of the transfer's link number `n`: the same each time, so the owner can be shown it again.
    #[must_use]
    pub fn link_secret(&self, transfer: &Id, n: u32) -> LinkSecret {
        LinkSecret(derive(&self.0, label::LINK, &[transfer, &n.to_be_bytes()]))
    }

    /// The secret of the account's request link `request` in its edition `n`.
    #[must_use]
    pub fn request_secret(&self, request: &Id, n: u32) -> RequestSecret {
        RequestSecret(derive(&self.0, label::REQUEST, &[request, &n.to_be_bytes()]))
    }
}

impl RequestSecret {
    /// As [`LinkSecret::parse`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_text(text).map(Self)
    }

    /// As [`LinkSecret::to_text`].
    #[must_use]
    pub fn to_text(&self) -> Zeroizing<String> {
        to_text(&self.0)
    }

    /// The secret of the owner's slot in a transfer that came in through this request link.
    #[must_use]
    pub fn owner_secret(&self, transfer: &Id) -> LinkSecret {
        LinkSecret(derive(&self.0, label::REQUEST_OWNER, &[transfer]))
    }
}

impl RecallKey {
    /// Draws a new key from the kernel.
    #[must_use]
    pub fn generate() -> Self {
        Self(Secret::random())
    }

    /// A name for this password of this link, which tells nothing of either to who lacks the key.
    #[must_use]
    pub fn name(&self, link: &Id, secret: &LinkSecret, password: &[u8]) -> [u8; 32] {
        // Fields of fixed width, and the password last.
        mac(&self.0, &[link, secret.0.bytes(), password])
    }
}

impl PasswordKey {
    /// A link without a password: 32 zero bytes.
    #[must_use]
    pub fn none() -> Self {
        Self(Secret::zeroed())
    }

    /// The same key in memory of its own: what is remembered outlives the request.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(Secret::copy(self.0.bytes()))
    }
}

fn mac(key: &Secret<32>, fields: &[&[u8]]) -> [u8; 32] {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.bytes()) else {
        unreachable!("HMAC takes a key of any length")
    };
    for field in fields {
        mac.update(field);
    }
    mac.finalize().into_bytes().into()
}

fn to_text(secret: &Secret<32>) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(44));
    BASE64_URL_SAFE_NO_PAD.encode_string(secret.bytes(), &mut text);
    text
}

fn parse_text(text: &str) -> Option<Secret<32>> {
    let mut secret = Secret::zeroed();
    let length = BASE64_URL_SAFE_NO_PAD.decode_slice(text, secret.bytes_mut()).ok()?;
    (text.len() == 43 && length == 32).then_some(secret)
}
