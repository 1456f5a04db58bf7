//! The scripts: files beside this one, each behind `common.lua` and under the flags that Redis is to know of it.

use std::fmt::Display;
use std::sync::LazyLock;

use redis::{Cmd, Script, Value};

/// One script under one set of flags.
pub(super) struct Loaded {
    code: String,
    hash: String,
}

/// When a script runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It writes, and is refused by a full Redis before it begins.
    Writes,
    /// It writes what makes room in the end, and refuses all else: it runs in a full Redis too.
    Frees,
    /// It only reads.
    Reads,
}

fn loaded(kind: Kind, body: &str) -> Loaded {
    let flags = match kind {
        Kind::Writes => "",
        Kind::Frees => " flags=allow-oom",
        Kind::Reads => " flags=no-writes",
    };
    let freeing = kind == Kind::Frees;
    let code = format!("#!lua{flags}\nlocal freeing = {freeing}\n{}{body}", include_str!("common.lua"));
    let hash = Script::new(&code).get_hash().to_owned();
    Loaded { code, hash }
}

macro_rules! scripts {
    ($($(#[$doc:meta])* $name:ident = $kind:ident $file:literal;)+) => {$(
        $(#[$doc])*
        pub(super) static $name: LazyLock<Loaded> = LazyLock::new(|| loaded(Kind::$kind, include_str!($file)));
    )+};
}

scripts! {
    COMMIT = Writes "commit.lua";
    /// [`COMMIT`] for what only takes away: a link's slot, or a record that is forgotten.
    TAKE = Frees "commit.lua";
    END = Frees "end.lua";
    READ = Reads "read.lua";
    READ_LEASES = Reads "leases.lua";
    LEASE = Writes "lease.lua";
    /// [`LEASE`] for all but taking one.
    LEASE_ON = Frees "lease.lua";
    TRY = Writes "try.lua";
    /// [`TRY`] for what is given back.
    TRY_BACK = Frees "try.lua";
    UNLOCK = Frees "unlock.lua";
    TOUCH = Writes "touch.lua";
    RETRY = Frees "retry.lua";
    CLAIM = Frees "claim.lua";
    APPEND = Writes "append.lua";
    TRIM = Frees "trim.lua";
    ROLL = Frees "roll.lua";
    ACCESS = Writes "access.lua";
    USAGE = Writes "usage.lua";
    USED = Writes "used.lua";
    SESSIONS = Frees "sessions.lua";
    /// In a full Redis too, where what it writes is gone soon: a deletion is counted like any request.
    RATE = Frees "rate.lua";
    META = Writes "meta.lua";
}

/// A script with what it is about. Every key that it touches is among its keys, and all lie in one slot.
pub(super) struct Call {
    script: &'static Loaded,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

impl Call {
    pub(super) fn new(script: &'static Loaded, keys: impl IntoIterator<Item = String>) -> Self {
        Self { script, keys: keys.into_iter().collect(), args: Vec::new() }
    }

    pub(super) fn keys(mut self, keys: impl IntoIterator<Item = String>) -> Self {
        self.keys.extend(keys);
        self
    }

    pub(super) fn arg(mut self, arg: impl Display) -> Self {
        self.args.push(format!("{arg}").into_bytes());
        self
    }

    pub(super) fn bytes(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// By its hash, which a Redis knows that has seen it.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &self.script.hash)
    }

    /// With its text, which that Redis then knows.
    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", &self.script.code)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for key in &self.keys {
            command.arg(key);
        }
        for arg in &self.args {
            command.arg(arg.as_slice());
        }
        command
    }
}

/// Whether the answer is that Redis does not know the script.
pub(super) fn is_unknown(answer: &Result<Value, redis::RedisError>) -> bool {
    answer.as_ref().is_err_and(|error| error.code() == Some("NOSCRIPT"))
}
