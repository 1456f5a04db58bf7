//! Slots: opened by exactly what they were sealed for, after a new deadline too.

use std::sync::LazyLock;

use burnbag::crypto::{
    KekRing, LinkSecret, PasswordBlock, PasswordKey, Slot, TransferKey, open_slot, rewrap_slot, seal_slot,
};

use super::input::{change, change_array, choose};

const TRANSFER: [u8; 16] = [1; 16];
const LINK: [u8; 16] = [2; 16];
const DEADLINE: u64 = 1_900_000_000_000;
const KEY: [u8; 32] = [7; 32];

struct Sealed {
    ring: KekRing,
    secret: LinkSecret,
    slot: Slot,
}

static SEALED: LazyLock<Sealed> = LazyLock::new(|| {
    let ring = KekRing::parse(&format!("1 {}\n2 {}", "42".repeat(32), "43".repeat(32))).unwrap();
    let secret = LinkSecret::parse(&"A".repeat(43)).unwrap();
    let (password, block, key) = (PasswordKey::none(), PasswordBlock::none(), TransferKey::from_bytes(KEY));
    let slot = seal_slot(&ring, &secret, &password, &block, &TRANSFER, &LINK, DEADLINE, &key);
    Sealed { ring, secret, slot }
});

pub fn run(data: &[u8]) {
    choose(data, |input| {
        let Sealed { ring, secret, slot: sealed } = &*SEALED;
        let mut bytes = sealed.as_bytes().to_vec();
        let (mut transfer, mut link, mut block, mut deadline) = (TRANSFER, LINK, [0; 29], DEADLINE);
        match input.int_in_range(0..=4)? {
            0 => change(input, &mut bytes)?,
            1 => change_array(input, &mut transfer)?,
            2 => change_array(input, &mut link)?,
            3 => block = small_block(input)?,
            _ => deadline = deadline.wrapping_add(input.arbitrary()?),
        }
        let Ok(slot) = Slot::from_bytes(&bytes) else {
            assert!(bytes.len() != Slot::LENGTH || bytes[0] != 1);
            return Ok(());
        };
        assert_eq!(&slot.as_bytes()[..], bytes);
        let Ok(block) = PasswordBlock::from_bytes(&block) else { return Ok(()) };
        let none = PasswordKey::none();
        let same = slot == *sealed
            && (transfer, link, deadline) == (TRANSFER, LINK, DEADLINE)
            && block == PasswordBlock::none();
        let opened = open_slot(ring, &slot, secret, &none, &block, &transfer, &link, deadline);
        assert_eq!(opened.is_ok(), same, "it opens if and only if nothing was changed");
        let is_key =
            |key: &TransferKey| key.committed(&TRANSFER, &TransferKey::from_bytes(KEY).commitment(&TRANSFER));
        assert!(opened.is_ok_and(|key| is_key(&key)) == same);
        let later = input.arbitrary()?;
        let again = rewrap_slot(ring, &slot, &transfer, &link, &block, deadline, later);
        assert_eq!(again.is_ok(), same);
        if let Ok(again) = again {
            assert_eq!(again.kek_version(), ring.current());
            let open = |deadline| open_slot(ring, &again, secret, &none, &block, &transfer, &link, deadline);
            assert!(is_key(&open(later).unwrap()));
            assert!(later == deadline || open(deadline).is_err(), "the old deadline holds no longer");
        }
        Ok(())
    });
}

fn small_block(input: &mut arbitrary::Unstructured<'_>) -> arbitrary::Result<[u8; 29]> {
    let mut block: [u8; 29] = input.arbitrary()?;
    if input.arbitrary()? {
        block[0] = 1;
        for number in block[1..13].chunks_mut(4) {
            number[..3].fill(0);
        }
    }
    Ok(block)
}
