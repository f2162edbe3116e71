use market::{Price, Stamp};

use crate::condition::{Condition, Percent, PriceRange, Repeat, Terms};
use crate::standing::{Standing, Zone};
use crate::symbols::SymbolKey;
use crate::{AlertId, Version};

/// No slot, no group.
pub(crate) const NONE: u32 = u32::MAX;

/// Everything that is kept of an alert but where it waits, in 36 bytes: ten million of them are
/// what the memory of a program goes to.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(Rust, packed(4))]
pub(crate) struct Slot {
    id: i64,
    /// By condition: the line, the lower bound, or the percent (and, on a trail, the link back).
    a: u64,
    /// By condition: the upper bound, the reference, or on a trail the links to others.
    b: u64,
    generation: i32,
    /// From the lowest bit: condition (4), place (4), latched (1), revision (23).
    state: u32,
    /// From the lowest bit: number of its way to repeat (10), symbol (22).
    owner: u32,
}

/// Where an alert is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On the ladders, at the bounds of its zone.
    Zone(Zone),
    /// Among those that look at the next trade of their symbol.
    Next,
    /// Among those that share their best price.
    Trail,
    /// Until its symbol's time has come so far.
    Asleep,
    /// Armed at a trade that the log has not reached.
    Waiting,
    /// Has fired, and stays known until its row says so too: an older copy of the row must not
    /// arm it again.
    Fired,
    /// Forgotten, while an alarm still names the slot.
    Dead,
}

/// The links of an alert to others of its group. See `trail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    pub(crate) back: u32,
    pub(crate) child: u32,
    pub(crate) sibling: u32,
}

impl Links {
    pub(crate) const ALONE: Self = Self { back: NONE, child: NONE, sibling: NONE };
}

/// The most symbols of a partition, and ways to repeat that have a number.
pub(crate) const SYMBOLS: u32 = 1 << 22;
pub(crate) const REPEATS: u32 = 1 << 10;

const KIND: u32 = 0xf;
const PLACE_SHIFT: u32 = 4;
const LATCHED: u32 = 1 << 8;
const REVISION_SHIFT: u32 = 9;

impl Slot {
    /// `repeat` is the number of its way to repeat.
    pub(crate) fn new(id: AlertId, standing: &Standing, symbol: SymbolKey, repeat: u32) -> Self {
        let mut slot = Self {
            id: id.0,
            a: 0,
            b: 0,
            generation: 0,
            state: Place::Dead.code() << PLACE_SHIFT,
            owner: symbol.number() << 10 | repeat,
        };
        slot.stand(standing);
        slot
    }

    pub(crate) fn id(&self) -> AlertId {
        AlertId(self.id)
    }

    pub(crate) fn version(&self) -> Version {
        Version { revision: self.state >> REVISION_SHIFT, generation: self.generation }
    }

    pub(crate) fn symbol(&self) -> SymbolKey {
        SymbolKey::of(self.owner >> 10)
    }

    pub(crate) fn repeat_number(&self) -> u32 {
        self.owner & (REPEATS - 1)
    }

    pub(crate) fn place(&self) -> Place {
        Place::decode(self.state >> PLACE_SHIFT & 0xf)
    }

    pub(crate) fn put(&mut self, place: Place) {
        self.state = self.state & !(0xf << PLACE_SHIFT) | place.code() << PLACE_SHIFT;
    }

    /// The percent of a condition that has one, and that of a trail.
    pub(crate) fn percent(&self) -> Percent {
        let thousandths = self.a as u32;
        Percent::from_thousandths(thousandths).unwrap_or_else(|| unreachable!("it was one"))
    }

    pub(crate) fn links(&self) -> Links {
        Links { back: (self.a >> 32) as u32, child: self.b as u32, sibling: (self.b >> 32) as u32 }
    }

    pub(crate) fn link(&mut self, links: Links) {
        let Links { back, child, sibling } = links;
        self.a = u64::from(back) << 32 | self.a & 0xffff_ffff;
        self.b = u64::from(sibling) << 32 | u64::from(child);
    }

    pub(crate) fn condition(&self) -> Condition {
        self.read().unwrap_or_else(|| unreachable!("a condition was put in"))
    }

    /// `None` where the words are no condition's.
    fn read(&self) -> Option<Condition> {
        let price = |bits| Price::new(f64::from_bits(bits));
        let range = || PriceRange::new(price(self.a)?, price(self.b)?);
        let percent = || Percent::from_thousandths(self.a as u32);
        match self.state & KIND {
            0 => price(self.a).map(Condition::Above),
            1 => price(self.a).map(Condition::Below),
            2 => price(self.a).map(Condition::CrossesAbove),
            3 => price(self.a).map(Condition::CrossesBelow),
            4 => price(self.a).map(Condition::Crosses),
            5 => range().map(Condition::EntersRange),
            6 => range().map(Condition::LeavesRange),
            7 => percent().map(Condition::RisesPercent),
            8 => percent().map(Condition::FallsPercent),
            9 => percent().map(Condition::TrailingDrop),
            10 => percent().map(Condition::TrailingRise),
            _ => None,
        }
    }

    /// As it was put in with [`Slot::stand`]. `best` is that of its group, if it is on a trail;
    /// whether and until when it is asleep is the alarms' to know.
    pub(crate) fn standing(
        &self,
        repeat: Option<Repeat>,
        best: Option<(Price, Stamp)>,
    ) -> Standing {
        let condition = self.condition();
        let reference = match condition {
            Condition::RisesPercent(_) | Condition::FallsPercent(_) => {
                Price::new(f64::from_bits(self.b))
            }
            _ => best.map(|(price, _)| price),
        };
        Standing {
            version: self.version(),
            condition,
            repeat,
            latched: self.state & LATCHED != 0,
            asleep_until: i64::MIN,
            reference,
            peak: best.map(|(_, peak)| peak).unwrap_or_default(),
        }
    }

    pub(crate) fn stand(&mut self, standing: &Standing) {
        let bits = |price: Price| price.get().to_bits();
        let reference = standing.reference.map_or(0, bits);
        let of = |percent: Percent| u64::from(percent.thousandths());
        let (kind, a, b) = match standing.condition {
            Condition::Above(line) => (0, bits(line), 0),
            Condition::Below(line) => (1, bits(line), 0),
            Condition::CrossesAbove(line) => (2, bits(line), 0),
            Condition::CrossesBelow(line) => (3, bits(line), 0),
            Condition::Crosses(line) => (4, bits(line), 0),
            Condition::EntersRange(range) => (5, bits(range.lower()), bits(range.upper())),
            Condition::LeavesRange(range) => (6, bits(range.lower()), bits(range.upper())),
            Condition::RisesPercent(by) => (7, of(by), reference),
            Condition::FallsPercent(by) => (8, of(by), reference),
            Condition::TrailingDrop(by) => (9, of(by), 0),
            Condition::TrailingRise(by) => (10, of(by), 0),
        };
        (self.a, self.b) = (a, b);
        if standing.condition.trails() {
            self.link(Links::ALONE);
        }
        let Version { revision, generation } = standing.version;
        self.generation = generation;
        let latched = if standing.latched { LATCHED } else { 0 };
        let place = self.state & 0xf << PLACE_SHIFT;
        self.state = revision << REVISION_SHIFT | latched | place | kind;
    }

    /// For an image. What comes back from one has to be [`Slot::is_sound`].
    pub(crate) fn to_words(self) -> [u32; 9] {
        let Self { id, a, b, generation, state, owner } = self;
        let low = |word: u64| word as u32;
        let high = |word: u64| (word >> 32) as u32;
        let (id, generation) = (id.cast_unsigned(), generation.cast_unsigned());
        [low(id), high(id), low(a), high(a), low(b), high(b), generation, state, owner]
    }

    pub(crate) fn from_words(words: [u32; 9]) -> Self {
        let [id0, id1, a0, a1, b0, b1, generation, state, owner] = words;
        let word = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Self {
            id: word(id0, id1).cast_signed(),
            a: word(a0, a1),
            b: word(b0, b1),
            generation: generation.cast_signed(),
            state,
            owner,
        }
    }

    /// Whether what it holds is an alert that repeats so.
    pub(crate) fn is_sound(&self, repeat: Option<Repeat>) -> bool {
        self.read().is_some_and(|condition| Terms::new(condition, repeat).is_ok())
            && self.generation > 0
    }
}

impl Place {
    fn code(self) -> u32 {
        match self {
            Self::Zone(Zone::Under) => 0,
            Self::Zone(Zone::Over) => 1,
            Self::Zone(Zone::Within) => 2,
            Self::Next => 3,
            Self::Trail => 4,
            Self::Asleep => 5,
            Self::Waiting => 6,
            Self::Fired => 7,
            Self::Dead => 8,
        }
    }

    fn decode(code: u32) -> Self {
        match code {
            0 => Self::Zone(Zone::Under),
            1 => Self::Zone(Zone::Over),
            2 => Self::Zone(Zone::Within),
            3 => Self::Next,
            4 => Self::Trail,
            5 => Self::Asleep,
            6 => Self::Waiting,
            7 => Self::Fired,
            _ => Self::Dead,
        }
    }
}
