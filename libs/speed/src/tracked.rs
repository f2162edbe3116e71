//! A symbol's state beside what Redis has of it.

use market::{Sequence, SymbolState};

use crate::claims::Claim;
use crate::symbol_text::SymbolText;

/// A symbol's state as it was loaded, and whatever was counted since; written, Redis has as much.
#[derive(Clone, Debug)]
pub struct Tracked {
    pub state: SymbolState,
    /// As of which trade Redis has it, or has lost it; `None` where it is not known to Redis.
    pub(crate) base: Option<Sequence>,
    /// Under which claim that was so.
    pub(crate) claim: Option<Claim>,
    /// What is to be written of it, until it is sent: nothing is counted in between.
    pub(crate) text: Option<Box<SymbolText>>,
}

impl Tracked {
    pub(crate) fn new(state: SymbolState, claim: Option<Claim>) -> Self {
        Self { base: state.as_of, state, claim, text: None }
    }

    /// It is put into a call, and was not changed since it was prepared.
    pub(crate) fn take_text(&mut self, claim: Option<Claim>) -> Option<SymbolText> {
        debug_assert_eq!(self.base, self.state.as_of, "it was changed since");
        self.claim = claim;
        self.text.take().map(|text| *text)
    }
}
