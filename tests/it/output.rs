//! What the commands print, where nobody reads it to the end.

use std::fs::OpenOptions;
use std::process::{Child, Command, Output, Stdio};

use crate::support::{Server, command, free_port, text, wait_for};

/// A pipe that its reader has closed, as `head` does when it has what it wants.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn quiet(what: &[&str], mut command: Command) -> Output {
    let output = command.args(what).stdin(Stdio::null()).output().unwrap();
    let said = text(&output.stderr);
    assert!(!said.contains("panicked") && !said.contains("roken pipe"), "{what:?}: {said}");
    output
}

#[tokio::test]
async fn a_reader_that_leaves_early_ends_no_command_with_an_error() {
    let mut server = Server::start().await;
    let audit = server.data().join("audit").display().to_string();
    let commands: [&[&str]; 6] = [
        &["serve", "--check"],
        &["health"],
        &["token", "list"],
        &["token", "create", "--reset"],
        &["audit", "verify", &audit],
        &["adopt"],
    ];
    for what in commands {
        if what == ["adopt"] {
            server.stop().await;
        }
        let run = |stdout: Stdio| {
            let mut command = command(server.environment());
            command.stdout(stdout);
            quiet(what, command)
        };
        let (heard, unheard) = (run(Stdio::piped()), run(closed()));
        assert!(!heard.stdout.is_empty(), "{what:?}");
        assert_eq!((heard.status.code(), unheard.status.code()), (Some(0), Some(0)), "{what:?}");
        // Who reads on and cannot keep it is told.
        let full = run(OpenOptions::new().write(true).open("/dev/full").unwrap().into());
        assert_eq!(full.status.code(), Some(1), "{what:?}");
        assert!(text(&full.stderr).contains("stdout cannot be written"), "{what:?}");
    }
}

#[tokio::test]
async fn without_anybody_who_reads_its_log_it_serves_and_fails_as_ever() {
    let server = Server::start().await;
    let mut beside = server.environment().to_vec();
    let port = free_port();
    let data = tempfile::tempdir().unwrap();
    beside.retain(|(name, _)| !["BURNBAG_LISTEN", "BURNBAG_DATA_DIR"].contains(&name.as_str()));
    beside.extend([
        ("BURNBAG_LISTEN".to_owned(), format!("127.0.0.1:{port}")),
        ("BURNBAG_DATA_DIR".to_owned(), data.path().display().to_string()),
        ("BURNBAG_LOG".to_owned(), "trace".to_owned()),
    ]);
    let mut unheard = command(&beside);
    unheard.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(closed());
    let _child = Ends(unheard.spawn().unwrap());
    let ready = async || {
        let asked = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
        asked.is_ok_and(|answer| answer.status() == 200).then_some(())
    };
    wait_for("a server whose log nobody reads", ready).await;
    // Another one on the same directory is refused.
    let mut second = command(&beside);
    second.stderr(closed());
    assert_eq!(quiet(&["serve"], second).status.code(), Some(1));
}

struct Ends(Child);

impl Drop for Ends {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
