//! Passwords of links (DESIGN §6): Argon2id, few at once, only for who proved the link and has a try left.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;
use std::time::Duration;

use lru::LruCache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use zeroize::Zeroizing;

use super::lane::Lane;
use super::{Service, ServiceError, is_token};
use crate::clock::Timestamp;
use crate::crypto::{CryptoError, InnerSlot, LinkSecret, PasswordBlock, PasswordKey, RecallKey, TransferKey};
use crate::metrics::Checked;
use crate::transfer::policy::{OptionError, parse_password};
use crate::transfer::tries::Tried;
use crate::transfer::{LinkId, OperationId, TransferId};

/// An opening waits so long for its turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// By so much Argon2id stands behind the requests: where both want a processor it gets a tenth (sched(7)).
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// So many openings wait at once.
const WAITING: usize = 64;
/// So many passwords that were right are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// The turns at Argon2id, and the passwords that were right a while ago.
pub struct Passwords {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    pub(super) lane: Lane,
    recall: RecallKey,
    known: Mutex<LruCache<[u8; 32], Known>>,
}

/// What a password gave that was right.
struct Known {
    key: PasswordKey,
    until: Timestamp,
}

impl Default for Passwords {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            turns: Arc::new(Semaphore::new((cores - 1).max(1))),
            waiting: Semaphore::new(WAITING),
            lane: Lane::default(),
            recall: RecallKey::generate(),
            known: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }
}

impl Passwords {
    /// A turn, if one comes soon.
    async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let _place = self.waiting.try_acquire().ok()?;
        tokio::time::timeout(PATIENCE, Arc::clone(&self.turns).acquire_owned()).await.ok()?.ok()
    }

    fn known(&self) -> MutexGuard<'_, LruCache<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recall(&self, name: &[u8; 32], now: Timestamp, until: Timestamp) -> Option<PasswordKey> {
        let mut all = self.known();
        let known = all.get_mut(name).filter(|known| now < known.until)?;
        known.until = until;
        Some(known.key.copy())
    }

    fn remember(&self, name: [u8; 32], key: &PasswordKey, until: Timestamp) {
        self.known().put(name, Known { key: key.copy(), until });
    }

    /// Drops what was not used for a while; a key is zeroized where it is dropped.
    pub fn forget(&self, now: Timestamp) {
        let mut all = self.known();
        // Each use moves an entry to the front and its end on, so the oldest ends first.
        while all.peek_lru().is_some_and(|(_, oldest)| oldest.until <= now) {
            all.pop_lru();
        }
    }
}

/// A link of which everything is proved but its password.
pub(super) struct Locked {
    pub(super) transfer: TransferId,
    pub(super) link: LinkId,
    pub(super) secret: LinkSecret,
    pub(super) block: PasswordBlock,
    pub(super) slot: InnerSlot,
}

impl Locked {
    /// With the key that a password gave, or that a ticket holds.
    pub(super) fn open(self, key: &PasswordKey) -> Result<TransferKey, CryptoError> {
        let Self { transfer, link, secret, block, slot } = self;
        slot.open(&secret, key, transfer.as_bytes(), link.as_bytes(), &block)
    }
}

impl Service {
    /// What a new link is sealed with. Waits for its turn at Argon2id, and takes a tenth of a second or more for it.
    ///
    /// # Errors
    /// [`ServiceError::Option`] for a text of a token's form; [`ServiceError::PasswordBusy`] where there is no memory.
    pub async fn new_password(
        &self,
        password: Option<&Zeroizing<String>>,
    ) -> Result<(PasswordKey, PasswordBlock), ServiceError> {
        let Some(password) = password else { return Ok((PasswordKey::none(), PasswordBlock::none())) };
        refuse_token(password)?;
        let block = PasswordBlock::generate();
        let turn = Arc::clone(&self.passwords.turns).acquire_owned().await;
        let turn = turn.map_err(|_| ServiceError::PasswordBusy)?;
        let key = derive(turn, password.clone(), block.clone()).await?;
        self.metrics.checked(Checked::New);
        Ok((key, block))
    }

    /// What this password of the link gave a while ago.
    pub(super) fn recall(&self, link: LinkId, secret: &LinkSecret, password: &str) -> Option<PasswordKey> {
        let name = self.passwords.recall.name(link.as_bytes(), secret, password.as_bytes());
        let now = self.clock.now();
        self.passwords.recall(&name, now, now.after(self.rules.leases.idle))
    }

    /// Opens a link by its password, if a try is left. Goes on when the asker is gone: what a try cost is settled. The place
    /// in the lane is given up before the wait for a turn.
    pub(super) async fn unlock(
        self: &Arc<Self>,
        locked: Locked,
        password: &Zeroizing<String>,
        address: &str,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(PasswordKey, TransferKey), ServiceError> {
        let Locked { link, secret, .. } = &locked;
        let name = self.passwords.recall.name(link.as_bytes(), secret, password.as_bytes());
        let now = self.clock.now();
        let until = now.after(self.rules.leases.idle);
        // No link has such a password.
        if parse_password(password).is_err() {
            return Err(ServiceError::PasswordWrong(*link));
        }
        let of = [Tried::Link(*link), Tried::Address(address.to_owned())];
        let (service, password) = (Arc::clone(self), password.clone());
        let check = async move {
            let id = OperationId::generate(now);
            service.take_tries(&of, id).await?;
            drop(place);
            let checked = service.check(locked, password).await;
            match &checked {
                Err(ServiceError::PasswordWrong(_)) => service.metrics.checked(Checked::Wrong),
                Ok((key, _)) => {
                    service.metrics.checked(Checked::Right);
                    service.passwords.remember(name, key, until);
                    service.give_back_tries(&of, id).await;
                }
                Err(_) => service.give_back_tries(&of, id).await,
            }
            checked
        };
        let stopped = |_| ServiceError::Internal("the check of a password stopped".to_owned());
        self.tasks.spawn(check).await.map_err(stopped)?
    }

    async fn check(
        &self,
        locked: Locked,
        password: Zeroizing<String>,
    ) -> Result<(PasswordKey, TransferKey), ServiceError> {
        let turn = self.passwords.turn().await.ok_or(ServiceError::PasswordBusy)?;
        let link = locked.link;
        let key = derive(turn, password, locked.block.clone()).await?;
        let opened = locked.open(&key).map_err(|_| ServiceError::PasswordWrong(link))?;
        Ok((key, opened))
    }
}

/// Argon2id beside the requests, for as long as the turn is held. On a thread of its own, since a lowered priority
/// stays: a flood of guesses takes what processors the requests leave.
async fn derive(
    turn: OwnedSemaphorePermit,
    password: Zeroizing<String>,
    block: PasswordBlock,
) -> Result<PasswordKey, ServiceError> {
    let (tell, told) = oneshot::channel();
    let work = move || {
        yield_to_requests();
        let key = PasswordKey::derive(password.as_bytes(), &block);
        drop(turn);
        // A key that nobody waits for any more is zeroized where it is dropped.
        drop(tell.send(key));
    };
    let thread = std::thread::Builder::new().name("argon2".to_owned()).spawn(work);
    thread.map_err(|_| ServiceError::PasswordBusy)?;
    match told.await {
        Ok(Err(CryptoError::OutOfMemory)) => Err(ServiceError::PasswordBusy),
        Ok(key) => Ok(key?),
        Err(_) => Err(ServiceError::Internal("a password was not derived".to_owned())),
    }
}

/// Lowers the priority of this thread alone (Linux, setpriority(2)). Refused, the work is done at the usual one.
#[cfg(target_os = "linux")]
fn yield_to_requests() {
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(error = &error as &dyn std::error::Error, "a password is derived at full priority");
    }
}

/// Elsewhere it would be that of the whole process.
#[cfg(not(target_os = "linux"))]
const fn yield_to_requests() {}

/// Whatever has a token's form is the token, wherever both can stand (DESIGN §10): such a password would never be read.
///
/// # Errors
/// [`OptionError::Invalid`].
pub fn refuse_token(password: &str) -> Result<(), OptionError> {
    if !is_token(password) {
        return Ok(());
    }
    let expected =
        "something else than a token: what has a token's form is taken for the token, and opens no link";
    Err(OptionError::Invalid { field: "password", expected: expected.to_owned() })
}
