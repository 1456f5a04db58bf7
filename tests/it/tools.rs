//! Where the servers are that no Debian package brings: `minio`, its client `mc`, and `toxiproxy-server`.

use std::path::{Path, PathBuf};

/// The program of this name: from `tests/.tools`, where `./check` puts what it builds, or else from `PATH`.
///
/// What is found there runs in the version of that place: `./check` pins only what it builds itself.
pub fn tool(name: &str) -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.tools");
    #[expect(clippy::disallowed_methods, reason = "PATH is no setting")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(built)
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file());
    found.unwrap_or_else(|| {
        panic!("{name} is not installed: run ./check once, it builds {name} into tests/.tools")
    })
}

#[test]
fn what_check_builds_is_found_and_runs() {
    for (name, argument, says) in [
        ("minio", "--version", "minio version"),
        ("mc", "--version", "mc version"),
        ("toxiproxy-server", "-version", "toxiproxy"),
    ] {
        let ran = std::process::Command::new(tool(name)).arg(argument).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert!(
            ran.status.success() && said.contains(says),
            "{name} {argument}: {said}{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }
}
