use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files that the program may have open, connections among them, to what the
/// system allows: the usual default of 1,024 is for programs that use `select`.
pub(crate) fn allow_many() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        // Connections past it wait in the kernel's backlog.
        tracing::warn!("cannot raise the number of open files: {error}");
    }
}
