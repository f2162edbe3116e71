use std::env;
use std::process::Command;

use crate::launch::bind;

/// A `cargo` to build with, from a program that cargo itself has started; it ends with the thread that
/// starts it.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    forget_package(&mut command);
    bind(command.stdin(std::process::Stdio::null()));
    command
}

/// Keeps from `command` which package this program belongs to, as cargo has told it.
///
/// Handed on, this would look to some build scripts (ring's) like a change, and all that depends on
/// them would be compiled again.
pub fn forget_package(command: &mut Command) {
    let told = env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    });
    for name in told {
        command.env_remove(name);
    }
}
