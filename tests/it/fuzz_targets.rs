//! The fuzzer's targets without the fuzzer: on the inputs that it kept, and on random bytes, which the targets read as
//! choices. What each of them holds stands in `fuzz/src/`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::support::files_below;

#[path = "../../fuzz/src/lib.rs"]
mod targets;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("account_key", targets::account_key::run),
    ("audit_log", targets::audit_log::run),
    ("basic", targets::basic::run),
    ("config", targets::config::run),
    ("file_name", targets::file_name::run),
    ("form", targets::form::run),
    ("forwarded_for", targets::forwarded_for::run),
    ("head", targets::head::run),
    ("ids", targets::ids::run),
    ("kek_file", targets::kek_file::run),
    ("layout", targets::layout::run),
    ("options", targets::options::run),
    ("password_block", targets::password_block::run),
    ("range", targets::range::run),
    ("records", targets::records::run),
    ("run", targets::run::run),
    ("sealed_file", targets::sealed_file::run),
    ("secrets", targets::secrets::run),
    ("slot", targets::slot::run),
    ("ticket", targets::ticket::run),
    ("token", targets::token::run),
    ("words", targets::words::run),
];

fn fuzz(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(below)
}

/// The names in a directory, without what follows a dot.
fn names(dir: &Path) -> BTreeSet<String> {
    let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_str().unwrap().to_owned();
    fs::read_dir(dir).unwrap().map(|entry| stem(entry.unwrap())).collect()
}

#[test]
fn every_target_of_the_fuzzer_is_tried_here() {
    let ours: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz("fuzz_targets")), ours);
    assert_eq!(names(&fuzz("corpus")), ours);
}

#[test]
fn what_the_fuzzer_kept_still_holds() {
    for (name, run) in TARGETS {
        let kept = files_below(&fuzz("corpus").join(name));
        assert!(!kept.is_empty(), "{name} has a corpus");
        for file in kept {
            let held = std::panic::catch_unwind(|| run(&fs::read(&file).unwrap()));
            assert!(held.is_ok(), "{} breaks what {name} holds", file.display());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn random_bytes_break_nothing(bytes in prop::collection::vec(any::<u8>(), 0..1500)) {
        for (_, run) in TARGETS {
            run(&bytes);
        }
    }
}
