//! A symbol's state beside what Redis has of it.

use market::{Sequence, SymbolState};

use crate::claims::Claim;
use crate::symbol_text::SymbolText;

/// A symbol's state as it was loaded, and whatever was counted since; written, Redis has as much.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub state: SymbolState,
    /// As of which trade Redis has it, or has lost it, or will have it once `text` is written; `None`
    /// where it is not known to Redis.
    pub(crate) base: Option<Sequence>,
    /// Under which claim it was loaded, or sent last.
    pub(crate) claim: Option<Claim>,
    /// What is to be written of it, until it is sent: nothing is counted in between.
    pub(crate) text: Option<Box<SymbolText>>,
}

impl Tracked {
    pub(crate) fn new(state: SymbolState, claim: Option<Claim>) -> Self {
        Self { base: state.as_of, state, claim, text: None }
    }

    /// What was prepared, to be sent under a claim.
    ///
    /// Panics where nothing was, or where trades were counted since: what was sent would not be what
    /// is told of.
    pub(crate) fn take_text(&mut self, claim: Option<Claim>) -> SymbolText {
        assert_eq!(self.base, self.state.as_of, "trades were counted since it was prepared");
        self.claim = claim;
        *self.text.take().expect("it was prepared")
    }
}
