//! Counting equal denials: the first of its kind is told at once, the others of its
//! minute together when that is over (surface 7).
//!
//! Two denials are equal when the same uid was refused the same verb; the label and
//! reason told are those of the first. A uid that is refused many verbs takes one place
//! for each; beyond [`KINDS`] places a denial is told at once, uncounted.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::Caller;
use crate::time::Mono;

/// How long equal denials are counted before they are told.
pub const MINUTE: Duration = Duration::from_secs(60);

/// Kinds counted at once: every verb for a dozen uids.
pub const KINDS: usize = 512;

/// Denials to be written down as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// Who was refused.
    pub caller: Caller,
    /// What.
    pub verb: &'static str,
    /// How often.
    pub count: u64,
}

/// One kind of denial within its minute.
#[derive(Debug)]
struct Kind {
    caller: Caller,
    since: Mono,
    untold: u64,
}

/// What was denied of late.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<(u32, &'static str), Kind>);

impl Tally {
    /// `caller` was refused `verb`; answers what is to be told now.
    pub fn denied(&mut self, now: Mono, caller: Caller, verb: &'static str) -> Vec<Denied> {
        let mut told = self.due(now);
        let key = (caller.uid, verb);
        if let Some(kind) = self.0.get_mut(&key) {
            kind.untold += 1;
            return told;
        }
        if self.0.len() < KINDS {
            let kind = Kind {
                caller: caller.clone(),
                since: now,
                untold: 0,
            };
            self.0.insert(key, kind);
        }
        told.push(Denied {
            caller,
            verb,
            count: 1,
        });
        told
    }

    /// What is to be told now, because its minute is over.
    pub fn due(&mut self, now: Mono) -> Vec<Denied> {
        let mut told = Vec::new();
        self.0.retain(|(_, verb), kind| {
            let over = now.since(kind.since) >= MINUTE;
            if over {
                told.extend(kind.told(verb));
            }
            !over
        });
        told
    }

    /// All that is not told yet.
    pub fn rest(&mut self) -> Vec<Denied> {
        let all = std::mem::take(&mut self.0);
        all.into_iter()
            .filter_map(|((_, verb), mut kind)| kind.told(verb))
            .collect()
    }

    /// When [`Tally::due`] should be asked next.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.0.values().map(|kind| kind.since + MINUTE).min()
    }
}

impl Kind {
    fn told(&mut self, verb: &'static str) -> Option<Denied> {
        let count = std::mem::take(&mut self.untold);
        (count > 0).then(|| Denied {
            caller: self.caller.clone(),
            verb,
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(uid: u32) -> Caller {
        Caller {
            uid,
            ..Caller::default()
        }
    }

    fn second(n: u64) -> Mono {
        Mono(n * 1_000_000)
    }

    fn counts(told: &[Denied]) -> Vec<(u32, u64)> {
        told.iter()
            .map(|denied| (denied.caller.uid, denied.count))
            .collect()
    }

    #[test]
    fn equal_denials_of_a_minute_are_told_once_and_then_together() {
        let mut tally = Tally::default();

        let first = tally.denied(second(0), caller(7), "relay pause");
        let others: Vec<_> = (1..5)
            .flat_map(|n| tally.denied(second(n), caller(7), "relay pause"))
            .collect();
        let over = tally.due(second(60));

        assert_eq!(counts(&first), [(7, 1)]);
        assert_eq!(others, []);
        assert_eq!(counts(&over), [(7, 4)]);
        assert_eq!(tally.deadline(), None);
    }

    #[test]
    fn another_uid_or_another_verb_is_told_by_itself() {
        let mut tally = Tally::default();

        let told: Vec<_> = [(7, "relay pause"), (8, "relay pause"), (7, "peer kick")]
            .into_iter()
            .flat_map(|(uid, verb)| tally.denied(second(0), caller(uid), verb))
            .collect();

        assert_eq!(counts(&told), [(7, 1), (8, 1), (7, 1)]);
        assert_eq!(tally.deadline(), Some(second(60)));
        assert_eq!(tally.rest(), []);
    }

    #[test]
    fn a_flood_takes_bounded_memory_and_no_denial_is_forgotten() {
        let mut tally = Tally::default();
        let mut told = 0;

        for n in 0..4_000 {
            let denied = tally.denied(second(1), caller(n % 1_000), "relay pause");
            told += denied.iter().map(|denied| denied.count).sum::<u64>();
        }
        told += tally.rest().iter().map(|denied| denied.count).sum::<u64>();

        assert_eq!(told, 4_000);
    }
}
