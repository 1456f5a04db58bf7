//! The rooms of `docs/ARCHITECTURE.md`: who may know whom, and which library stays in which room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::files_below;

/// Each room, and the rooms that it may know. `docs/ARCHITECTURE.md` has the same table.
const ROOMS: &[(&str, &[&str])] = &[
    ("main", &["cli"]),
    ("cli", &["app", "audit", "clock", "config", "service", "telemetry", "transfer"]),
    (
        "app",
        &[
            "audit",
            "clock",
            "config",
            "crypto",
            "http",
            "metrics",
            "service",
            "storage",
            "telemetry",
            "transfer",
            "workers",
        ],
    ),
    ("config", &["http", "transfer"]),
    ("telemetry", &["config"]),
    ("http", &["metrics", "service", "transfer"]),
    ("workers", &["audit", "clock", "metrics", "service", "transfer"]),
    ("service", &["audit", "clock", "crypto", "failpoint", "metrics", "storage", "transfer"]),
    ("audit", &["clock", "crypto", "storage", "transfer"]),
    ("storage", &["clock", "metrics", "transfer"]),
    ("transfer", &["clock"]),
    ("crypto", &[]),
    ("clock", &[]),
    ("failpoint", &[]),
    ("metrics", &[]),
];

/// Libraries that stay where they are used: each with the beginnings of the paths that may name it.
const FENCES: &[(&str, &[&str])] = &[
    ("rusqlite", &["src/storage/records/sqlite"]),
    ("redis", &["src/storage/records/redis"]),
    ("aws_sdk_s3", &["src/storage/blob/s3"]),
    ("axum", &["src/http/"]),
    ("hyper", &["src/http/"]),
    ("hyper_util", &["src/http/"]),
    ("tower", &["src/http/"]),
    ("tower_http", &["src/http/"]),
    ("tower_governor", &["src/http/"]),
    ("governor", &["src/http/"]),
    ("http_body", &["src/http/"]),
    ("http_body_util", &["src/http/"]),
    ("headers", &["src/http/"]),
    ("askama", &["src/http/pages/"]),
    ("aes_gcm", &["src/crypto/"]),
    ("hkdf", &["src/crypto/"]),
    ("hmac", &["src/crypto/"]),
    ("argon2", &["src/crypto/"]),
    ("clap", &["src/cli"]),
    ("anyhow", &["src/cli"]),
    ("prometheus_client", &["src/metrics"]),
    ("procfs", &["src/metrics/process.rs"]),
    ("toml", &["src/config"]),
    ("tracing_subscriber", &["src/telemetry.rs", "src/config"]),
];

/// A file that is longer has two jobs.
const LONGEST_FILE: usize = 500;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below `src/`, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let rust = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "rs");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text)
    };
    let found: BTreeMap<_, _> = files_below(&root().join("src")).into_iter().filter(rust).map(read).collect();
    assert!(found.len() > 50, "only {} sources were found", found.len());
    found
}

/// The code without comments, the text of strings and characters, and items for tests.
fn code_of(source: &str) -> String {
    let mut code = String::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(hashes) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let begin = hashes + 2;
            rest[begin..].find(&end).map_or(rest.len(), |at| begin + at + end.len())
        } else if first == '"' {
            quoted(rest, '"').unwrap_or(rest.len())
        } else if first == '\'' {
            character(rest).unwrap_or(0)
        } else {
            0
        };
        if skipped > 0 {
            code.push(' ');
            rest = &rest[skipped..];
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    without_tests(&code)
}

/// How many `#` a raw string that begins here has.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r')?;
    let hashes = rest.bytes().take_while(|byte| *byte == b'#').count();
    rest[hashes..].starts_with('"').then_some(hashes)
}

/// The length of a quoted text with its quotes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at + 1)
    })
}

/// The length of a character in quotes; none for a lifetime.
fn character(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    let (_, second) = chars.next()?;
    if second == '\\' {
        return quoted(text, '\'');
    }
    chars.next().filter(|(_, third)| *third == '\'').map(|(at, _)| at + 1)
}

/// Without what stands behind `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let Some((before, after)) = code.split_once("#[cfg(test)]") else { return code.to_owned() };
    let mut depth = 0_usize;
    let end = after.char_indices().find_map(|(at, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0 && (c == '}' || c == ';')).then_some(at + 1)
    });
    format!("{before}{}", without_tests(&after[end.unwrap_or(after.len())..]))
}

/// Names, `::`, and every other sign by itself.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let name = |c: char| c.is_alphanumeric() || c == '_';
        let length = if name(first) {
            rest.find(|c| !name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        found.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    found
}

/// The rooms that a file names: by `crate::`, `burnbag::`, or by `super::` up to the top. `depth` is the number of modules
/// that the file lies in, itself counted.
fn rooms_named(source: &str, depth: usize) -> BTreeSet<String> {
    let code = code_of(source);
    let tokens = tokens(&code);
    let mut rooms = BTreeSet::new();
    for at in 0..tokens.len() {
        let free = at == 0 || tokens[at - 1] != "::";
        let mut next = at + 2;
        if !free || tokens.get(at + 1) != Some(&"::") {
            continue;
        }
        match tokens[at] {
            "crate" | "burnbag" => {}
            "super" => {
                let mut up = 1;
                while tokens.get(next) == Some(&"super") {
                    (up, next) = (up + 1, next + 2);
                }
                if up < depth {
                    continue;
                }
            }
            _ => continue,
        }
        rooms.extend(first_names(&tokens[next..]).into_iter().map(str::to_owned));
    }
    rooms
}

/// The name that a path goes on with, or those of a group in braces.
fn first_names<'a>(tokens: &[&'a str]) -> Vec<&'a str> {
    if tokens.first() != Some(&"{") {
        return tokens.first().copied().into_iter().collect();
    }
    let mut names = Vec::new();
    let mut depth = 0;
    for pair in tokens.windows(2) {
        match pair[0] {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        match depth {
            0 => break,
            1 if matches!(pair[0], "{" | ",") && pair[1] != "}" => names.push(pair[1]),
            _ => {}
        }
    }
    names
}

/// Whether a file names a library.
fn names_library(source: &str, library: &str) -> bool {
    let code = code_of(source);
    let tokens = tokens(&code);
    (0..tokens.len()).any(|at| {
        let begins = at == 0 || tokens[at - 1] != "::";
        let goes_on = tokens.get(at + 1) == Some(&"::");
        tokens[at] == library && begins && (goes_on || at > 0 && tokens[at - 1] == "use")
    })
}

/// `src/http/edge/mod.rs` is the room `http`, two modules deep; `src/app.rs` the room `app`, one deep.
fn room_of(path: &str) -> (String, usize) {
    let parts: Vec<_> =
        Path::new(path).with_extension("").iter().skip(1).map(|p| p.to_str().unwrap().to_owned()).collect();
    let depth = parts.len() - usize::from(parts.last().is_some_and(|last| last == "mod"));
    (parts[0].clone(), depth)
}

#[test]
fn a_room_knows_only_the_rooms_that_it_may_know() {
    let allowed: BTreeMap<_, _> = ROOMS.iter().copied().collect();
    let mut broken = Vec::new();
    for (path, source) in sources() {
        if path == "src/lib.rs" {
            continue;
        }
        let (room, depth) = room_of(&path);
        let Some(may_know) = allowed.get(room.as_str()) else {
            broken.push(format!("{path} lies in the room {room}, which is not in the table"));
            continue;
        };
        let forbidden = rooms_named(&source, depth).into_iter().filter(|named| *named != room);
        for named in forbidden.filter(|named| !may_know.contains(&named.as_str())) {
            broken.push(format!("{path}: {room} must not know {named}"));
        }
    }
    assert!(broken.is_empty(), "see docs/ARCHITECTURE.md, \"Rooms\":\n{}", broken.join("\n"));
}

#[test]
fn a_library_stays_in_its_room() {
    let sources = sources();
    let mut broken = Vec::new();
    for (library, places) in FENCES {
        let outside = sources.iter().filter(|(path, _)| !places.iter().any(|place| path.starts_with(place)));
        for (path, _) in outside.filter(|(_, source)| names_library(source, library)) {
            broken.push(format!("{path}: {library} may be named only in {places:?}"));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn no_file_is_so_long_that_it_has_two_jobs() {
    let lines = |source: &String| source.lines().count();
    let long: Vec<_> = sources().into_iter().filter(|(_, source)| lines(source) > LONGEST_FILE).collect();
    let long: Vec<_> = long.iter().map(|(path, source)| format!("{path}: {} lines", lines(source))).collect();
    assert!(long.is_empty(), "more than {LONGEST_FILE} lines:\n{}", long.join("\n"));
}

#[test]
fn the_page_shows_the_same_table() {
    let page = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let names = |cell: &str| {
        let names = cell.split(',').map(|name| name.trim().trim_matches('`').to_owned());
        names.filter(|name| !name.is_empty() && name != "nothing").collect::<BTreeSet<_>>()
    };
    let row = |line: &str| {
        let cells: Vec<_> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [room, _, knows] = cells.as_slice() else { return None };
        Some((room.trim_matches('`').to_owned(), names(knows)))
    };
    let section = page.split("## Rooms").nth(1).unwrap().split("\n## ").next().unwrap();
    let shown: BTreeMap<_, _> =
        section.lines().filter(|line| line.starts_with("| `")).filter_map(row).collect();
    let table: BTreeMap<_, _> = ROOMS
        .iter()
        .map(|(room, knows)| ((*room).to_owned(), knows.iter().map(|name| (*name).to_owned()).collect()))
        .collect();
    assert_eq!(shown, table);
}

#[test]
fn the_reader_of_sources_finds_every_form_of_a_path() {
    let rooms = |source, depth| rooms_named(source, depth).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(rooms("use crate::http::router;", 1), "http");
    assert_eq!(rooms("use crate::{app::App, clock::{self, Clock}, config};", 1), "app clock config");
    assert_eq!(rooms("fn f(x: &'a crate::crypto::Key) -> char { '\"' }", 1), "crypto");
    assert_eq!(rooms("use super::http;", 1), "http");
    assert_eq!(rooms("use super::http; use super::super::audit;", 2), "audit");
    assert_eq!(rooms("fn main() { burnbag::cli::run() }", 1), "cli");
    assert_eq!(rooms("pub(crate) struct S; use other::crate::x;", 1), "");
}

#[test]
fn the_reader_of_sources_skips_what_is_no_code() {
    let rooms = |source| rooms_named(source, 1).into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(rooms("// crate::http\n/// [`crate::app`]\n/* crate::audit */ use crate::clock;"), "clock");
    assert_eq!(
        rooms("let a = \"crate::http crate::app\"; let b = r#\"crate::\"audit\"\"#; crate::clock::x();"),
        "clock"
    );
    assert_eq!(rooms("#[cfg(test)]\nmod tests { fn f() { crate::http::x() } }\nuse crate::clock;"), "clock");
    assert_eq!(rooms("#[cfg(test)]\nuse crate::http;\nuse crate::clock;"), "clock");
    assert!(names_library("use axum::Router;", "axum"));
    assert!(names_library("let x = axum::Error::new(y);", "axum"));
    assert!(names_library("use axum as web;", "axum"));
    assert!(!names_library("// axum::Router\nlet axum = 1; own::axum::f();", "axum"));
    assert_eq!(room_of("src/http/edge/mod.rs"), ("http".to_owned(), 2));
    assert_eq!(room_of("src/app.rs"), ("app".to_owned(), 1));
}
