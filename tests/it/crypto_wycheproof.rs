//! Project Wycheproof's vectors against the primitives, called as `src/crypto/` calls them.

use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::{AeadInOut, Aes256Gcm, KeyInit};
use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;
use wycheproof::{aead, hkdf as hkdf_vectors};

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).unwrap();
    let ours =
        |group: &&aead::TestGroup| group.key_size == 256 && group.nonce_size == 96 && group.tag_size == 128;
    let mut seen = 0;
    for test in set.test_groups.iter().filter(ours).flat_map(|group| &group.tests) {
        let key: [u8; 32] = test.key[..].try_into().unwrap();
        let nonce: [u8; 12] = test.nonce[..].try_into().unwrap();
        let tag: [u8; 16] = test.tag[..].try_into().unwrap();
        let cipher = Aes256Gcm::new((&key).into());

        let mut text = test.ct.to_vec();
        let buffer = InOutBuf::from(&mut text[..]);
        let opened = cipher.decrypt_inout_detached((&nonce).into(), &test.aad, buffer, (&tag).into());
        assert_eq!(opened.is_err(), test.result.must_fail(), "case {}", test.tc_id);
        if opened.is_err() {
            assert_eq!(text, test.ct[..], "a refused text is left encrypted: case {}", test.tc_id);
        } else {
            assert_eq!(text, test.pt[..], "case {}", test.tc_id);
            let buffer = InOutBuf::from(&mut text[..]);
            let made = cipher.encrypt_inout_detached((&nonce).into(), &test.aad, buffer).unwrap();
            assert_eq!((&text[..], &made[..]), (&test.ct[..], &tag[..]), "case {}", test.tc_id);
        }
        seen += 1;
    }
    assert!(seen >= 60, "{seen} vectors of our sizes");
}

#[test]
fn hkdf_sha256_agrees_with_wycheproof() {
    let set = hkdf_vectors::TestSet::load(hkdf_vectors::TestName::HkdfSha256).unwrap();
    let mut seen = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut extract = HkdfExtract::<Sha256>::new(Some(&test.salt));
        let (head, tail) = test.ikm.split_at(test.ikm.len() / 2);
        extract.input_ikm(head);
        extract.input_ikm(tail);
        let (prk, hkdf) = extract.finalize();
        let (head, tail) = test.info.split_at(test.info.len() / 2);
        for hkdf in [hkdf, Hkdf::from_prk(&prk).unwrap()] {
            let mut key = vec![0; test.size];
            let expanded = hkdf.expand_multi_info(&[head, tail], &mut key);
            assert_eq!(expanded.is_err(), test.result.must_fail(), "case {}", test.tc_id);
            assert!(expanded.is_err() || key == test.okm[..], "case {}", test.tc_id);
        }
        seen += 1;
    }
    assert!(seen >= 80, "{seen} vectors");
}
