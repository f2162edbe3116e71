//! A symbol's state beside what Redis has of it.

use market::{Sequence, SymbolState};

use crate::claims::Claim;

/// A symbol's state as it was loaded, and whatever was counted since; written, Redis has as much.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub state: SymbolState,
    /// As of which trade Redis has it, or has lost it; `None` where it is not known to Redis.
    pub(crate) base: Option<Sequence>,
    /// Under which claim that was so.
    pub(crate) claim: Option<Claim>,
}

impl Tracked {
    pub(crate) fn new(state: SymbolState, claim: Option<Claim>) -> Self {
        Self { base: state.as_of, state, claim }
    }

    /// It was put into a call as it is now.
    pub(crate) fn written_under(&mut self, claim: Option<Claim>) {
        self.base = self.state.as_of;
        self.claim = claim;
    }
}
