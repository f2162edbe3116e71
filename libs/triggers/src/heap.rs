//! Pairing heaps of alerts by their percents, the smallest first (Fredman, Sedgewick, Sleator,
//! Tarjan: The pairing heap, 1986). Their links are in the alerts' own slots: a heap is its root.

use crate::roster::Roster;
use crate::slot::{Links, NONE};

/// Takes out one that is no root.
pub(crate) fn remove(roster: &mut Roster, slot: u32) {
    let Links { back, sibling, .. } = roster.get(slot).links();
    // What was below it takes its place: it cannot be smaller than what is above.
    let heir = children(roster, slot);
    let heir = if heir == NONE {
        sibling
    } else {
        let links = roster.get(heir).links();
        roster.get_mut(heir).link(Links { sibling, ..links });
        if sibling != NONE {
            let links = roster.get(sibling).links();
            roster.get_mut(sibling).link(Links { back: heir, ..links });
        }
        heir
    };
    if heir != NONE {
        let links = roster.get(heir).links();
        roster.get_mut(heir).link(Links { back, ..links });
    }
    let links = roster.get(back).links();
    let links = match links.child == slot {
        true => Links { child: heir, ..links },
        false => Links { sibling: heir, ..links },
    };
    roster.get_mut(back).link(links);
    roster.get_mut(slot).link(Links::ALONE);
}

/// One heap of two; either may be `NONE`. Their roots have no siblings.
pub(crate) fn meld(roster: &mut Roster, one: u32, other: u32) -> u32 {
    if one == NONE || other == NONE {
        return if one == NONE { other } else { one };
    }
    let (above, below) = match roster.get(other).percent() < roster.get(one).percent() {
        true => (other, one),
        false => (one, other),
    };
    let Links { back, child, sibling } = roster.get(above).links();
    if child != NONE {
        let links = roster.get(child).links();
        roster.get_mut(child).link(Links { back: below, ..links });
    }
    let links = roster.get(below).links();
    roster.get_mut(below).link(Links { back: above, child: links.child, sibling: child });
    roster.get_mut(above).link(Links { back, child: below, sibling });
    above
}

/// Takes the children of a slot together as one heap: in pairs from left to right, then each pair
/// to those right of it.
pub(crate) fn children(roster: &mut Roster, slot: u32) -> u32 {
    let links = roster.get(slot).links();
    roster.get_mut(slot).link(Links { child: NONE, ..links });
    let mut next = links.child;
    // The pairs, the last one first, linked by their siblings.
    let mut pairs = NONE;
    while next != NONE {
        let first = next;
        let second = cut(roster, first);
        next = if second == NONE { NONE } else { cut(roster, second) };
        let pair = meld(roster, first, second);
        let links = roster.get(pair).links();
        roster.get_mut(pair).link(Links { back: NONE, sibling: pairs, ..links });
        pairs = pair;
    }
    let mut root = NONE;
    while pairs != NONE {
        let pair = pairs;
        pairs = cut(roster, pair);
        root = meld(roster, root, pair);
    }
    root
}

/// Makes a child a root by itself; returns the sibling that it had.
fn cut(roster: &mut Roster, slot: u32) -> u32 {
    let links = roster.get(slot).links();
    roster.get_mut(slot).link(Links { back: NONE, child: links.child, sibling: NONE });
    links.sibling
}
