//! One word of the core as one word of the socket.

use edged_rpc::{Durability, LeaseState, LinkState, Moment, Outcome, State};
use relay_core::aim::Success;
use relay_core::change::OwedRow;
use relay_core::delivery;
use relay_core::id::NodeNo;
use relay_core::ledger::{InboxItem, InboxState, Inspection};
use relay_core::time::{Now, Unix};

use crate::config;

/// A delivery's state.
pub(super) const fn state(name: delivery::StateName) -> State {
    match name {
        delivery::StateName::Scheduled => State::Scheduled,
        delivery::StateName::Inflight => State::Inflight,
        delivery::StateName::Failed => State::Failed,
        delivery::StateName::Acked => State::Acked,
        delivery::StateName::Deadletter => State::Deadletter,
    }
}

/// A state that a client asks for.
pub(in crate::socket) const fn core_state(state: State) -> delivery::StateName {
    match state {
        State::Scheduled => delivery::StateName::Scheduled,
        State::Inflight => delivery::StateName::Inflight,
        State::Failed => delivery::StateName::Failed,
        State::Acked => delivery::StateName::Acked,
        State::Deadletter => delivery::StateName::Deadletter,
    }
}

/// How an attempt ended.
pub(super) const fn outcome(outcome: delivery::Outcome) -> Outcome {
    match outcome {
        delivery::Outcome::Acked => Outcome::Acked,
        delivery::Outcome::Failed => Outcome::Failed,
        delivery::Outcome::Timeout => Outcome::Timeout,
        delivery::Outcome::Rejected => Outcome::Rejected,
        delivery::Outcome::SegmentMissing => Outcome::SegmentMissing,
        delivery::Outcome::Corrupt => Outcome::Corrupt,
        delivery::Outcome::Abandoned => Outcome::Abandoned,
        delivery::Outcome::Interrupted => Outcome::Interrupted,
        delivery::Outcome::Deferred => Outcome::Deferred,
    }
}

/// Where an inbox item stands, and until when.
pub(super) const fn lease(state: InboxState, now: Now) -> (LeaseState, Option<Moment>) {
    match state {
        InboxState::Ready => (LeaseState::Ready, None),
        InboxState::Leased { until } => (LeaseState::Leased, Some(moment(now, until))),
        InboxState::Confirmed => (LeaseState::Confirmed, None),
        InboxState::Refused => (LeaseState::Refused, None),
    }
}

/// How many of a segment's peers must have it.
pub(super) fn success_condition(rows: &[OwedRow]) -> String {
    let place = rows.iter().find_map(|row| row.place);
    match place.map(|place| place.need) {
        None => Success::AllPeers.to_string(),
        Some(1) => Success::OnePeer.to_string(),
        Some(need) => need.to_string(),
    }
}

/// A link's state; the core says it as text.
pub(super) fn link_state(word: &str, draining: bool) -> LinkState {
    match word {
        "up" if draining => LinkState::Draining,
        "up" => LinkState::Up,
        "dialing" => LinkState::Dialing,
        "draining" => LinkState::Draining,
        "paused" => LinkState::Paused,
        "untrusted" => LinkState::Untrusted,
        _ => LinkState::Down,
    }
}

/// What "stored" means here.
pub(in crate::socket) const fn durability(promise: config::Durability) -> Durability {
    match promise {
        config::Durability::Synced => Durability::Synced,
        config::Durability::Written => Durability::Written,
    }
}

/// A moment of the age clock as the wall clock says it today: the one place where
/// rows become times for people.
pub(in crate::socket) const fn moment(now: Now, at: Unix) -> Moment {
    Moment(now.on_the_wall(at).0)
}

/// Seconds since `at`.
pub(in crate::socket) const fn age(at: Unix, now: Now) -> u64 {
    now.unix.0.saturating_sub(at.0) / 1_000
}

/// The segment as the inbox has it, if it does.
pub(in crate::socket) fn in_inbox(found: &Inspection) -> Option<InboxItem> {
    let (row, _) = found
        .deliveries
        .iter()
        .find(|(row, _)| row.due.peer == NodeNo::LOCAL)?;
    let state = match (row.state, found.segment.state) {
        (delivery::State::Acked, _) => InboxState::Confirmed,
        (delivery::State::Deadletter { .. }, _) => InboxState::Refused,
        (_, leased @ InboxState::Leased { .. }) => leased,
        (_, InboxState::Ready | InboxState::Confirmed | InboxState::Refused) => InboxState::Ready,
    };
    Some(InboxItem {
        state,
        ..found.segment.clone()
    })
}
