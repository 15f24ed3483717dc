use redis::{Arg, Cmd};

/// A script that the server keeps by its hash.
#[derive(Debug)]
pub(crate) struct Script {
    hash: String,
    text: &'static str,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { hash: redis::Script::new(text).get_hash().to_owned(), text }
    }

    /// Begins a run over so many keys, by hash: the keys come next, and then what else there is.
    pub(crate) fn run(&self, keys: usize) -> Cmd {
        // A key is about as long as the hash, and followed by a few numbers.
        let mut command = Cmd::with_capacity(3 + 6 * keys, 64 + 160 * keys);
        command.arg("EVALSHA").arg(&self.hash).arg(keys);
        command
    }

    /// The same run by text, for a server that does not know the hash, as after a restart. It keeps
    /// the script.
    pub(crate) fn run_by_text(&self, run: &Cmd) -> Cmd {
        let mut command = redis::cmd("EVAL");
        command.arg(self.text);
        for argument in run.args_iter().skip(2) {
            if let Arg::Simple(argument) = argument {
                command.arg(argument);
            }
        }
        command
    }
}
