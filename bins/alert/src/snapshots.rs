//! Snapshots of partitions on this machine's disk: a cache, for a start that need not read every
//! alert from PostgreSQL.
//!
//! One is good where PostgreSQL remembers that it was taken, and the checkpoint that it was taken
//! with is not too far behind: then what has changed since is all that there is to read. Any other
//! is passed over, with a line that says why.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use market::Place;
use memmap2::Mmap;
use store::{Checkpoint, Cursor, Log};
use triggers::{Partition, Snapshot};
use uuid::Uuid;

use crate::owned::RECENT_TRADES;

/// So many records are read again at most, rather than every alert.
const MOST_BEHIND: i64 = 2_000_000;

/// Where snapshots are kept.
#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    folder: PathBuf,
}

/// A partition as its snapshot has it.
pub(crate) struct Kept {
    pub(crate) partition: Partition,
    pub(crate) place: Place,
    /// Changes of alerts were heeded up to here.
    pub(crate) cursor: Cursor,
}

/// What a snapshot is of, as its label says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Of {
    /// Remembered by PostgreSQL.
    pub(crate) id: Uuid,
    pub(crate) log: Uuid,
    pub(crate) partition: i32,
    pub(crate) place: Place,
    pub(crate) cursor: Cursor,
}

impl Snapshots {
    /// `None` where the folder cannot be used: then a start takes longer.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        match fs::create_dir_all(folder) {
            Ok(()) => Some(Self { folder: folder.to_owned() }),
            Err(error) => {
                let folder = folder.display();
                tracing::warn!("ALERT_SNAPSHOTS: no snapshots are kept in {folder}: {error}");
                None
            }
        }
    }

    fn path(&self, partition: i32) -> PathBuf {
        self.folder.join(format!("partition-{partition}.snapshot"))
    }

    /// The partition as of its snapshot, where there is a good one. `remembered` are those that
    /// PostgreSQL knows of, and `low` is where the log begins.
    pub(crate) fn open(
        &self,
        log: &Log,
        partition: i32,
        checkpoint: &Checkpoint,
        remembered: &[(i32, Uuid)],
        low: i64,
    ) -> Option<Kept> {
        let path = self.path(partition);
        let mut why = "it is of another log or partition";
        let mut found = None;
        let is_ours = |label: &str| {
            let Some(of) = Of::parse(label) else { return false };
            let behind = checkpoint.place.offset - of.place.offset;
            why = match () {
                () if (of.log, of.partition) != (log.id, partition) => why,
                () if !remembered.contains(&(partition, of.id)) => {
                    "the database does not remember it"
                }
                () if behind < 0 => "the database is behind it",
                () if behind > MOST_BEHIND || of.place.offset + 1 < low => "it is too old",
                () => {
                    found = Some(of);
                    return true;
                }
            };
            false
        };
        let opened = open(&path, is_ours);
        match (opened, found) {
            (Ok(Some(partition)), Some(Of { place, cursor, .. })) => {
                return Some(Kept { partition, place, cursor });
            }
            (Ok(None), _) if !path.exists() => {}
            (Ok(_), _) => tracing::info!(partition, "its snapshot is not used: {why}"),
            (Err(error), _) => {
                tracing::warn!(partition, "its snapshot is not used: {error:#}");
            }
        }
        None
    }

    /// Puts a snapshot in the place of the one before: whoever reads it finds the one or the
    /// other, whole.
    pub(crate) fn write(&self, of: &Of, snapshot: Snapshot) -> anyhow::Result<()> {
        let path = self.path(of.partition);
        let bytes = snapshot.encode(&of.label());
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).context("cannot begin")?;
        file.write_all(&bytes).context("cannot write")?;
        file.as_file().sync_all().context("cannot write")?;
        file.persist(&path).with_context(|| format!("cannot replace {}", path.display()))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).context("cannot settle")
    }
}

/// `None` where there is none, or where it is not ours.
#[expect(unsafe_code, reason = "a file is mapped; see the comment")]
fn open(path: &Path, is_ours: impl FnOnce(&str) -> bool) -> anyhow::Result<Option<Partition>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => bail!("cannot open {}: {error}", path.display()),
    };
    // SAFETY: the mapping is private and read only, and lives as long as this call. The program
    // never writes to a file at this path, it only replaces it; another one that did while it is
    // mapped would have to have the rights of this program's user.
    let bytes = unsafe { Mmap::map(&file) }.context("cannot map it")?;
    Ok(Partition::from_snapshot(&bytes, RECENT_TRADES, is_ours)?)
}

impl Of {
    fn label(&self) -> String {
        let Self { id, log, partition, place: Place { offset, fingerprint }, cursor } = self;
        let cursor = cursor.as_str();
        format!("{id} {log} {partition} {offset} {fingerprint} {cursor}")
    }

    fn parse(label: &str) -> Option<Self> {
        let mut words = label.split(' ');
        let of = Self {
            id: words.next()?.parse().ok()?,
            log: words.next()?.parse().ok()?,
            partition: words.next()?.parse().ok()?,
            place: Place {
                offset: words.next()?.parse().ok()?,
                fingerprint: words.next()?.parse().ok()?,
            },
            cursor: Cursor::parse(words.next()?)?,
        };
        words.next().is_none().then_some(of)
    }
}

#[cfg(test)]
mod tests {
    use market::{Sequence, Trade, Volume};

    use super::*;

    fn of() -> Of {
        Of {
            id: Uuid::now_v7(),
            log: Uuid::now_v7(),
            partition: 3,
            place: Place { offset: 41, fingerprint: u64::MAX },
            cursor: Cursor::parse("10:20:12,15").expect("a cursor"),
        }
    }

    #[test]
    fn a_label_is_read_as_it_was_written() {
        let of = of();
        assert_eq!(Of::parse(&of.label()), Some(of.clone()));
        assert_eq!(Of::parse(&format!("{} more", of.label())), None);
        assert_eq!(Of::parse(""), None);
        assert_eq!(Of::parse(&of.label().replace("10:20", "'; DROP")), None);
    }

    #[test]
    fn only_a_snapshot_that_the_database_remembers_is_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let snapshots = Snapshots::new(&folder.path().join("new")).expect("it can be made");
        let of = of();
        let log = Log { id: of.log, topic: "market_ticks".into(), partitions: 6 };
        let mut partition = Partition::new(RECENT_TRADES);
        let symbol = partition.intern("AAPL").expect("a symbol");
        let price = market::Price::new(100.0).expect("a price");
        let trade = Trade { price, volume: Volume::ZERO, timestamp: 1, received_at: 0 };
        partition.evaluate(symbol, &trade, Sequence::of_record(41), &mut Vec::new());
        partition.advance(42);
        snapshots.write(&of, partition.snapshot()).expect("written");

        let checkpoint = |offset| Checkpoint {
            partition: 3,
            place: Place { offset, fingerprint: 7 },
            history: Vec::new(),
            seen: None,
        };
        let open = |log: &Log, partition, offset, id, low| {
            snapshots.open(log, partition, &checkpoint(offset), &[(partition, id)], low).is_some()
        };
        assert!(open(&log, 3, 41, of.id, 42), "ours");
        assert!(open(&log, 3, 2_000_041, of.id, 0), "a little behind");
        assert!(!open(&log, 3, 2_000_042, of.id, 0), "far behind");
        assert!(!open(&log, 3, 50, of.id, 43), "the log no longer goes on from there");
        assert!(!open(&log, 3, 40, of.id, 0), "the database was set back");
        assert!(!open(&log, 3, 41, Uuid::now_v7(), 0), "it knows of another one");
        let other = Log { id: Uuid::now_v7(), ..log.clone() };
        assert!(!open(&other, 3, 41, of.id, 0), "another log");
        assert!(!open(&log, 4, 41, of.id, 0), "there is none");

        let path = snapshots.path(3);
        let mut bytes = fs::read(&path).expect("a file");
        bytes[40] ^= 1;
        fs::write(&path, &bytes).expect("ours");
        assert!(!open(&log, 3, 41, of.id, 0), "damaged");
        fs::write(&path, b"").expect("ours");
        assert!(!open(&log, 3, 41, of.id, 0), "empty");
    }
}
