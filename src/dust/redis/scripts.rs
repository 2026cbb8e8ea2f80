//! The scripts. Every write is one of them, so that its number, what it writes and its event are one
//! step.

use redis::{Cmd, cmd};

use super::super::{Lease, Number};
use super::names::Names;
use super::value;

macro_rules! script {
    ($file:literal) => {
        Script::new(concat!(include_str!("lua/common.lua"), include_str!(concat!("lua/", $file, ".lua"))))
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
    pub lease: Script,
    pub renew: Script,
    pub release: Script,
    pub put: Script,
    pub announce: Script,
    pub delete: Script,
    pub list: Script,
    pub trim: Script,
}

/// A call of a script, before it is known whether the server has it.
#[derive(Debug)]
pub(super) struct Call<'a> {
    script: &'a Script,
    keys: Vec<String>,
    args: Vec<Vec<u8>>,
}

// === impl Script ===

impl Script {
    fn new(source: &'static str) -> Self {
        let sha = redis::Script::new(source).get_hash().to_owned();
        Self { source, sha }
    }

    /// A call for the key of `name`.
    pub(super) fn call(&self, names: &Names, name: &str, seen: Number, fence: Option<&Lease>) -> Call<'_> {
        let mut keys = vec![names.last.clone(), names.key(name), names.index.clone(), names.expiry.clone()];
        keys.extend(fence.map(|lease| names.key(&lease.key)));
        let call = Call { script: self, keys, args: Vec::with_capacity(6) };
        call.arg(&*names.channel).arg(seen.to_string()).arg(name)
    }

    /// A call over the index: a listing or a trim.
    pub(super) fn over_index(&self, names: &Names) -> Call<'_> {
        let keys = vec![names.index.clone(), names.expiry.clone()];
        let call = Call { script: self, keys, args: Vec::with_capacity(5) };
        call.arg(&*names.before)
    }
}

// === impl Scripts ===

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            lease: script!("lease"),
            renew: script!("renew"),
            release: script!("release"),
            put: script!("put"),
            announce: script!("announce"),
            delete: script!("delete"),
            list: plain!("list"),
            trim: plain!("trim"),
        }
    }
}

// === impl Call ===

impl Call<'_> {
    pub(super) fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().to_vec());
        self
    }

    /// Adds the fence: the lease as it must be written at its key.
    pub(super) fn fenced(self, fence: Option<&Lease>) -> Self {
        match fence {
            Some(lease) => self.arg(value::lease(lease)),
            None => self,
        }
    }

    /// By digest, for a server that has the script.
    pub(super) fn by_name(&self) -> Cmd {
        self.with("EVALSHA", &self.script.sha)
    }

    /// In full, for a server that lacks it; it has it then.
    pub(super) fn in_full(&self) -> Cmd {
        self.with("EVAL", self.script.source)
    }

    fn with(&self, command: &str, what: &str) -> Cmd {
        let mut call = cmd(command);
        call.arg(what).arg(self.keys.len()).arg(&self.keys);
        for arg in &self.args {
            call.arg(arg.as_slice());
        }
        call
    }
}
