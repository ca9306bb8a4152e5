//! Why a delivery does not move, in words: from the gates that decide to reasons
//! and one sentence.
//!
//! What holds it stands in [`Reason`]s, the most binding first (semantics 3,
//! `waiting_on`); whoever asks gets them all, and the first as a sentence. Every
//! reason has a sentence here, so that a new one cannot be left without words.

use std::time::Duration;

use crate::delivery::{Cause, StateName, WaitingOn};
use crate::time::Unix;

/// One thing that keeps a delivery from moving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// What it waits for.
    pub on: WaitingOn,
    /// When that ends by itself, by the wall clock, if it is known.
    pub until: Option<Unix>,
    /// What is known beside it: why a peer is busy, how much of a quota is used.
    pub note: Option<String>,
}

/// What goes before a delivery.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Deliveries.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether some of these may come after it: it waits in the ledger alone, where
    /// its place is not counted.
    pub at_most: bool,
}

/// Where a delivery stands, and what is next for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits; all that holds, the most binding first, and what goes before it.
    Waiting {
        /// Why. Never empty.
        reasons: Vec<Reason>,
        /// What goes before it.
        ahead: Ahead,
    },
    /// Bytes are moving or an ack is awaited.
    Inflight {
        /// What it is about.
        doing: Doing,
        /// Of how many bytes so many are with the connection.
        sent: (u64, u64),
        /// When the ack is overdue, if one is awaited.
        overdue: Option<Unix>,
    },
    /// The peer has it.
    Acked,
    /// An operator has to move it.
    Deadletter(Cause),
}

/// What a delivery in flight is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// Its mark is on its way to disk.
    Marking,
    /// Its next chunk waits for its turn or for tokens.
    Sending,
    /// It is offered; the peer has not said whether it wants it.
    Offered,
    /// Every byte is with the transport, not all with the connection.
    Leaving,
    /// The ack is awaited.
    AwaitingAck,
    /// Our own bytes are read again before the peer's answer is believed.
    Judging,
}

/// The whole answer for one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// Its state.
    pub state: StateName,
    /// Where it stands.
    pub standing: Standing,
    /// Since when, by the age clock.
    pub since: Unix,
    /// What the last failed attempt said.
    pub error: Option<String>,
}

/// What blocks how much, over all that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// To whom.
    pub peer: crate::id::NodeId,
    /// The first reason that holds, with its time.
    pub reason: Reason,
    /// Deliveries.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Reason {
    /// One clause, such as `waiting for tokens: the rate admits the next chunk in
    /// 3.2 s`. `peer` is whom it is for.
    #[must_use]
    pub fn clause(&self, peer: &str, now: Unix, ahead: Ahead) -> String {
        let note = self.note.as_deref();
        let noted = note.map(|note| format!(" ({note})")).unwrap_or_default();
        let when = |known: &str, unknown: &str| match self.until {
            Some(until) => format!("{known} {}", wait(until, now)),
            None => unknown.to_owned(),
        };
        match self.on {
            WaitingOn::Held => "held by an operator until it is released".to_owned(),
            WaitingOn::Paused => {
                let ends = when("the pause ends", "until it is resumed");
                format!("paused by an operator: {ends}{noted}")
            }
            WaitingOn::PeerRemoved => {
                format!("{peer} is not in the config: add it there, or drop what it is owed")
            }
            WaitingOn::Certificate => format!(
                "no certificate to trust: this node's own, or that of {peer}, will not do{noted}"
            ),
            WaitingOn::Storage => {
                let asked = when("it is asked again", "it is being asked again");
                format!("this node's disk does not give what is needed to send it: {asked}{noted}")
            }
            WaitingOn::PeerDown => {
                let under_way = self.until.is_some_and(|until| until <= now);
                let dial = match under_way {
                    true => "it is being dialled".to_owned(),
                    false => when("it is dialled again", "it is expected to dial us"),
                };
                format!("no link to {peer}: {dial}{noted}")
            }
            WaitingOn::Probe => {
                format!("{peer} was away: one delivery goes first, and is on its way to it{noted}")
            }
            WaitingOn::PeerBusy => {
                let asked = when("it is asked again", "it is asked again soon");
                format!("{peer} is busy{noted}: {asked}")
            }
            WaitingOn::Window => {
                let opens = when("it opens", "it does not open");
                format!("the contact window of {peer} is shut: {opens}{noted}")
            }
            WaitingOn::Standby => {
                let woken = when(
                    "it is looked at again",
                    "it goes if one of those falls short",
                );
                format!("on standby, other peers go first: {woken}{noted}")
            }
            WaitingOn::LaneBudget => {
                let opens = when("it has room", "no room is in sight");
                format!("the lane's budget is used up: {opens}{noted}")
            }
            WaitingOn::Quota => {
                let opens = when("the quota opens", "the quota is used up");
                format!("{opens}{noted}")
            }
            WaitingOn::Backoff => {
                let again = when(
                    "it is tried again",
                    "it is tried again when its rest is over",
                );
                format!("resting after a failed attempt: {again}{noted}")
            }
            WaitingOn::DeadletterFull => format!(
                "its attempts are spent and the deadletter is full: purge or retry what is there{noted}"
            ),
            WaitingOn::Tokens => {
                let admits = when(
                    "the rate admits the next chunk",
                    "the rate admits no chunk yet",
                );
                format!("waiting for tokens: {admits}{noted}")
            }
            WaitingOn::Turn => turn(ahead),
        }
    }
}

fn turn(ahead: Ahead) -> String {
    if ahead.count == 0 {
        return "next in turn".to_owned();
    }
    let most = if ahead.at_most { "at most " } else { "" };
    let (one, count) = (ahead.count == 1, ahead.count);
    let (plural, goes) = if one { ("y", "goes") } else { ("ies", "go") };
    format!(
        "waiting its turn: {most}{count} deliver{plural} of {} {goes} first",
        size(ahead.bytes)
    )
}

impl Why {
    /// One sentence, without a dot: the most binding reason, and what is next.
    #[must_use]
    pub fn sentence(&self, peer: &str, now: Unix) -> String {
        match &self.standing {
            Standing::Waiting { reasons, ahead } => {
                let first = reasons.first().map(|first| first.clause(peer, now, *ahead));
                first.unwrap_or_else(|| "next in turn".to_owned())
            }
            Standing::Inflight {
                doing,
                sent: (sent, of),
                overdue,
            } => {
                let late = overdue.map(|at| format!(", overdue {}", wait(at, now)));
                let late = late.unwrap_or_default();
                match doing {
                    Doing::Marking => "in flight: its mark is on its way to disk".to_owned(),
                    Doing::Sending => format!(
                        "in flight: {} of {} sent, the next chunk waits for its turn",
                        size(*sent),
                        size(*of)
                    ),
                    Doing::Offered => {
                        format!("in flight: offered to {peer}, whose answer is awaited{late}")
                    }
                    Doing::Leaving => {
                        format!(
                            "in flight: the connection has taken {} of {}",
                            size(*sent),
                            size(*of)
                        )
                    }
                    Doing::AwaitingAck => {
                        format!("in flight: every byte is sent, the ack of {peer} is awaited{late}")
                    }
                    Doing::Judging => format!(
                        "in flight: {peer} did not take it as it is, our own bytes are checked"
                    ),
                }
            }
            Standing::Acked => format!("acked: stored by {peer}, digest checked"),
            Standing::Deadletter(cause) => {
                let told = match cause {
                    Cause::RetriesExhausted
                    | Cause::SegmentMissing
                    | Cause::Corrupt
                    | Cause::Expired
                    | Cause::Rejected => self.error.as_deref(),
                    Cause::Forced | Cause::Cancelled => None,
                };
                let said = told.map(|said| format!(" ({said})"));
                format!(
                    "in deadletter as {}{}: only an operator moves it (retry or purge)",
                    cause.as_str(),
                    said.unwrap_or_default()
                )
            }
        }
    }
}

/// How long from `now`, for people: `in 3.2 s`, `in 5 min`, `in 2 h 10 min`.
#[must_use]
pub fn wait(at: Unix, now: Unix) -> String {
    let left = Duration::from_millis(at.0.saturating_sub(now.0));
    let seconds = left.as_secs();
    match seconds {
        0 if left.is_zero() => "now".to_owned(),
        0..10 => format!("in {}.{} s", seconds, left.subsec_millis() / 100),
        10..120 => format!("in {seconds} s"),
        120..7_200 => format!("in {} min", seconds / 60),
        7_200..172_800 => format!("in {} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("in {} days", seconds / 86_400),
    }
}

/// So many bytes, for people.
#[must_use]
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut unit, mut tenths) = (0, bytes.saturating_mul(10) / 1024);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Unix = Unix(1_700_000_000_000);

    fn reason(on: WaitingOn, wait_ms: Option<u64>) -> Reason {
        Reason {
            on,
            until: wait_ms.map(|ms| Unix(NOW.0 + ms)),
            note: None,
        }
    }

    fn waiting(reasons: Vec<Reason>, count: u64) -> Why {
        let ahead = Ahead {
            count,
            bytes: count * 1_536,
            at_most: false,
        };
        Why {
            state: StateName::Scheduled,
            standing: Standing::Waiting { reasons, ahead },
            since: NOW,
            error: None,
        }
    }

    #[test]
    fn a_sentence_says_the_most_binding_reason_and_its_time() {
        let tokens = waiting(vec![reason(WaitingOn::Tokens, Some(3_200))], 0);
        assert_eq!(
            tokens.sentence("beta", NOW),
            "waiting for tokens: the rate admits the next chunk in 3.2 s"
        );
        let said = |wait| waiting(vec![reason(WaitingOn::PeerDown, wait)], 0).sentence("beta", NOW);
        assert_eq!(
            said(Some(3_200)),
            "no link to beta: it is dialled again in 3.2 s"
        );
        assert_eq!(said(Some(0)), "no link to beta: it is being dialled");
        assert_eq!(said(None), "no link to beta: it is expected to dial us");
        let mut quota = reason(WaitingOn::Quota, Some(3 * 3_600_000));
        quota.note = Some("14.2 MiB used of 10 MiB".to_owned());
        assert_eq!(
            waiting(vec![quota], 0).sentence("beta", NOW),
            "the quota opens in 3 h 0 min (14.2 MiB used of 10 MiB)"
        );
        let turn = waiting(vec![reason(WaitingOn::Turn, None)], 12);
        assert_eq!(
            turn.sentence("beta", NOW),
            "waiting its turn: 12 deliveries of 18.0 KiB go first"
        );
    }

    #[test]
    fn every_reason_has_a_sentence_with_and_without_a_time() {
        for on in WaitingOn::ALL {
            for wait in [None, Some(90_000)] {
                let sentence = waiting(vec![reason(on, wait)], 1).sentence("beta", NOW);
                assert!(sentence.len() > 8 && !sentence.ends_with('.'), "{sentence}");
            }
        }
    }

    #[test]
    fn waits_are_said_as_people_say_them() {
        let said = |ms| wait(Unix(NOW.0 + ms), NOW);
        assert_eq!(said(0), "now");
        assert_eq!(said(3_240), "in 3.2 s");
        assert_eq!(said(59_000), "in 59 s");
        assert_eq!(said(300_000), "in 5 min");
        assert_eq!(said(7_800_000), "in 2 h 10 min");
        assert_eq!(said(8 * 86_400_000), "in 8 days");
    }
}
