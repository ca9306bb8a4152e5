//! What this thread has in hand, so that a panic can say it.
//!
//! [`touching`] is put around synchronous work alone: a task that waits hands its thread
//! to others, and would leave its word with them. It costs a store or two, and is for
//! the panic hook to read ([`crate::last_panic`]).
//!
//! [`dread`] exists for tests, which have to see a daemon die of a segment: a program
//! that never calls it has no segment to fear. The daemon's own `main` does not.

use std::cell::Cell;
use std::sync::OnceLock;

use relay_core::poison::Touched;

/// Told of all that is touched, where a test wants that.
static DREAD: OnceLock<fn(Touched)> = OnceLock::new();

thread_local! {
    static IN_HAND: Cell<Option<Touched>> = const { Cell::new(None) };
}

/// Does `work` with `touched` in hand.
pub fn touching<T>(touched: Option<Touched>, work: impl FnOnce() -> T) -> T {
    let before = IN_HAND.replace(touched);
    if let (Some(dread), Some(touched)) = (DREAD.get(), touched) {
        dread(touched);
    }
    let done = work();
    IN_HAND.set(before);
    done
}

/// What this thread has in hand.
#[must_use]
pub fn in_hand() -> Option<Touched> {
    // A thread that is ending has nothing.
    IN_HAND.try_with(Cell::get).unwrap_or_default()
}

/// For tests: `dread` is told of all that is touched from here on, and may panic.
pub fn dread(dread: fn(Touched)) {
    // The first one stays.
    let _ = DREAD.set(dread);
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::id::SegmentId;

    #[test]
    fn what_is_in_hand_is_put_back_when_it_is_done() {
        let (one, two) = (SegmentId([1; 16]), SegmentId([2; 16]));
        let (one, two) = (Touched::Arriving(one), Touched::Arriving(two));

        let seen = touching(Some(one), || {
            let inner = touching(Some(two), in_hand);
            (inner, in_hand())
        });

        assert_eq!(seen, (Some(two), Some(one)));
        assert_eq!(in_hand(), None);
    }
}
