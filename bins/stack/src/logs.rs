use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::bail;
use servers::tail;

use crate::catalogue::MEMBERS;
use crate::cli::Logs;
use crate::paths::Paths;
use crate::ui::print;

const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(crate) fn run(paths: &Paths, options: &Logs) -> anyhow::Result<ExitCode> {
    let all = || MEMBERS.iter().map(|member| member.name);
    let names: Vec<&str> = match options.name.as_deref() {
        None => all().filter(|name| paths.log(name).exists()).collect(),
        Some(name) => match all().find(|known| *known == name) {
            Some(name) => vec![name],
            None => bail!(
                "there is no {name}: expected one of {}",
                all().collect::<Vec<_>>().join(", ")
            ),
        },
    };
    if names.is_empty() {
        bail!("there are no logs: nothing was started yet");
    }
    let mut places = BTreeMap::new();
    for name in &names {
        let log = paths.log(name);
        if options.name.is_some() && !log.exists() {
            bail!("{name} has no log: it was not started yet");
        }
        // Remembered before it is shown: what is written meanwhile may be shown twice, never lost.
        places.insert(*name, Place::end(&log));
        let lines = tail(&log, options.lines);
        if names.len() > 1 {
            print(&format!("==> {name} <==\n"));
        }
        print(&format!("{lines}\n"));
    }
    if !options.follow {
        return Ok(ExitCode::SUCCESS);
    }
    loop {
        thread::sleep(LOOK_EVERY);
        for (name, place) in &mut places {
            let text = place.read_on(&paths.log(name));
            let prefix = if names.len() > 1 { format!("{name}: ") } else { String::new() };
            for line in text.lines() {
                print(&format!("{prefix}{line}\n"));
            }
        }
    }
}

/// How far a log has been read. Each life of a program writes a file of its own.
struct Place {
    inode: u64,
    offset: u64,
}

impl Place {
    fn end(log: &Path) -> Self {
        fs::metadata(log).map_or(Self { inode: 0, offset: 0 }, |about| Self {
            inode: about.ino(),
            offset: about.len(),
        })
    }

    /// The whole lines that came since.
    fn read_on(&mut self, log: &Path) -> String {
        let mut bytes = Vec::new();
        let read = File::open(log).and_then(|mut file| {
            let inode = file.metadata()?.ino();
            if inode != self.inode {
                *self = Self { inode, offset: 0 };
            }
            file.seek(SeekFrom::Start(self.offset))?;
            file.read_to_end(&mut bytes)
        });
        if read.is_err() {
            return String::new();
        }
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.offset += whole as u64;
        String::from_utf8_lossy(&bytes[..whole]).into_owned()
    }
}
