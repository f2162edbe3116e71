use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A running `loadgen feed` on a free port, killed when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) url: String,
}

impl Program {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["feed", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_remove("LOG")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.by_ref().map(Result::unwrap).find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line).expect("logs are JSON");
            line["address"].as_str().map(str::to_owned)
        });
        // The pipe must not fill.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url: format!("ws://{}", address.expect("the address is logged")) }
    }

    /// SIGTERM; how it ended.
    pub(crate) fn terminate(&mut self) -> std::process::ExitStatus {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
