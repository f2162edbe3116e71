use hashbrown::HashMap;
use market::Symbol;

/// Numbers for symbols, so that a trade carries four bytes instead of a name.
#[derive(Debug)]
pub struct Symbols {
    numbers: HashMap<Symbol, u32, foldhash::fast::RandomState>,
    known: Vec<Known>,
    partitions: i32,
}

/// A symbol that was numbered; its number is its index.
#[derive(Clone, Debug)]
pub struct Known {
    pub symbol: Symbol,
    /// Where every record of the symbol must be.
    pub partition: i32,
}

impl Symbols {
    /// `partitions` are those of the topic.
    pub fn new(partitions: i32) -> Self {
        Self { numbers: HashMap::default(), known: Vec::new(), partitions }
    }

    /// The symbol's number. `name` is normalized.
    #[inline]
    pub fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        self.add(name)
    }

    #[cold]
    fn add(&mut self, name: &str) -> u32 {
        let Ok(symbol) = Symbol::new(name) else {
            unreachable!("a decoded record's symbol is valid");
        };
        let number = self.known.len() as u32;
        let partition = broker::partition_of(name, self.partitions);
        self.known.push(Known { symbol: symbol.clone(), partition });
        self.numbers.insert(symbol, number);
        number
    }

    pub(crate) fn partition(&self, number: u32) -> i32 {
        self.known[number as usize].partition
    }

    pub(crate) fn known(&self) -> &[Known] {
        &self.known
    }

    pub(crate) fn clear(&mut self) {
        self.numbers.clear();
        self.known.clear();
    }
}
