use redis::Cmd;

/// A script that the server keeps by its hash.
#[derive(Debug)]
pub(crate) struct Script(redis::Script, &'static str);

/// One run of a script.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    script: &'a Script,
    keys: Vec<String>,
    arguments: Vec<i64>,
}

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self(redis::Script::new(text), text)
    }

    pub(crate) fn run(&self, keys: Vec<String>, arguments: Vec<i64>) -> Run<'_> {
        Run { script: self, keys, arguments }
    }
}

impl Run<'_> {
    /// By hash: the usual way.
    pub(crate) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", self.script.0.get_hash())
    }

    /// By text, for a server that does not know the hash, as after a restart. It keeps the script.
    pub(crate) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.1)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len()).arg(&self.keys).arg(&self.arguments);
        command
    }
}
