//! `deploy/redis/` on a real server: what it keeps, and what burnbag's user may do in it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::{files_below, free_port, wait_for};
use crate::wiring::{Secrets, file, said};

/// A Redis with `deploy/redis/redis.conf`, but for what a container has of its own: network, directory, secrets.
pub struct Redis {
    child: Child,
    port: u16,
    pub secrets: Secrets,
    _data: TempDir,
}

impl Redis {
    pub async fn start() -> Self {
        let (secrets, data, port) = (Secrets::make(), tempfile::tempdir().unwrap(), free_port());
        let child = Command::new("redis-server")
            .arg(file("deploy/redis/redis.conf"))
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--aclfile"])
            .arg(secrets.path("redis_users.acl"))
            .current_dir(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("redis-server cannot be started ({error}): run ./check once"));
        let redis = Self { child, port, secrets, _data: data };
        wait_for("redis-server", async || redis.ask("health", "any", &["PING"]).ok()).await;
        redis
    }

    /// `redis-cli` as a user. `timeout` ends one that waits for what does not come.
    fn client(&self, user: &str, password: &str) -> Command {
        let mut command = Command::new("timeout");
        command.args(["20", "redis-cli", "-e", "-p", &self.port.to_string()]);
        if !user.is_empty() {
            command.args(["--no-auth-warning", "--user", user, "--pass", password]);
        }
        command.stdin(Stdio::null());
        command
    }

    /// The answer to one command, or what is wrong with it.
    fn ask(&self, user: &str, password: &str, words: &[&str]) -> Result<String, String> {
        let asked = self.client(user, password).args(words).output().unwrap();
        let said = said(&asked);
        if asked.status.success() { Ok(said) } else { Err(said) }
    }

    /// The same as burnbag, with the password that `BURNBAG_REDIS_URL` has.
    fn burnbag(&self, words: &[&str]) -> Result<String, String> {
        self.ask("burnbag", &self.password(), words)
    }

    /// What burnbag gets as `BURNBAG_REDIS_URL`, but for the name of the container.
    pub fn url(&self) -> String {
        self.secrets.read("redis_url").replace("@redis:6379", &format!("@127.0.0.1:{}", self.port))
    }

    fn password(&self) -> String {
        let url = self.secrets.read("redis_url");
        let password = url.strip_prefix("redis://burnbag:").unwrap().split('@').next().unwrap();
        password.to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_redis_of_ours_keeps_what_it_answered() {
    let redis = Redis::start().await;
    for (setting, value) in [
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
        ("hash-max-listpack-value", "4096"),
        ("save", ""),
    ] {
        let answer = redis.burnbag(&["CONFIG", "GET", setting]).unwrap();
        assert_eq!(answer.trim_end(), format!("{setting}\n{value}").trim_end());
    }
}

/// Scripts have the rights of who runs them. So what they and the code around them call must stand in the rights.
#[test]
fn burnbags_user_in_redis_may_call_what_the_store_calls() {
    let rights = std::fs::read_to_string(file("deploy/redis/users.acl")).unwrap();
    let user = rights.lines().find(|line| line.starts_with("user burnbag ")).unwrap();
    let allowed: Vec<_> = user.split(' ').filter_map(|word| word.strip_prefix('+')).collect();
    let mut called = 0;
    for source in files_below(&file("src/storage/records/redis")) {
        let text = std::fs::read_to_string(&source).unwrap();
        let calls =
            ["redis.call('", "redis.pcall('", "cmd(\""].into_iter().flat_map(|call| text.split(call).skip(1));
        for call in calls {
            let command = call.split(['\'', '"']).next().unwrap().to_lowercase();
            let may = allowed.iter().any(|word| *word == command || word.starts_with(&format!("{command}|")));
            assert!(may, "{} calls {command}: add it to deploy/redis/users.acl", source.display());
            called += 1;
        }
    }
    assert!(called > 20, "only {called} calls were found: does the store look different now?");
}

#[tokio::test]
async fn a_key_that_expires_is_heard_of_by_burnbags_user() {
    let redis = Redis::start().await;
    let mut listener = redis.client("burnbag", &redis.password());
    let mut listener =
        listener.args(["SUBSCRIBE", "__keyevent@0__:expired"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(listener.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Its answer to the subscription: three lines.
    assert_eq!(lines.by_ref().take(3).collect::<Vec<_>>(), ["subscribe", "__keyevent@0__:expired", "1"]);
    let expires = "local now = redis.call('TIME')
        redis.call('HSET', KEYS[1], 'owner', 'slot')
        return redis.call('PEXPIREAT', KEYS[1], now[1] * 1000 + math.floor(now[2] / 1000) + 20)";
    redis.burnbag(&["EVAL", expires, "1", "bb:{bb.0}:keys:1"]).unwrap();
    assert_eq!(lines.nth(2).as_deref(), Some("bb:{bb.0}:keys:1"));
    listener.kill().unwrap();
    listener.wait().unwrap();
}

#[tokio::test]
async fn burnbags_user_in_redis_can_touch_only_its_own() {
    let redis = Redis::start().await;
    let own = &["EVAL", "return redis.call('HSET', KEYS[1], 'a', 1)", "1", "bb:{bb.0}:t:1"];
    assert_eq!(redis.burnbag(own).unwrap().trim(), "1");
    for forbidden in [
        &["FLUSHALL"][..],
        &["FLUSHDB"],
        &["KEYS", "others:*"],
        &["SCAN", "0"],
        &["RANDOMKEY"],
        &["HGETALL", "others:key"],
        &["SHUTDOWN"],
        &["CONFIG", "SET", "appendonly", "no"],
        &["CONFIG", "REWRITE"],
        &["ACL", "SETUSER", "burnbag", "+@all"],
        &["REPLICAOF", "127.0.0.1", "1"],
        &["MODULE", "LIST"],
        &["MONITOR"],
        &["SUBSCRIBE", "others"],
        &["EVAL", "return redis.call('HGETALL', KEYS[1])", "1", "others:key"],
        &["EVAL", "return redis.call('HGETALL', 'others:key')", "0"],
        &["EVAL", "return redis.call('FLUSHALL')", "0"],
    ] {
        let refused = redis.burnbag(forbidden);
        let said = refused.as_ref().err().unwrap_or_else(|| panic!("{forbidden:?} is allowed"));
        let denied = said.contains("NOPERM") || said.contains("user executing the script can't");
        assert!(denied, "{forbidden:?}: {said}");
    }
    // Whoever has no password has nothing, and `health` only PING.
    assert!(redis.ask("", "", &["PING"]).unwrap_err().contains("NOAUTH"));
    assert!(redis.ask("burnbag", "wrong", &["PING"]).is_err());
    assert!(redis.ask("health", "any", &own[..]).unwrap_err().contains("NOPERM"));
}
