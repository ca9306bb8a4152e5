//! One peer's link as states: down, dialing, up.
//!
//! A peer that cannot be reached is a fact about the peer: nothing its
//! deliveries could spend is spent here. Of two links between one pair the one
//! dialled by the smaller node id stays, of two by the same dialler the newest,
//! and a higher boot epoch ends older links at once (semantics 6); both ends
//! come to the same answer without asking.

use crate::event::Greeting;
use crate::id::{LinkId, NodeId};
use crate::time::Mono;

/// Where the link stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// No link; dialled again at `redial`, if there is an address.
    Down {
        /// When to dial.
        redial: Mono,
    },
    /// A dial is under way.
    Dialing,
    /// The peer said Hello.
    Up {
        /// Which connection.
        link: LinkId,
        /// What it said.
        greeting: Greeting,
    },
}

/// What to do with a second link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The newcomer replaces the one we have.
    Replace,
    /// The one we have stays.
    Keep,
}

impl Link {
    /// The connection, while it is up.
    #[must_use]
    pub const fn up(&self) -> Option<LinkId> {
        match self {
            Self::Up { link, .. } => Some(*link),
            Self::Down { .. } | Self::Dialing => None,
        }
    }

    /// The name in CLI and JSON.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Down { .. } => "down",
            Self::Dialing => "dialing",
            Self::Up { .. } => "up",
        }
    }
}

/// Which of two links between `ours` and `theirs` stays.
#[must_use]
pub fn judge(ours: &NodeId, theirs: &NodeId, held: &Greeting, fresh: &Greeting) -> Verdict {
    if fresh.ledger != held.ledger || fresh.epoch > held.epoch {
        return Verdict::Replace;
    }
    if fresh.epoch < held.epoch {
        return Verdict::Keep;
    }
    if fresh.dialled == held.dialled {
        return Verdict::Replace;
    }
    let fresh_dialler = if fresh.dialled { ours } else { theirs };
    if fresh_dialler == ours.min(theirs) {
        Verdict::Replace
    } else {
        Verdict::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BootEpoch, LedgerId};

    fn greeting(dialled: bool, epoch: u64) -> Greeting {
        Greeting {
            ledger: LedgerId(1),
            epoch: BootEpoch(epoch),
            dialled,
            max_segment: 1,
        }
    }

    #[test]
    fn both_ends_keep_the_same_link() {
        let (a, b): (NodeId, NodeId) = ("alpha".parse().expect("id"), "beta".parse().expect("id"));
        // One link dialled by alpha, one by beta; each end sees them in either order.
        let at_alpha = |fresh_dialled: bool| {
            judge(
                &a,
                &b,
                &greeting(!fresh_dialled, 1),
                &greeting(fresh_dialled, 1),
            )
        };
        let at_beta = |fresh_dialled: bool| {
            judge(
                &b,
                &a,
                &greeting(!fresh_dialled, 1),
                &greeting(fresh_dialled, 1),
            )
        };

        assert_eq!(
            at_alpha(true),
            Verdict::Replace,
            "alpha's own dial stays at alpha"
        );
        assert_eq!(at_alpha(false), Verdict::Keep);
        assert_eq!(at_beta(false), Verdict::Replace, "and at beta");
        assert_eq!(at_beta(true), Verdict::Keep);
    }

    #[test]
    fn a_higher_epoch_ends_older_links_at_once() {
        let (a, b): (NodeId, NodeId) = ("alpha".parse().expect("id"), "beta".parse().expect("id"));

        assert_eq!(
            judge(&a, &b, &greeting(true, 1), &greeting(false, 2)),
            Verdict::Replace
        );
        assert_eq!(
            judge(&a, &b, &greeting(false, 2), &greeting(true, 1)),
            Verdict::Keep
        );
        assert_eq!(
            judge(&a, &b, &greeting(true, 1), &greeting(true, 1)),
            Verdict::Replace
        );
    }
}
