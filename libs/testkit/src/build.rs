use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use servers::cargo;

use crate::scratch::{build_folder, workspace};

/// Set by whoever has just built every program: then nothing is built again.
const BUILT: &str = "GOSTOCKS_BINARIES";

/// The path of one of the workspace's programs, built if its source has changed since; once in the
/// life of a test program.
///
/// # Panics
/// Where it does not build.
pub fn binary(name: &str) -> PathBuf {
    static KNOWN: Mutex<BTreeMap<String, PathBuf>> = Mutex::new(BTreeMap::new());
    // Held over the build: two tests that want the same program build it once. A build that failed
    // is tried, and fails, again.
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(name.to_owned()).or_insert_with(|| build(name)).clone()
}

fn build(name: &str) -> PathBuf {
    if let Some(folder) = env::var_os(BUILT) {
        return PathBuf::from(folder).join(name);
    }
    let folder = build_folder();
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    // The whole workspace, so that the same features are on as for the tests and nothing is
    // compiled a second time.
    let output = cargo()
        .args(["build", "--quiet", "--workspace", "--profile", profile, "--bin", name])
        .current_dir(workspace())
        .output()
        .expect("cargo");
    assert!(
        output.status.success(),
        "{name} does not build:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    folder.join(name)
}
