//! The scripts. Every write is one of them, so that its number, what it writes and its event are one
//! step.

use std::fmt::Display;

use redis::{Arg, Cmd, RedisWrite as _};

use super::super::{Lease, Number};
use super::names::Names;

/// A script that publishes changes: the parts, of which the first is the common one.
macro_rules! script {
    ($($file:literal),+) => {
        Script::new(concat!(include_str!("lua/common.lua"), $(include_str!(concat!("lua/", $file, ".lua"))),+))
    };
}

/// A script that publishes no change, and so goes without the common part.
macro_rules! plain {
    ($file:literal) => {
        Script::new(include_str!(concat!("lua/", $file, ".lua")))
    };
}

/// A script's source and digest.
#[derive(Debug)]
pub(super) struct Script {
    source: &'static str,
    sha: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Scripts {
    pub enter: Script,
    pub publish: Script,
    pub entry: Script,
    pub lease: Script,
    pub renew: Script,
    pub release: Script,
    pub put: Script,
    pub announce: Script,
    pub delete: Script,
    pub list: Script,
    pub trim: Script,
    pub draw: Script,
}

/// A call of a script.
#[derive(Debug)]
pub(super) struct Call<'a> {
    script: &'a Script,
    by_digest: Cmd,
}

// === impl Script ===

impl Script {
    fn new(source: &'static str) -> Self {
        let sha = redis::Script::new(source).get_hash().to_owned();
        Self { source, sha }
    }

    /// A call for the key of `name`, and for the keys of more names.
    pub(super) fn call(&self, names: &Names, name: &str, seen: Number, more: &[&str]) -> Call<'_> {
        self.with_room(names, name, seen, more, 0)
    }

    /// As [`Script::call`], for arguments of about so many bytes.
    pub(super) fn with_room(
        &self,
        names: &Names,
        name: &str,
        seen: Number,
        more: &[&str],
        room: usize,
    ) -> Call<'_> {
        let mut call = self.begin(4 + more.len(), room);
        let cmd = &mut call.by_digest;
        cmd.write_arg(names.last.as_bytes());
        cmd.write_arg_fmt(format_args!("{}{name}", names.before));
        cmd.write_arg(names.index.as_bytes());
        cmd.write_arg(names.expiry.as_bytes());
        for name in more {
            cmd.write_arg_fmt(format_args!("{}{name}", names.before));
        }
        call.arg(&names.channel).number(seen).arg(name)
    }

    /// A call over the index: a listing or a trim.
    pub(super) fn over_index(&self, names: &Names) -> Call<'_> {
        self.begin(2, 0).arg(&names.index).arg(&names.expiry).arg(&names.before)
    }

    /// A call that reads what is at `name`.
    pub(super) fn at(&self, names: &Names, name: &str) -> Call<'_> {
        let mut call = self.begin(1, 0);
        call.by_digest.write_arg_fmt(format_args!("{}{name}", names.before));
        call.by_digest.write_arg_fmt(format_args!("{}{name}/", names.bytes));
        call
    }

    /// A call for the bucket called `name`.
    pub(super) fn at_bucket(&self, names: &Names, name: &str) -> Call<'_> {
        self.begin(1, 0).arg(names.of_bucket(name))
    }

    fn begin(&self, keys: usize, room: usize) -> Call<'_> {
        let mut by_digest = Cmd::with_capacity(20, 512 + room);
        by_digest.write_arg(b"EVALSHA");
        by_digest.write_arg(self.sha.as_bytes());
        by_digest.write_arg_fmt(keys);
        Call { script: self, by_digest }
    }
}

// === impl Scripts ===

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            enter: script!("grant", "enter"),
            publish: script!("publish"),
            entry: plain!("entry"),
            lease: script!("grant", "lease"),
            renew: script!("grant", "renew"),
            release: script!("release"),
            put: script!("put"),
            announce: script!("announce"),
            delete: script!("delete"),
            list: plain!("list"),
            trim: plain!("trim"),
            draw: plain!("draw"),
        }
    }
}

// === impl Call ===

impl Call<'_> {
    pub(super) fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.by_digest.write_arg(arg.as_ref());
        self
    }

    pub(super) fn number(mut self, number: impl Display) -> Self {
        self.by_digest.write_arg_fmt(number);
        self
    }

    /// Adds a lease as it is written at its key.
    pub(super) fn lease(mut self, lease: &Lease) -> Self {
        self.by_digest.write_arg_fmt(format_args!("l{} {}", lease.token, lease.holder));
        self
    }

    /// Adds the fence: the lease as it must be written at its key.
    pub(super) fn fenced(self, fence: Option<&Lease>) -> Self {
        match fence {
            Some(lease) => self.lease(lease),
            None => self,
        }
    }

    /// By digest, for a server that has the script.
    pub(super) fn by_digest(&self) -> &Cmd {
        &self.by_digest
    }

    /// In full, for a server that lacks it; it has it then.
    pub(super) fn in_full(&self) -> Cmd {
        let mut call = Cmd::new();
        call.arg("EVAL").arg(self.script.source);
        for arg in self.by_digest.args_iter().skip(2) {
            if let Arg::Simple(arg) = arg {
                call.write_arg(arg);
            }
        }
        call
    }
}
