//! Which partitions' symbols this writer has to itself on a single Redis, as far as it knows.
//!
//! ```text
//!  none ──first call of a batch──▶ made ──answered──▶ stands
//!   ▲                               │                   │
//!   └── a call finds another's, or none, or another place than was told
//! ```
//! A claim is a text that nobody else uses, in the log's key. Whoever writes a symbol of a partition
//! leaves its own there, or none where it finds another's. So while a claim is found again, nobody
//! else has written between; and a symbol that was loaded or written while it stood is as it was.
//!
//! The writer also has a key of its own, its presence, which goes with the first of its claims that
//! somebody else takes: while it is there, every claim holds that was found since it was made.

use std::collections::HashMap;

use uuid::Uuid;

/// Tells one claim of a writer from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim(u64);

#[derive(Debug)]
pub(crate) struct Claims {
    writer: Uuid,
    last: u64,
    made: HashMap<i32, (Claim, Stage)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Made,
    Stands,
}

impl Claims {
    pub(crate) fn new() -> Self {
        Self { writer: Uuid::now_v7(), last: 0, made: HashMap::new() }
    }

    /// The claim to a partition; `None` where Redis has not answered one.
    pub(crate) fn standing(&self, partition: i32) -> Option<Claim> {
        self.made
            .get(&partition)
            .filter(|(_, stage)| *stage == Stage::Stands)
            .map(|(claim, _)| *claim)
    }

    /// The claim under which a batch is written, and whether it is a new one.
    pub(crate) fn make(&mut self, partition: i32) -> (Claim, bool) {
        if let Some(claim) = self.of(partition) {
            return (claim, false);
        }
        self.last += 1;
        let claim = Claim(self.last);
        self.made.insert(partition, (claim, Stage::Made));
        (claim, true)
    }

    /// The claim that was made to a partition, whether or not Redis has answered.
    pub(crate) fn of(&self, partition: i32) -> Option<Claim> {
        self.made.get(&partition).map(|(claim, _)| *claim)
    }

    /// As it stands in the log's key.
    pub(crate) fn text(&self, Claim(number): Claim) -> String {
        format!("{}.{number}", self.writer())
    }

    /// The writer's part of the name of its presence.
    pub(crate) fn writer(&self) -> String {
        self.writer.simple().to_string()
    }

    /// The presence had gone, and was made again by a call with these partitions: any other claim may
    /// be lost.
    pub(crate) fn doubt_others(&mut self, found: impl Fn(i32) -> bool) {
        for (_, (_, stage)) in self.made.iter_mut().filter(|(partition, _)| !found(**partition)) {
            *stage = Stage::Made;
        }
    }

    /// A batch with this partition was answered: nobody else wrote meanwhile, or somebody did.
    pub(crate) fn answered(&mut self, partition: i32, is_lost: bool) {
        if is_lost {
            self.made.remove(&partition);
        } else if let Some((_, stage)) = self.made.get_mut(&partition) {
            *stage = Stage::Stands;
        }
    }
}
