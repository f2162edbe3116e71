use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::catalogue::{Kind, member};
use crate::paths::Paths;
use crate::state::{Entry, Lock, State};
use crate::ui::Ui;

/// Past a service's own deadline for its drain, and Kafka's for its controlled shutdown.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes down each process the moment it is started, so that whatever happens next, it can be
/// ended. Shared with the thread that waits for Ctrl-C.
#[derive(Clone, Debug)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Debug)]
pub(crate) struct Book {
    paths: Paths,
    pub(crate) state: State,
    /// The names of what this run of the program has started.
    started: Vec<&'static str>,
    /// Held while starting and ending; not while the stack just runs.
    lock: Option<Lock>,
}

impl Ledger {
    pub(crate) fn open(paths: &Paths) -> anyhow::Result<Self> {
        let lock = Some(Lock::take(paths)?);
        let state = State::load(paths)?;
        Ok(Self(Arc::new(Mutex::new(Book {
            paths: paths.clone(),
            state,
            started: Vec::new(),
            lock,
        }))))
    }

    /// Whoever holds it decides what starts and ends: a Ctrl-C waits for a start to be written
    /// down, and no start begins once it has come.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    pub(crate) fn record(&mut self, name: &'static str, entry: Entry) -> anyhow::Result<()> {
        if entry.process.is_some() {
            self.started.push(name);
        }
        self.state.entries.insert(name.to_owned(), entry);
        self.state.save(&self.paths)
    }

    /// Lets other commands at the stack, which runs now.
    pub(crate) fn settle(&mut self) {
        self.lock = None;
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.lock.is_none()
    }

    pub(crate) fn started(&self) -> &[&'static str] {
        &self.started
    }

    /// Ends what this run has started, as far as it still runs, and nothing else.
    pub(crate) fn end_started(&mut self, ui: &Ui) -> anyhow::Result<()> {
        let Self { paths, started, .. } = self;
        let mine: Vec<_> = started
            .iter()
            .filter_map(|name| Some((*name, self.state.entries.get(*name)?.process?)))
            .collect();
        if self.lock.is_none() {
            self.lock = Some(Lock::wait(paths)?);
            // Another command may have changed it since.
            self.state = State::load(paths)?;
        }
        let names: Vec<&str> = mine
            .into_iter()
            .filter(|(name, process)| {
                self.state.entries.get(*name).is_some_and(|entry| entry.process == Some(*process))
            })
            .map(|(name, _)| name)
            .collect();
        end(&mut self.state, &names, ui);
        self.started.clear();
        self.state.save(&self.paths)
    }
}

/// Ends those processes, the servers only once the services have drained into them, and forgets
/// them.
pub(crate) fn end(state: &mut State, names: &[&str], ui: &Ui) {
    let is_service = |name: &&str| member(name).is_some_and(|m| m.kind == Kind::Service);
    let (services, servers): (Vec<&str>, Vec<&str>) =
        names.iter().partition(|name| is_service(name));
    for group in [services, servers] {
        thread::scope(|scope| {
            for name in &group {
                let Some(entry) = state.entries.get(*name) else { continue };
                let Some(process) = entry.process else { continue };
                let signal = entry.stop_signal();
                scope.spawn(move || {
                    let task = ui.task(name);
                    let had_run = process.is_alive();
                    task.step("ending");
                    let by_itself = process.stop(signal, PATIENCE);
                    task.done(match (had_run, by_itself) {
                        (false, _) => "had ended already",
                        (true, true) => "ended",
                        (true, false) => "did not end when asked: killed",
                    });
                });
            }
        });
        for name in group {
            state.entries.remove(name);
        }
    }
}
