use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use servers::ProcessId;

/// The folder of the build that this test program belongs to: `target/release`.
pub(crate) fn build_folder() -> PathBuf {
    let program = env::current_exe().expect("a test program knows its own path");
    // target/PROFILE/deps/NAME-HASH
    program.ancestors().nth(2).expect("cargo puts tests in target/PROFILE/deps").to_owned()
}

pub(crate) fn workspace() -> &'static Path {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.ancestors().nth(2).expect("testkit is in libs/ of the workspace")
}

/// Where Kafka's jars are kept between runs.
pub(crate) fn cache() -> PathBuf {
    env::var_os("GOSTOCKS_CACHE")
        .map_or_else(|| workspace().join(".stack").join("cache"), PathBuf::from)
}

/// A new folder for one server or program of this test program.
///
/// A static server's folder outlives the program, which ends without running destructors: so the
/// folders of programs that are no more are removed at the first call.
pub(crate) fn folder(name: &str) -> PathBuf {
    static SWEEP: Once = Once::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);

    let root = build_folder().with_file_name("testkit");
    fs::create_dir_all(&root).expect("the target folder is ours");
    SWEEP.call_once(|| sweep(&root));
    let owner = ProcessId::of(process::id()).expect("this program runs");
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = root.join(format!("{}-{}-{count}-{name}", owner.pid, owner.started));
    fs::create_dir_all(&folder).expect("the target folder is ours");
    folder
}

fn sweep(root: &Path) {
    let Ok(entries) = fs::read_dir(root) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let mut parts = name.to_str().unwrap_or_default().split('-').map(str::parse);
        let (Some(Ok(pid)), Some(Ok(started))) = (parts.next(), parts.next()) else { continue };
        let started: u64 = started;
        let alive = u32::try_from(pid).is_ok_and(|pid| ProcessId { pid, started }.is_alive());
        if !alive {
            // Another test program may be sweeping too.
            let _ = remove(&entry.path());
        }
    }
}

/// In a folder of ours: the path of another one that goes with it.
const LENT: &str = "lent";

/// Notes that `folder` keeps something in `elsewhere` too.
pub(crate) fn lend(folder: &Path, elsewhere: &Path) -> io::Result<()> {
    fs::write(folder.join(LENT), elsewhere.as_os_str().as_encoded_bytes())
}

/// Removes a folder of ours, and what it keeps elsewhere.
pub(crate) fn remove(folder: &Path) -> io::Result<()> {
    if let Ok(elsewhere) = fs::read(folder.join(LENT)) {
        fs::remove_dir_all(OsStr::from_bytes(&elsewhere))?;
    }
    fs::remove_dir_all(folder)
}
