use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

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
        let kill = Command::new("kill").arg(self.child.id().to_string()).status();
        assert!(kill.unwrap().success());
        self.child.wait().unwrap()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
