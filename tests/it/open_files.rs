//! How many files the process may have open: as many as its connections need, or it says so.

use std::process::{Child, Command, Stdio};

use crate::support::{free_port, wait_for};

struct Limited {
    child: Child,
    dir: tempfile::TempDir,
}

impl Limited {
    /// Under limits that a shell sets.
    fn start(limits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new("sh")
            .args(["-c", &format!("{limits}; exec \"$0\" serve"), env!("CARGO_BIN_EXE_burnbag")])
            .env_clear()
            .env("BURNBAG_DATA_DIR", dir.path().join("data"))
            .env("BURNBAG_LISTEN", format!("127.0.0.1:{}", free_port()))
            .env("BURNBAG_CONNECTIONS", "400")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    async fn log(&self) -> String {
        let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        wait_for("it listens", async || Some(log()).filter(|log| log.contains("listening"))).await
    }

    /// What is in force, soft and hard.
    fn allowed(&self) -> (u64, u64) {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        let mut words = line.split_whitespace().map(|word| word.parse().unwrap());
        (words.next().unwrap(), words.next().unwrap())
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_to_what_the_connections_need() {
    let server = Limited::start("ulimit -Sn 100; ulimit -Hn 2000");
    assert!(!server.log().await.contains("too few open files"));
    assert_eq!(server.allowed(), (928, 2000));
}

#[tokio::test]
async fn too_low_a_limit_of_open_files_is_said_with_what_to_do() {
    let server = Limited::start("ulimit -Sn 100; ulimit -Hn 300");
    let log = server.log().await;
    assert_eq!(server.allowed(), (300, 300));
    let said = log.lines().find(|line| line.contains("too few open files")).expect(&log);
    for word in ["ulimit -Hn", "BURNBAG_CONNECTIONS", "928", "300"] {
        assert!(said.contains(word), "{said}");
    }
}
