use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Where things are, from the clone's root.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    /// The clone, and the working directory of the services: its `.env` applies to them.
    pub(crate) root: PathBuf,
    /// All that `up` leaves on disk: `.stack`, or the folder that `GOSTOCKS_STACK_DIR` names, for a
    /// second stack beside the first.
    pub(crate) stack: PathBuf,
    /// Downloads, kept over `down --wipe`.
    pub(crate) cache: PathBuf,
}

impl Paths {
    pub(crate) fn locate() -> anyhow::Result<Self> {
        // Cargo's word first: the program may have been built in another clone.
        let package = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = package.ancestors().nth(2).context("stack is in bins/ of the workspace")?;
        let root = fs::canonicalize(root)
            .with_context(|| format!("the clone is not at {} any more", root.display()))?;
        let stack = env::var_os("GOSTOCKS_STACK_DIR")
            .map_or_else(|| root.join(".stack"), |folder| root.join(folder));
        let cache = env::var_os("GOSTOCKS_CACHE")
            .map_or_else(|| stack.join("cache"), |folder| root.join(folder));
        for folder in [&stack, &cache] {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot create {}", folder.display()))?;
        }
        Ok(Self { root, stack, cache })
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.stack.join("logs")
    }

    /// The data of one server or service.
    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.stack.join(name)
    }

    /// `path` as a person in the clone would write it.
    pub(crate) fn short<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}
