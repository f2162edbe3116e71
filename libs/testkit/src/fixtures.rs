use std::env;
use std::path::PathBuf;

use crate::scratch::{cache, workspace};

const REPLAY: &str = "btcusdt-2021-01-08.ndjson";

/// 2,001 real trades in Finnhub's frames, one a line: in the folder that `GOSTOCKS_SHARED_DATA`
/// names, else in `../shared/data` beside the clone. Where it is absent, says that the test skips.
pub fn replay_file() -> Option<PathBuf> {
    let folder = env::var_os("GOSTOCKS_SHARED_DATA")
        .map_or_else(|| workspace().join("../shared/data"), PathBuf::from);
    let file = folder.join(REPLAY);
    if file.is_file() {
        return Some(file);
    }
    eprintln!("skipped: there is no {} (GOSTOCKS_SHARED_DATA names its folder)", file.display());
    None
}

/// Whether to run what takes longer, as `cargo stack test --all` does.
pub fn all_tests() -> bool {
    env::var_os("GOSTOCKS_TEST_ALL").is_some_and(|value| value == "1")
}

/// schemathesis, which `cargo stack test --all` puts beside Kafka's jars. Where it is absent, says
/// that the test skips.
pub fn schemathesis() -> Option<PathBuf> {
    let program = cache().join("schemathesis/bin/st");
    if program.is_file() {
        return Some(program);
    }
    eprintln!("skipped: no {} (`cargo stack test --all` installs it)", program.display());
    None
}

/// A Python with the modules `websockets` and `google.protobuf`.
///
/// # Panics
/// Where there is none.
pub fn python() -> PathBuf {
    servers::install::python()
        .expect("a Python with websockets and protobuf (`cargo stack test` installs it)")
}
