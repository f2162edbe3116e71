use crate::publisher::{Publication, Publisher};

/// Headers need room too: of a record as large as the broker takes, only so much is kept.
const MAX_VALUE_BYTES: usize = 900_000;

/// A record that cannot be used, as it was read.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    /// A sentence for whoever looks.
    pub reason: String,
}

/// Puts records that cannot be used on a topic of their own: the same key and bytes, with where
/// they were and why as headers (`topic`, `partition`, `offset`, `reason`, `bytes`). Of a value of
/// more than 900,000 bytes only the beginning is kept; `bytes` is its whole length.
pub struct DeadLetters {
    publisher: Publisher,
    /// The topic that they come from.
    source: String,
    topic: String,
}

impl std::fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl DeadLetters {
    pub fn new(brokers: &str, source: &str, topic: &str) -> anyhow::Result<Self> {
        let publisher = Publisher::new(brokers, topic)?;
        Ok(Self { publisher, source: source.into(), topic: topic.into() })
    }

    /// Returns once the broker has acknowledged every one of them.
    pub async fn bury(&self, letters: &[DeadLetter]) -> anyhow::Result<()> {
        let places: Vec<[String; 3]> = letters
            .iter()
            .map(|letter| {
                let numbers = [i64::from(letter.partition), letter.offset];
                let [partition, offset] = numbers.map(|number| number.to_string());
                [partition, offset, letter.value.len().to_string()]
            })
            .collect();
        let publications =
            letters.iter().zip(&places).map(|(letter, [partition, offset, bytes])| {
                let headers = vec![
                    ("topic", self.source.as_str()),
                    ("partition", partition),
                    ("offset", offset),
                    ("reason", &letter.reason),
                    ("bytes", bytes),
                ];
                let kept = &letter.value[..letter.value.len().min(MAX_VALUE_BYTES)];
                Publication { key: &letter.key, value: kept, headers }
            });
        self.publisher.publish(publications).await
    }
}
