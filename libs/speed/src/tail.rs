use std::cmp::Ordering;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use market::Sequence;
use redis::Cmd;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::address::{self, Address, Node};
use crate::entry::{self, StreamEntry};
use crate::log::LogId;
use crate::topology::Topology;
use crate::{Unavailable, keys};

/// How long Redis waits for an entry before it says that there is none.
const BLOCK: Duration = Duration::from_secs(1);
/// How often it is asked which log it follows.
const LOG_EVERY: Duration = Duration::from_secs(1);
/// Longer than it may wait.
const ANSWER: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(200);
/// Of each partition, in one answer.
const ENTRIES_AT_ONCE: usize = 16;
/// Entries that wait for whoever tails. Full means that Redis is read no further; what falls out
/// of retention meanwhile is noticed by [`StreamEntry::after`].
const ENTRIES_IN_FLIGHT: usize = 32;

/// Why there is no entry.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// It goes on by itself, from where it was.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Redis follows another log now, or none: the tail has ended. Forget what came of the former
    /// one and begin anew with `Reader::ends`.
    #[error("Redis follows another log now")]
    AnotherLog,
    /// A person has to look; the tail goes on after that entry.
    #[error("{key} holds what GoStocks did not write")]
    Foreign { key: String },
}

/// Every entry of all partitions' streams, each partition's in order, as they come.
///
/// Waits on connections of its own: one, or on a cluster one a partition, since streams are in
/// different slots. Dropped, it lets go of them.
#[derive(Debug)]
pub struct Tail {
    entries: mpsc::Receiver<Result<StreamEntry, TailError>>,
    readers: JoinSet<()>,
}

impl Tail {
    pub(crate) fn begin(
        address: &Address,
        topic: &str,
        log: &LogId,
        cursors: &[Option<Sequence>],
    ) -> Self {
        let (sender, entries) = mpsc::channel(ENTRIES_IN_FLIGHT);
        let id = |cursor: &Option<Sequence>| cursor.map_or_else(|| "0-0".to_owned(), entry::id);
        let cursors: Vec<(i32, String)> = (0..).zip(cursors.iter().map(id)).collect();
        let together = if address.is_cluster() { 1 } else { cursors.len().max(1) };
        let mut readers = JoinSet::new();
        for cursors in cursors.chunks(together) {
            let reader = StreamReader {
                address: address.clone(),
                topic: topic.to_owned(),
                log: log.clone(),
                cursors: cursors.to_vec(),
                sender: sender.clone(),
            };
            readers.spawn(reader.run());
        }
        Self { entries, readers }
    }

    /// The next entry of any partition. May be dropped and called again at any time: nothing is
    /// lost.
    ///
    /// # Errors
    /// [`TailError`] says for each how the tail goes on.
    pub async fn next(&mut self) -> Result<StreamEntry, TailError> {
        // Its readers end only because of another log.
        let next = self.entries.recv().await.unwrap_or(Err(TailError::AnotherLog));
        if matches!(next, Err(TailError::AnotherLog)) {
            // What the others have read is of the former one.
            self.readers.abort_all();
            self.entries.close();
            while self.entries.try_recv().is_ok() {}
        }
        next
    }
}

/// Reads the streams of some partitions over one connection.
struct StreamReader {
    address: Address,
    topic: String,
    log: LogId,
    /// Of each partition the id of the last entry that was read, whoever wrote it.
    cursors: Vec<(i32, String)>,
    sender: mpsc::Sender<Result<StreamEntry, TailError>>,
}

/// Whoever tails has gone, or the log has.
struct Ended;

impl StreamReader {
    async fn run(mut self) {
        loop {
            match self.read().await {
                Ok(Ended) => return,
                Err(error) => {
                    let error = Err(TailError::Unavailable(error));
                    if self.sender.send(error).await.is_err() {
                        return;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read(&mut self) -> Result<Ended, Unavailable> {
        let failed = |address: &Address, error| address.unavailable(&error);
        let keys: HashMap<String, usize> = self
            .cursors
            .iter()
            .enumerate()
            .map(|(at, (partition, _))| (keys::stream(&self.topic, *partition), at))
            .collect();
        let (mut connection, mut log_connection) = self.connect().await?;
        let mut asked: Option<Instant> = None;
        loop {
            if asked.is_none_or(|asked| asked.elapsed() >= LOG_EVERY) {
                if !self.is_followed(&mut log_connection).await? {
                    let _ = self.sender.send(Err(TailError::AnotherLog)).await;
                    return Ok(Ended);
                }
                asked = Some(Instant::now());
            }
            let answer: Option<Vec<(String, Vec<entry::Stored>)>> = self
                .command()
                .query_async(&mut connection)
                .await
                .map_err(|error| failed(&self.address, error))?;
            let mut is_former = false;
            for (key, stored) in answer.unwrap_or_default() {
                let Some(at) = keys.get(&key) else { continue };
                for stored in &stored {
                    let Some(entry) = self.entry(*at, &key, stored) else {
                        is_former = true;
                        continue;
                    };
                    let is_another = matches!(entry, Err(TailError::AnotherLog));
                    if self.sender.send(entry).await.is_err() || is_another {
                        return Ok(Ended);
                    }
                }
            }
            if is_former {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// `None` where it is of a former log: a writer that has not noticed yet left it on a cluster.
    /// The whole stream is, and goes with the first entry of this log, whose ids begin anew: the
    /// cursor stays.
    fn entry(
        &mut self,
        at: usize,
        key: &str,
        stored: &entry::Stored,
    ) -> Option<Result<StreamEntry, TailError>> {
        let (partition, cursor) = &mut self.cursors[at];
        let foreign = || TailError::Foreign { key: key.to_owned() };
        let entry = entry::parse(*partition, stored);
        match entry.as_ref().map(|entry| entry.log.cmp(&self.log)) {
            Some(Ordering::Less) => return None,
            Some(Ordering::Greater) => return Some(Err(TailError::AnotherLog)),
            Some(Ordering::Equal) | None => cursor.clone_from(&stored.0),
        }
        Some(entry.ok_or_else(foreign))
    }

    fn command(&self) -> Cmd {
        let mut command = redis::cmd("XREAD");
        command.arg("COUNT").arg(ENTRIES_AT_ONCE);
        command.arg("BLOCK").arg(BLOCK.as_millis() as u64).arg("STREAMS");
        for (partition, _) in &self.cursors {
            command.arg(keys::stream(&self.topic, *partition));
        }
        for (_, cursor) in &self.cursors {
            command.arg(cursor);
        }
        command
    }

    async fn is_followed(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<bool, Unavailable> {
        let id: Option<String> = redis::cmd("HGET")
            .arg(keys::log(&self.topic))
            .arg("id")
            .query_async(connection)
            .await
            .map_err(|error| self.address.unavailable(&error))?;
        Ok(id.as_deref() == Some(self.log.as_str()))
    }

    /// To whoever has the streams, and to whoever has the log's key.
    async fn connect(&self) -> Result<(MultiplexedConnection, MultiplexedConnection), Unavailable> {
        if !self.address.is_cluster() {
            let connection = self.connect_to(None).await?;
            return Ok((connection.clone(), connection));
        }
        let topology = self.topology().await?;
        let owner = |key: &str| topology.owner(key).map(|owner| &topology.masters[owner]);
        let nobody = || self.address.away("no node of the cluster has the stream's slot");
        let stream = owner(&keys::stream(&self.topic, self.cursors[0].0)).ok_or_else(nobody)?;
        let log = owner(&keys::log(&self.topic)).ok_or_else(nobody)?;
        let stream_connection = self.connect_to(Some(stream)).await?;
        // It waits most of the time, so the log is asked for over another one.
        let log_connection = self.connect_to(Some(log)).await?;
        Ok((stream_connection, log_connection))
    }

    async fn connect_to(&self, node: Option<&Node>) -> Result<MultiplexedConnection, Unavailable> {
        let failed = |error| self.address.unavailable(&error);
        let client = match node {
            Some(node) => self.address.node_client(node),
            None => self.address.client(),
        };
        address::connect(&client.map_err(failed)?, CONNECT, ANSWER).await.map_err(failed)
    }

    /// As the first node says that answers.
    async fn topology(&self) -> Result<Topology, Unavailable> {
        let mut trouble = self.address.away("the cluster has no nodes");
        for node in self.address.nodes() {
            let answer = async {
                let client = self.address.node_client(&node)?;
                let mut connection = address::connect(&client, CONNECT, ANSWER).await?;
                let answer = Topology::command().query_async(&mut connection).await?;
                Topology::parse(answer, Some(&node))
            };
            match answer.await {
                Ok(topology) => return Ok(topology),
                Err(error) => trouble = self.address.unavailable(&error),
            }
        }
        Err(trouble)
    }
}
