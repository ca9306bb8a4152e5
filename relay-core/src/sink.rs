//! Where arrivals go by themselves: what becomes of one after each try, and what its
//! files are called.
//!
//! A sink is a consumer like any other: it leases, does something, confirms. What a peer
//! wrote is data to it: names are made of the segment's id alone. A try that fails counts
//! against the segment, and after [`TRIES`] it is parked as refused so that the others go
//! on. What finds no room, or cannot be read just now, rests for itself and is not counted,
//! and after many of these in a row the sink pauses; where it cannot work, everything waits.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::id::SegmentId;

/// Tries before an arrival is parked.
pub const TRIES: u32 = 8;
/// How long an arrival rests after a try that failed.
pub const AGAIN: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(5 * 60),
};
/// How long a sink rests that cannot work.
pub const UNABLE: Backoff = Backoff {
    first: Duration::from_secs(1),
    longest: Duration::from_secs(60),
};
/// How long an arrival rests for which there was no room: longer than a sink rests, so
/// that others have their turn.
pub const LATER: Duration = Duration::from_secs(2 * 60);
/// Arrivals in a row that found no room, or could not be read, before a sink pauses.
pub const IN_A_ROW: u32 = 64;
/// How long it pauses.
pub const PAUSE: Duration = Duration::from_secs(1);
/// Arrivals whose tries are remembered; what is forgotten is only tried more often.
pub const REMEMBERED: usize = 10_000;

/// How a try ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The arrival is where it belongs, and stays there.
    Done,
    /// It did not work with this one.
    Failed,
    /// Not now: there is no room for it, or its bytes cannot be read. What is shorter, or
    /// lies elsewhere, may do better.
    Waits,
    /// It would not have worked with any.
    Unable,
}

/// What becomes of the arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is confirmed.
    Confirm,
    /// It rests so long, nobody else's, and is taken again.
    Again(Duration),
    /// It is parked as refused.
    Refuse,
}

/// How often each arrival was tried in vain.
#[derive(Debug, Default)]
pub struct Tries(BTreeMap<SegmentId, u32>);

impl Tries {
    /// What becomes of `segment` after a try, given one drawn number.
    pub fn after(&mut self, segment: SegmentId, tried: Tried, drawn: u64) -> Fate {
        match tried {
            Tried::Done => {
                self.0.remove(&segment);
                Fate::Confirm
            }
            Tried::Unable => Fate::Again(Duration::ZERO),
            Tried::Waits => Fate::Again(LATER),
            Tried::Failed => {
                if self.0.len() >= REMEMBERED && !self.0.contains_key(&segment) {
                    return Fate::Again(AGAIN.longest);
                }
                let count = self.0.entry(segment).or_default();
                *count += 1;
                if *count < TRIES {
                    return Fate::Again(AGAIN.wait(*count, drawn));
                }
                self.0.remove(&segment);
                Fate::Refuse
            }
        }
    }
}

/// What a sink does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    GoesOn,
    /// It pauses: neither those that wait nor those behind them shall cost a core.
    Pauses(Duration),
    /// It rests, longer each time.
    Rests,
}

/// How many arrivals in a row had to wait.
#[derive(Debug, Default)]
pub struct Row(u32);

impl Row {
    /// What the sink does after these.
    pub fn after(&mut self, came_to: &[Tried]) -> Next {
        for tried in came_to {
            match tried {
                Tried::Waits => self.0 += 1,
                Tried::Done | Tried::Failed | Tried::Unable => self.0 = 0,
            }
        }
        if came_to.contains(&Tried::Unable) {
            return Next::Rests;
        }
        if self.0 < IN_A_ROW {
            return Next::GoesOn;
        }
        self.0 = 0;
        Next::Pauses(PAUSE)
    }
}

/// The names of the files of one arrival: its bytes, and the words that came with it.
#[must_use]
pub fn file_names(segment: SegmentId) -> [String; 2] {
    [BIN, JSON].map(|end| format!("{segment}{end}"))
}

/// What a file is called until it is whole.
#[must_use]
pub fn part_name(name: &str) -> String {
    format!(".{name}{PART}")
}

/// Whether a name is one that [`part_name`] made of one that [`file_names`] made: what a
/// sink that was killed left half written.
#[must_use]
pub fn is_part(name: &str) -> bool {
    let whole = name.strip_prefix('.').and_then(|n| n.strip_suffix(PART));
    let id = whole.and_then(|n| n.strip_suffix(BIN).or_else(|| n.strip_suffix(JSON)));
    let id = id.and_then(|id| id.parse::<SegmentId>().ok());
    id.is_some_and(|id| file_names(id).iter().any(|n| Some(n.as_str()) == whole))
}

const BIN: &str = ".bin";
const JSON: &str = ".json";
const PART: &str = ".part";

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SegmentId = SegmentId([7; 16]);

    #[test]
    fn what_fails_rests_longer_each_time_and_is_parked_after_its_tries() {
        let mut tries = Tries::default();

        let fates: Vec<Fate> = (0..TRIES)
            .map(|_| tries.after(ID, Tried::Failed, u64::MAX))
            .collect();

        let (last, rests) = fates.split_last().expect("it was tried");
        assert_eq!(*last, Fate::Refuse);
        let rests: Vec<Duration> = rests
            .iter()
            .map(|fate| match fate {
                Fate::Again(rest) => *rest,
                Fate::Confirm | Fate::Refuse => panic!("{fate:?}"),
            })
            .collect();
        assert!(rests.is_sorted() && rests[0] > Duration::ZERO, "{rests:?}");
        assert!(tries.0.is_empty(), "what is parked is forgotten");
    }

    #[test]
    fn what_works_in_the_end_is_confirmed_and_starts_anew_should_it_come_again() {
        let mut tries = Tries::default();
        for _ in 1..TRIES {
            tries.after(ID, Tried::Failed, 0);
        }

        assert_eq!(tries.after(ID, Tried::Done, 0), Fate::Confirm);
        let again = tries.after(ID, Tried::Failed, 0);
        assert!(matches!(again, Fate::Again(_)), "{again:?}");
    }

    #[test]
    fn a_sink_that_cannot_work_costs_no_arrival_a_try() {
        let mut tries = Tries::default();

        for _ in 0..3 * TRIES {
            let fate = tries.after(ID, Tried::Unable, 0);
            assert_eq!(fate, Fate::Again(Duration::ZERO));
        }
    }

    #[test]
    fn what_finds_no_room_rests_alone_and_many_of_these_make_the_sink_pause() {
        let mut tries = Tries::default();
        for _ in 0..3 * TRIES {
            assert_eq!(tries.after(ID, Tried::Waits, 0), Fate::Again(LATER));
        }
        assert!(LATER > UNABLE.longest, "others have their turn");

        let mut row = Row::default();
        let waits = [Tried::Waits; IN_A_ROW as usize];
        assert_eq!(row.after(&[]), Next::GoesOn);
        assert_eq!(row.after(&waits[1..]), Next::GoesOn);
        assert_eq!(row.after(&waits[..1]), Next::Pauses(PAUSE));
        assert_eq!(row.after(&waits[1..]), Next::GoesOn);
        assert_eq!(row.after(&[Tried::Done, Tried::Waits]), Next::GoesOn);
        assert_eq!(row.after(&waits[2..]), Next::GoesOn);
        assert_eq!(row.after(&[Tried::Done, Tried::Unable]), Next::Rests);
    }

    #[test]
    fn tries_that_are_remembered_are_bounded_and_nothing_is_parked_early() {
        let mut tries = Tries::default();
        let id = |n: u64| SegmentId::v7(n, 1);
        for n in 0..2 * REMEMBERED as u64 {
            let fate = tries.after(id(n), Tried::Failed, 0);
            assert!(matches!(fate, Fate::Again(_)), "{fate:?}");
        }

        assert_eq!(tries.0.len(), REMEMBERED);
    }

    #[test]
    fn names_are_made_of_the_id_alone_and_half_written_ones_are_known_again() {
        let [bin, json] = file_names(ID);

        assert_eq!(bin, "seg-07070707070707070707070707070707.bin");
        assert_eq!(json, "seg-07070707070707070707070707070707.json");
        assert!(is_part(&part_name(&bin)) && is_part(&part_name(&json)));
        let others = ["", ".", ".part", ".bin.part", ".report.bin.part"];
        assert!(others.iter().all(|name| !is_part(name)));
        assert!(!is_part(&bin) && !is_part(&part_name("seg-07.bin")));
    }
}
