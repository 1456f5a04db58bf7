//! What the operator is told stands in docs/OPERATIONS.md as it is in the code.

use std::path::Path;

use crate::support::files_below;

/// The text of every string of the sources, with `…` where something is put in.
fn sources() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = String::new();
    for file in files_below(&root) {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        // A string that goes on in the next line.
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some(begun) = line.strip_suffix('\\') {
                all.push_str(begun);
                if let Some(next) = lines.peek_mut() {
                    *next = next.trim_start();
                }
            } else {
                all.push_str(line);
                all.push('\n');
            }
        }
    }
    all
}

#[test]
fn every_message_of_the_table_is_one_that_is_said() {
    let doc = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let doc = std::fs::read_to_string(doc).unwrap();
    let section = doc.split("## What it says, what it means, what to do").nth(1).unwrap();
    let rows = section.split("\n## ").next().unwrap().lines().filter(|line| line.starts_with("| `"));
    let (sources, mut seen) = (sources(), 0);
    for row in rows {
        let text = row.strip_prefix("| `").unwrap().split(" | ").next().unwrap().trim_end_matches('`');
        for part in text.replace('`', "").split('…').map(str::trim).filter(|part| part.len() > 3) {
            assert!(sources.replace('`', "").contains(part), "no source says {part:?}");
        }
        seen += 1;
    }
    assert!(seen >= 25, "{seen} messages");
}
