use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getpid, getppid, setsid};

use crate::identity::ProcessId;

/// How long a started process may live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It is killed when the program that started it ends, however that ends. For tests.
    Bound,
    /// It outlives the program that started it, in a session of its own: neither a Ctrl-C in the
    /// terminal nor its closing reaches it.
    Detached,
}

/// An account to run as, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

/// Starts `command` without input, its output going to a fresh file at `log`; the log of the life
/// before is kept beside it as `*.1`.
pub fn launch(mut command: Command, log: &Path, lifetime: Lifetime) -> io::Result<ProcessId> {
    if let Some(folder) = log.parent() {
        fs::create_dir_all(folder)?;
    }
    if log.exists() {
        let mut before = log.as_os_str().to_owned();
        before.push(".1");
        fs::rename(log, before)?;
    }
    let output = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
    match lifetime {
        Lifetime::Detached => spawn(command, lifetime),
        Lifetime::Bound => KEEPER.spawn(command),
    }
}

/// Blocks `signals` in this thread and all that it starts from now on, so that one of them can
/// `wait()` for them. Processes started by [`launch`] do not inherit that.
pub fn block_signals(signals: &[Signal]) -> io::Result<SigSet> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block()?;
    Ok(set)
}

/// `command`, once started, is killed where the thread that starts it ends, however that ends: for
/// whoever waits for it there.
pub fn bind(command: &mut Command) {
    before_exec(command, Lifetime::Bound);
}

fn before_exec(command: &mut Command, lifetime: Lifetime) {
    let parent = getpid();
    // SAFETY: between fork and exec the closure only makes system calls; it allocates nothing and
    // takes no lock.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(move || prepare(lifetime, parent));
    }
}

fn spawn(mut command: Command, lifetime: Lifetime) -> io::Result<ProcessId> {
    before_exec(&mut command, lifetime);
    let child = command.spawn().map_err(|error| {
        let program = command.get_program().to_string_lossy();
        io::Error::new(error.kind(), format!("cannot start {program}: {error}"))
    })?;
    ProcessId::of(child.id()).ok_or_else(|| io::Error::other("it vanished from /proc"))
}

fn prepare(lifetime: Lifetime, parent: Pid) -> io::Result<()> {
    // The caller may have blocked signals, to wait for them in a thread of its own.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    match lifetime {
        Lifetime::Detached => {
            setsid()?;
        }
        Lifetime::Bound => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            if getppid() != parent {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe));
            }
        }
    }
    Ok(())
}

/// The thread that starts bound processes.
///
/// Linux ties a child to the *thread* that started it, and a test's thread ends long before the
/// server that the next test shares with it. This one ends with the program.
struct Keeper(mpsc::Sender<(Command, mpsc::SyncSender<io::Result<ProcessId>>)>);

static KEEPER: LazyLock<Keeper> = LazyLock::new(|| {
    let (sender, orders) = mpsc::channel::<(Command, mpsc::SyncSender<_>)>();
    thread::spawn(move || {
        for (command, answer) in orders {
            // Whoever asked is waiting below.
            let _ = answer.send(spawn(command, Lifetime::Bound));
        }
    });
    Keeper(sender)
});

impl Keeper {
    fn spawn(&self, command: Command) -> io::Result<ProcessId> {
        let (answer, spawned) = mpsc::sync_channel(1);
        let gone = |_| io::Error::other("the thread that starts processes has ended");
        self.0.send((command, answer)).map_err(|_| gone(mpsc::RecvError))?;
        spawned.recv().map_err(gone)?
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_bound_command_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut command = Command::new("sleep");
            bind(command.arg("600"));
            command.spawn()
        };
        let mut child = thread::spawn(start).join().expect("no panic").expect("it starts");
        let status = child.wait().expect("it is ours");
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32));
    }
}
