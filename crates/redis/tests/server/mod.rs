//! A server of the test's own, on a port of its own.

#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Ends with the value.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts `redis-server`, or what `BARTIZAN_REDIS_SERVER` names instead, and waits until it
    /// answers.
    pub(crate) fn start() -> Self {
        // Free now. Should another process take it in between, the next port is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = spawn(port) {
                return Self { child, port };
            }
        }
        panic!("the server does not start: see whether it runs by hand");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it anew on its port, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port).expect("the port was this server's own");
    }

    /// Has it stop answering without closing a connection.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Says a command that needs no quoting, and returns the raw answer.
    pub(crate) fn say(&self, command: &str) -> String {
        say(self.port, command).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16) -> Option<Child> {
    let program = std::env::var("BARTIZAN_REDIS_SERVER");
    let program = program.as_deref().unwrap_or("redis-server");
    let directory = std::env::temp_dir();
    let mut child = Command::new(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--dir", directory.to_str().unwrap()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot run {program}, so install it: {error}"));
    for _ in 0..1000 {
        if say(port, "PING").is_some_and(|answer| answer.starts_with("+PONG")) {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{program} does not answer on port {port}");
}

fn say(port: u16, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\r\nQUIT\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
