//! Every derivation and sealed form of DESIGN §6 against `make_derivations.py`, which was written from the page.

use std::collections::BTreeMap;

use burnbag::crypto::{
    AccountKey, CryptoError, FileMeta, Id, KekRing, LinkSecret, OWNER, PasswordBlock, PasswordKey,
    RequestSecret, Run, Slot, Ticket, Token, TokenKind, TransferKey, open_account_key, open_digest_state,
    open_outer, open_request_secret, open_runs, open_slot, rewrap_account_key, rewrap_slot,
    seal_digest_state, seal_runs, seal_slot, wrap_account_key, wrap_request_secret,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    kek_file: String,
    kek_checks: BTreeMap<u32, String>,
    transfer_key: String,
    transfer: String,
    file: String,
    commitment: String,
    receipt_key: String,
    content_sha256: String,
    content_mac: String,
    link_secret: String,
    link_ids: BTreeMap<u8, String>,
    slots: Vec<SlotCase>,
    account: String,
    token_id: String,
    request: String,
    account_token: String,
    wrapped_account_key: String,
    upload_token: String,
    wrapped_request_secret: String,
    owner_secret: String,
    link_secrets: BTreeMap<u32, String>,
    request_n: u32,
    request_secret: String,
    request_owner_secret: String,
    tokens: Vec<TokenCase>,
    ticket: TicketCase,
    files: Vec<FileCase>,
    runs: RunsCase,
    digest: DigestCase,
}

#[derive(Deserialize)]
struct SlotCase {
    name: String,
    secret: String,
    password: Option<String>,
    pwb: String,
    link: String,
    deadline_ms: u64,
    slot: String,
}

#[derive(Deserialize)]
struct TokenCase {
    text: String,
    sha256: String,
}

#[derive(Deserialize)]
struct TicketCase {
    link: String,
    owner: String,
    until_ms: u64,
    secret: String,
    ticket: String,
}

#[derive(Deserialize)]
struct FileCase {
    meta: FileMeta,
    json: String,
    sealed: String,
}

#[derive(Deserialize)]
struct RunsCase {
    page: u32,
    sealed: String,
    runs: Vec<RunCase>,
}

#[derive(Deserialize)]
struct RunCase {
    header: String,
    length: u64,
    object: u32,
}

#[derive(Deserialize)]
struct DigestCase {
    offset: u64,
    state: String,
    sealed: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../vectors/derivations.json")).unwrap()
}

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    hex::decode(hex).unwrap().try_into().unwrap()
}

impl Vectors {
    fn ring(&self) -> KekRing {
        KekRing::parse(&self.kek_file).unwrap()
    }

    fn key(&self) -> TransferKey {
        TransferKey::from_bytes(bytes(&self.transfer_key))
    }

    fn ids(&self) -> (Id, Id) {
        (bytes(&self.transfer), bytes(&self.file))
    }

    fn account(&self) -> AccountKey {
        let token = Token::parse(&self.account_token).unwrap();
        let wrapped = hex::decode(&self.wrapped_account_key).unwrap();
        open_account_key(&self.ring(), &token, &bytes(&self.account), &bytes(&self.token_id), &wrapped)
            .unwrap()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "reads better at a use")]
fn refused<T: std::fmt::Debug>(result: Result<T, CryptoError>) {
    assert!(matches!(result, Err(CryptoError::Refused)), "{result:?}");
}

#[test]
fn a_transfer_keys_derivations() {
    let v = vectors();
    let (transfer, file) = v.ids();
    let key = v.key();
    assert_eq!(hex::encode(key.commitment(&transfer)), v.commitment);
    assert!(key.committed(&transfer, &bytes(&v.commitment)));
    assert!(!key.committed(&file, &bytes(&v.commitment)));
    let receipt = key.receipt_key(&transfer, &file);
    assert_eq!(*receipt.to_hex(), v.receipt_key);
    assert_eq!(hex::encode(receipt.content_mac(&bytes(&v.content_sha256))), v.content_mac);
}

#[test]
fn a_link_secret_names_its_link_and_no_other() {
    let v = vectors();
    let secret = LinkSecret::parse(&v.link_secret).unwrap();
    assert_eq!(*secret.to_text(), v.link_secret);
    for (shard, link) in v.link_ids {
        let link: Id = bytes(&link);
        assert_eq!(secret.link_id(shard), link);
        assert!(secret.proves(&link));
        for at in 1..16 {
            let mut other = link;
            other[at] ^= 0x80;
            assert!(!secret.proves(&other));
        }
        assert!(!LinkSecret::generate().proves(&link));
    }
}

#[test]
fn an_account_keys_derivations() {
    let v = vectors();
    let (transfer, _) = v.ids();
    let account = v.account();
    assert_eq!(*account.owner_secret(&transfer).to_text(), v.owner_secret);
    for (n, secret) in &v.link_secrets {
        assert_eq!(*account.link_secret(&transfer, *n).to_text(), *secret);
    }
    let request = account.request_secret(&bytes(&v.request), v.request_n);
    assert_eq!(*request.to_text(), v.request_secret);
    assert_eq!(*request.owner_secret(&transfer).to_text(), v.request_owner_secret);
}

#[test]
fn kek_checks() {
    let v = vectors();
    let ring = v.ring();
    assert_eq!(ring.current(), 7);
    assert_eq!(ring.versions().collect::<Vec<_>>(), [1, 7]);
    for (version, check) in v.kek_checks {
        assert_eq!(ring.check(version), Some(bytes(&check)));
    }
    assert_eq!(ring.check(2), None);
    assert!(KekRing::parse(&KekRing::generate_text()).unwrap().check(1).is_some());
}

#[test]
fn slots_open_and_bind_every_field() {
    let v = vectors();
    let (ring, (transfer, file)) = (v.ring(), v.ids());
    for case in &v.slots {
        let slot = Slot::from_bytes(&hex::decode(&case.slot).unwrap()).unwrap();
        let secret = LinkSecret::parse(&case.secret).unwrap();
        let pwb = PasswordBlock::from_bytes(&hex::decode(&case.pwb).unwrap()).unwrap();
        let link = bytes(&case.link);
        assert_eq!(pwb.is_set(), case.password.is_some());
        assert_eq!(link == OWNER, case.name == "owner");
        let password = match &case.password {
            Some(password) => PasswordKey::derive(password.as_bytes(), &pwb).unwrap(),
            None => PasswordKey::none(),
        };
        let at = case.deadline_ms;
        let key = open_slot(&ring, &slot, &secret, &password, &pwb, &transfer, &link, at).unwrap();
        assert!(key.committed(&transfer, &bytes(&v.commitment)), "{}", case.name);

        let mut other_link = link;
        other_link[15] ^= 1;
        let other_pwb = PasswordBlock::generate();
        refused(open_outer(&ring, &slot, &transfer, &link, &pwb, at + 1));
        refused(open_outer(&ring, &slot, &file, &link, &pwb, at));
        refused(open_outer(&ring, &slot, &transfer, &other_link, &pwb, at));
        refused(open_outer(&ring, &slot, &transfer, &link, &other_pwb, at));
        let inner = || open_outer(&ring, &slot, &transfer, &link, &pwb, at).unwrap();
        refused(inner().open(&LinkSecret::generate(), &password, &transfer, &link, &pwb));
        if case.password.is_some() {
            refused(inner().open(&secret, &PasswordKey::none(), &transfer, &link, &pwb));
            let wrong = PasswordKey::derive(b"wrong", &pwb).unwrap();
            refused(inner().open(&secret, &wrong, &transfer, &link, &pwb));
        }

        let moved = rewrap_slot(&ring, &slot, &transfer, &link, &pwb, at, 1).unwrap();
        refused(open_outer(&ring, &moved, &transfer, &link, &pwb, at));
        assert!(open_slot(&ring, &moved, &secret, &password, &pwb, &transfer, &link, 1).is_ok());
        let sealed = seal_slot(&ring, &secret, &password, &pwb, &transfer, &link, at, &key);
        assert_ne!(sealed, slot, "a fresh salt each time");
        assert!(open_slot(&ring, &sealed, &secret, &password, &pwb, &transfer, &link, at).is_ok());
    }
}

#[test]
fn no_byte_of_a_slot_can_be_changed() {
    let v = vectors();
    let case = &v.slots[0];
    let (ring, (transfer, _), link) = (v.ring(), v.ids(), bytes(&case.link));
    let original: [u8; Slot::LENGTH] = bytes(&case.slot);
    for at in 0..Slot::LENGTH {
        let mut changed = original;
        changed[at] ^= 1;
        let opened = Slot::from_bytes(&changed).and_then(|slot| {
            open_outer(&ring, &slot, &transfer, &link, &PasswordBlock::none(), case.deadline_ms)
        });
        match (at, opened) {
            (0, Err(CryptoError::Malformed(_)))
            | (1..5, Err(CryptoError::UnknownKek(_)))
            | (5.., Err(CryptoError::Refused)) => {}
            (_, outcome) => panic!("byte {at}: {outcome:?}"),
        }
    }
}

#[test]
fn a_rotation_needs_no_link_and_an_old_kek_no_more() {
    let v = vectors();
    let old = v.ring();
    let both = KekRing::parse(&format!("{}{}", v.kek_file, *KekRing::generate_line(8))).unwrap();
    let new = KekRing::parse(&KekRing::generate_line(8)).unwrap();
    let (case, (transfer, _)) = (&v.slots[0], v.ids());
    let (link, pwb, at) = (bytes(&case.link), PasswordBlock::none(), case.deadline_ms);
    let slot = Slot::from_bytes(&hex::decode(&case.slot).unwrap()).unwrap();
    let rotated = rewrap_slot(&both, &slot, &transfer, &link, &pwb, at, at).unwrap();
    assert_eq!((slot.kek_version(), rotated.kek_version()), (7, 8));
    assert!(open_outer(&both, &rotated, &transfer, &link, &pwb, at).is_ok());
    refused(open_outer(&new, &rotated, &transfer, &link, &pwb, at));
    let unknown = |ring, slot| open_outer(ring, slot, &transfer, &link, &pwb, at).unwrap_err();
    assert!(matches!(unknown(&new, &slot), CryptoError::UnknownKek(7)));
    assert!(matches!(unknown(&old, &rotated), CryptoError::UnknownKek(8)));
}

#[test]
fn wrapped_account_keys_bind_token_account_and_id() {
    let v = vectors();
    let (ring, account, id) = (v.ring(), bytes(&v.account), bytes(&v.token_id));
    let token = Token::parse(&v.account_token).unwrap();
    let wrapped = hex::decode(&v.wrapped_account_key).unwrap();
    refused(open_account_key(&ring, &Token::generate(TokenKind::Usr), &account, &id, &wrapped));
    refused(open_account_key(&ring, &token, &id, &id, &wrapped));
    refused(open_account_key(&ring, &token, &account, &account, &wrapped));
    let again = rewrap_account_key(&ring, &account, &id, &wrapped).unwrap();
    let key = open_account_key(&ring, &token, &account, &id, &again).unwrap();
    assert_eq!(*key.owner_secret(&v.ids().0).to_text(), v.owner_secret);
    let wrapped = wrap_account_key(&ring, &token, &account, &id, &key);
    assert_eq!(wrapped.len(), 101);
    assert!(open_account_key(&ring, &token, &account, &id, &wrapped).is_ok());

    let token = Token::parse(&v.upload_token).unwrap();
    let wrapped = hex::decode(&v.wrapped_request_secret).unwrap();
    let request = open_request_secret(&ring, &token, &account, &id, &wrapped).unwrap();
    assert_eq!(*request.to_text(), v.request_secret);
    let wrapped = wrap_request_secret(&ring, &token, &account, &id, &request);
    assert!(open_request_secret(&ring, &token, &account, &id, &wrapped).is_ok());
    assert_eq!(*RequestSecret::parse(&v.request_secret).unwrap().to_text(), v.request_secret);
}

#[test]
fn a_ticket_opens_and_cannot_be_changed() {
    let v = vectors();
    let (ring, case) = (v.ring(), &v.ticket);
    let ticket = Ticket::open(&ring, &case.ticket).unwrap();
    let again = Ticket::open(&ring, &ticket.seal(&ring)).unwrap();
    for ticket in [ticket, again] {
        assert_eq!(ticket.transfer, v.ids().0);
        assert_eq!((ticket.link, ticket.owner), (bytes(&case.link), bytes(&case.owner)));
        assert_eq!((ticket.until_ms, &*ticket.secret.to_text()), (case.until_ms, &case.secret));
        assert_eq!(ticket.seal(&ring).len(), 231);
    }
    for at in 0..case.ticket.len() {
        let mut changed = case.ticket.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let opened = Ticket::open(&ring, std::str::from_utf8(&changed).unwrap());
        assert!(matches!(opened, Err(CryptoError::Refused | CryptoError::Malformed(_))), "character {at}");
    }
    refused(Ticket::open(&KekRing::parse(&KekRing::generate_text()).unwrap(), &case.ticket));
}

#[test]
fn a_tickets_password_key_opens_its_slot() {
    let v = vectors();
    let case = v.slots.iter().find(|case| case.password.is_some()).unwrap();
    let pwb = PasswordBlock::from_bytes(&hex::decode(&case.pwb).unwrap()).unwrap();
    let (ring, (transfer, _), link) = (v.ring(), v.ids(), bytes(&case.link));
    let ticket = Ticket {
        transfer,
        link,
        owner: [4; 16],
        until_ms: 5,
        secret: LinkSecret::parse(&case.secret).unwrap(),
        password: PasswordKey::derive(case.password.as_ref().unwrap().as_bytes(), &pwb).unwrap(),
    };
    let Ticket { secret, password, .. } = Ticket::open(&ring, &ticket.seal(&ring)).unwrap();
    let slot = Slot::from_bytes(&hex::decode(&case.slot).unwrap()).unwrap();
    assert!(open_slot(&ring, &slot, &secret, &password, &pwb, &transfer, &link, case.deadline_ms).is_ok());
}

#[test]
fn token_forms_and_checksums() {
    for case in vectors().tokens {
        let token = Token::parse(&case.text).unwrap();
        assert_eq!((token.text(), hex::encode(token.hash())), (&*case.text, case.sha256));
        for at in 0..case.text.len() {
            let mut changed = case.text.clone().into_bytes();
            changed[at] = if changed[at] == b'x' { b'y' } else { b'x' };
            assert!(!Token::looks_like(std::str::from_utf8(&changed).unwrap()), "character {at}");
        }
        assert!(!Token::looks_like(&case.text[..42]));
        assert!(!Token::looks_like(&format!("{}0", case.text)));
    }
    for kind in [TokenKind::Usr, TokenKind::Svc, TokenKind::Ses] {
        let token = Token::generate(kind);
        let parsed = Token::parse(token.text()).unwrap();
        assert_eq!((parsed.kind(), parsed.text()), (kind, token.text()));
        assert!(!format!("{token:?}").contains(&token.text()[7..]));
    }
}

#[test]
fn sealed_files_open_and_bind_their_file() {
    let v = vectors();
    let (transfer, file) = v.ids();
    let key = v.key().meta_key(&transfer);
    for case in &v.files {
        let sealed = hex::decode(&case.sealed).unwrap();
        assert_eq!(FileMeta::open(&key, &transfer, &file, &sealed).unwrap(), case.meta);
        assert_eq!(serde_json::to_string(&case.meta).unwrap(), case.json, "fields in this order, none null");
        refused(FileMeta::open(&key, &transfer, &transfer, &sealed));
        refused(FileMeta::open(&v.key().meta_key(&file), &transfer, &file, &sealed));
        let again = case.meta.seal(&key, &transfer, &file);
        assert_eq!(again.len(), sealed.len());
        assert_ne!(again, sealed, "a fresh nonce each time");
        assert_eq!(FileMeta::open(&key, &transfer, &file, &again).unwrap(), case.meta);
    }
}

#[test]
fn sealed_runs_open_and_bind_their_page() {
    let v = vectors();
    let (transfer, file) = v.ids();
    let key = v.key().meta_key(&transfer);
    let sealed = hex::decode(&v.runs.sealed).unwrap();
    let runs: Vec<Run> = (v.runs.runs.iter())
        .map(|run| Run { header: bytes(&run.header), length: run.length, object: run.object })
        .collect();
    assert_eq!(open_runs(&key, &transfer, &file, v.runs.page, &sealed).unwrap(), runs);
    refused(open_runs(&key, &transfer, &file, v.runs.page + 1, &sealed));
    refused(open_runs(&key, &transfer, &transfer, v.runs.page, &sealed));
    for count in [0, 1, 256] {
        let runs = vec![runs[0]; count];
        let sealed = seal_runs(&key, &transfer, &file, 0, &runs).unwrap();
        assert_eq!(open_runs(&key, &transfer, &file, 0, &sealed).unwrap(), runs);
    }
    assert!(matches!(seal_runs(&key, &transfer, &file, 0, &vec![runs[0]; 257]), Err(CryptoError::Misuse(_))));
}

#[test]
fn a_sealed_digest_state_opens_at_its_offset_alone() {
    let v = vectors();
    let (transfer, file) = v.ids();
    let key = v.key().meta_key(&transfer);
    let (offset, state) = (v.digest.offset, hex::decode(&v.digest.state).unwrap());
    let sealed = hex::decode(&v.digest.sealed).unwrap();
    assert_eq!(*open_digest_state(&key, &transfer, &file, offset, &sealed).unwrap(), state);
    refused(open_digest_state(&key, &transfer, &file, offset + 1, &sealed));
    let again = seal_digest_state(&key, &transfer, &file, 9, &state);
    assert_eq!(*open_digest_state(&key, &transfer, &file, 9, &again).unwrap(), state);
}

#[test]
fn a_password_block_is_capped_and_its_default_is_the_designs() {
    let block = |m, t, p| PasswordBlock::new(m, t, p, [7; 16]);
    assert!(block(256 * 1024, 10, 4).is_ok() && block(8, 1, 1).is_ok());
    for (m, t, p) in [(256 * 1024 + 1, 3, 1), (65536, 11, 1), (65536, 3, 5), (7, 1, 1), (8, 0, 1), (8, 1, 0)]
    {
        assert!(matches!(block(m, t, p), Err(CryptoError::Malformed(_))), "{m} {t} {p}");
    }
    let default = PasswordBlock::generate();
    let costs = block(64 * 1024, 3, 1).unwrap();
    assert_eq!(default.as_bytes()[..13], costs.as_bytes()[..13]);
    assert_ne!(default, PasswordBlock::generate());
    let mut unset = *default.as_bytes();
    unset[0] = 0;
    assert!(PasswordBlock::from_bytes(&unset).is_err(), "all zero without a password");
    let refused = PasswordKey::derive(b"any", &PasswordBlock::none());
    assert!(matches!(refused, Err(CryptoError::Malformed(_))));
}

#[test]
fn no_secret_is_printed() {
    let key = TransferKey::from_bytes([0xab; 32]);
    assert_eq!(format!("{key:?}"), "TransferKey(..)");
    let ring = KekRing::parse(&format!("1 {}", "ab".repeat(32))).unwrap();
    let shown = format!("{ring:?} {:?} {:?}", LinkSecret::generate(), PasswordKey::none());
    assert!(!shown.contains("ab, ") && !shown.contains("171"), "{shown}");
    let error = KekRing::parse("1 abcd\n").unwrap_err().to_string();
    assert_eq!(error, "KEK file: line 1 is not `<version> <64 hex digits>`");
}
