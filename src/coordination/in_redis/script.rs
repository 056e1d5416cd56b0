//! A script that the server runs as one step.

/// Its text, with the digest by which a server that has seen it knows it.
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: redis::Script::new(text).get_hash().to_owned() }
    }

    /// The command that names it, for a server that may have seen it.
    pub(super) fn by_digest(&self, keys: &[&str], arguments: &[&str]) -> redis::Cmd {
        call("EVALSHA", &self.digest, keys, arguments)
    }

    /// The command that carries it; the server remembers it.
    pub(super) fn in_full(&self, keys: &[&str], arguments: &[&str]) -> redis::Cmd {
        call("EVAL", self.text, keys, arguments)
    }
}

fn call(name: &str, script: &str, keys: &[&str], arguments: &[&str]) -> redis::Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    command
}
