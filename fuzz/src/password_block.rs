//! Password blocks: parameters from a record, which must not be able to exhaust the server.

use burnbag::crypto::{PasswordBlock, PasswordKey};

use super::input::{choose, rarely};

pub fn run(data: &[u8]) {
    if let Ok(block) = PasswordBlock::from_bytes(data) {
        assert_eq!(&block.as_bytes()[..], data);
    }
    choose(data, |input| {
        let mut number = |most: u32| -> arbitrary::Result<u32> {
            let any: u32 = input.arbitrary()?;
            Ok(if rarely(input, 16)? { any } else { any % most })
        };
        let (memory, passes, lanes) = (number(1 << 19)?, number(14)?, number(8)?);
        let salt: [u8; 16] = input.arbitrary()?;
        let allowed = (1..=4).contains(&lanes)
            && (1..=10).contains(&passes)
            && (8 * lanes..=256 * 1024).contains(&memory);
        let made = PasswordBlock::new(memory, passes, lanes, salt);
        assert_eq!(made.is_ok(), allowed, "{memory} KiB, {passes} passes, {lanes} lanes");
        let Ok(block) = made else { return Ok(()) };
        assert_eq!(PasswordBlock::from_bytes(block.as_bytes()).unwrap(), block);
        assert!(block.is_set());
        // Only what costs next to nothing is derived.
        if memory <= 32 && passes == 1 {
            let password: [u8; 8] = input.arbitrary()?;
            assert!(PasswordKey::derive(&password, &block).is_ok());
        }
        Ok(())
    });
}
