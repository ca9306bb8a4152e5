//! Poison: what brings this daemon down again and again, or fails in the same way at
//! two peers that answer.
//!
//! A panic names what was in hand ([`Touched`]); the shell writes it down as the
//! process dies, and hands it in at the next start ([`Panic`]). [`Marks`] counts by
//! name. A name may stand for a whole pack of which one member is to blame: such a
//! pack is taken apart first, so that the next panic names one alone, and only what
//! was named for itself is poison. Nothing else counts: a process that is killed, or
//! loses its power, names nothing (semantics 6).
//!
//! [`Alike`] remembers which peer called which member bad and in what words. It lives
//! in memory: after a restart what still fails says so again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::{Due, Part};
use crate::event::{Effect, Input};
use crate::id::{BootEpoch, NodeNo, PackNo, SegmentId};
use crate::limits;
use crate::time::Unix;

/// Namings that make one poison.
const TWICE: u32 = 2;
/// Namings of a pack that could not be taken apart in between: all of it is poison.
const STUBBORN: u32 = 3;

/// What was in hand when a panic came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Touched {
    /// Something owed to a peer.
    Owed(Due),
    /// A segment on its way in.
    Arriving(SegmentId),
}

impl Touched {
    /// What hearing `input` touches, if it is one thing. Rows that are read back are
    /// not: what is poison is to be found and parked by them.
    #[must_use]
    pub fn by_input(input: &Input) -> Option<Self> {
        match input {
            Input::Wanted { due, .. }
            | Input::Taken { due, .. }
            | Input::SendFailed { due, .. }
            | Input::Verified { due, .. } => Some(Self::Owed(*due)),
            Input::Arrived { arrival, .. } => match arrival.ids[..] {
                [(id, _)] => Some(Self::Arriving(id)),
                _ => None,
            },
            Input::Offered { offer, .. } => match offer.ids[..] {
                [(id, _)] => Some(Self::Arriving(id)),
                _ => None,
            },
            Input::Announced { .. }
            | Input::Put(_)
            | Input::KeyFound { .. }
            | Input::Fetched { .. }
            | Input::Persisted(..)
            | Input::PersistRefused(..)
            | Input::Paged { .. }
            | Input::Owing { .. }
            | Input::Expired { .. }
            | Input::Stuck { .. }
            | Input::LookedUp { .. }
            | Input::Unread { .. }
            | Input::Recalled { .. }
            | Input::LinkUp { .. }
            | Input::LinkDown { .. }
            | Input::NetworkChanged
            | Input::OfferLost { .. }
            | Input::Progressed { .. }
            | Input::Kept { .. }
            | Input::Acked { .. }
            | Input::PeerBusy { .. }
            | Input::PeerSettled { .. }
            | Input::Delivered { .. }
            | Input::Divided { .. }
            | Input::Grouped { .. }
            | Input::Walked { .. }
            | Input::Ordered { .. }
            | Input::SentOnWire { .. }
            | Input::Panicked(_)
            | Input::Unspooled(_)
            | Input::Drain
            | Input::Wake => None,
        }
    }

    /// What performing `effect` touches, if it is one thing.
    #[must_use]
    pub const fn by_effect(effect: &Effect) -> Option<Self> {
        match effect {
            Effect::Offer { parcel, .. } | Effect::Send { parcel, .. } => {
                Some(Self::Owed(parcel.due))
            }
            Effect::Reset { due, .. } | Effect::Verify(due) => Some(Self::Owed(*due)),
            Effect::Admit(_)
            | Effect::Accept(_)
            | Effect::AcceptAs(..)
            | Effect::Refuse(..)
            | Effect::Answer(..)
            | Effect::Discard(_)
            | Effect::FindKey(..)
            | Effect::Fetch(_)
            | Effect::Persist(..)
            | Effect::Page { .. }
            | Effect::Owing { .. }
            | Effect::FindExpired { .. }
            | Effect::FindStuck { .. }
            | Effect::LookUp { .. }
            | Effect::Divide { .. }
            | Effect::Group(_)
            | Effect::Walk { .. }
            | Effect::Recall { .. }
            | Effect::Dial(_)
            | Effect::Close { .. }
            | Effect::Want { .. }
            | Effect::Journaled { .. }
            | Effect::Forget(_)
            | Effect::Have { .. }
            | Effect::Ack { .. }
            | Effect::Busy { .. }
            | Effect::Settle { .. }
            | Effect::Shun(_)
            | Effect::Drained => None,
        }
    }
}

/// One panic of an earlier run, as the shell wrote it down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    /// The run it ended.
    pub epoch: BootEpoch,
    /// When, on the age clock.
    pub at: Unix,
    /// What was in hand, if it was one thing.
    pub touched: Option<Touched>,
    /// What it said and where, for people.
    pub said: String,
}

/// How often something was named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// So often as it stands.
    pub count: u32,
    /// Whether it was named before it was taken apart.
    pub whole: bool,
    /// When last.
    pub at: Unix,
}

/// A row as poison sees it.
#[derive(Clone, Copy, Debug)]
pub struct Suspect {
    /// Its name.
    pub due: Due,
    /// The only member it speaks for, if it is one.
    pub alone: Option<u16>,
    /// Members of its pack, those included that have left it.
    pub of: u32,
}

/// What is to become of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing holds against it.
    Sound,
    /// One of several members is suspected: each goes alone from here on.
    TakeApart,
    /// It is isolated; so often it was named.
    Poison(u32),
}

/// What panics have named.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    owed: BTreeMap<(PackNo, NodeNo, Part), Mark>,
    arriving: BTreeMap<SegmentId, Mark>,
}

impl Marks {
    /// Whether nothing that is owed was named.
    #[must_use]
    pub fn holds_nothing(&self) -> bool {
        self.owed.is_empty()
    }

    /// Names `touched` once more, at `at`; answers what is to be kept of it.
    pub fn name(&mut self, touched: Touched, at: Unix) -> Mark {
        let mark = match touched {
            Touched::Owed(due) => self.owed.entry(key(due)).or_default(),
            Touched::Arriving(id) => self.arriving.entry(id).or_default(),
        };
        (mark.count, mark.at) = (mark.count.saturating_add(1), at);
        *mark
    }

    /// Sets what an earlier run kept, or the ledger keeps.
    pub fn set(&mut self, touched: Touched, mark: Mark) {
        match touched {
            Touched::Owed(due) => drop(self.owed.insert(key(due), mark)),
            Touched::Arriving(id) => drop(self.arriving.insert(id, mark)),
        }
    }

    /// The mark of a row, by its own name.
    #[must_use]
    pub fn of(&self, due: Due) -> Option<Mark> {
        self.owed.get(&key(due)).copied()
    }

    /// Forgets a mark.
    pub fn forget(&mut self, touched: Touched) {
        match touched {
            Touched::Owed(due) => drop(self.owed.remove(&key(due))),
            Touched::Arriving(id) => drop(self.arriving.remove(&id)),
        }
    }

    /// The rows of a pack that were named.
    pub fn of_pack(&self, pack: PackNo) -> impl Iterator<Item = (Due, Mark)> {
        let from = (pack, NodeNo(0), Part::Rest);
        let rows = self.owed.range(from..);
        rows.take_while(move |((of, ..), _)| *of == pack)
            .map(|((pack, peer, part), mark)| (due(*pack, *peer, *part), *mark))
    }

    /// Packs of which something was named, ascending.
    #[must_use]
    pub fn packs(&self) -> Vec<PackNo> {
        let mut packs: Vec<PackNo> = self.owed.keys().map(|(pack, ..)| *pack).collect();
        packs.dedup();
        packs
    }

    /// Segments that are not taken in any more.
    pub fn shunned(&self) -> impl Iterator<Item = SegmentId> {
        let poison = self.arriving.iter().filter(|(_, mark)| mark.count >= TWICE);
        poison.map(|(id, _)| *id)
    }

    /// Whether a segment is not taken in any more.
    #[must_use]
    pub fn shuns(&self, id: SegmentId) -> bool {
        self.arriving
            .get(&id)
            .is_some_and(|mark| mark.count >= TWICE)
    }

    /// What is forgotten at `now`: what was named too long ago, and beyond the bound
    /// what was named first.
    pub fn expire(&mut self, now: Unix, keep: Duration) -> Vec<Touched> {
        let owed = self.owed.iter().map(|((pack, peer, part), mark)| {
            let due = due(*pack, *peer, *part);
            (mark.at, Touched::Owed(due))
        });
        let arriving = self.arriving.iter();
        let arriving = arriving.map(|(id, mark)| (mark.at, Touched::Arriving(*id)));
        let mut all: Vec<(Unix, Touched)> = owed.chain(arriving).collect();
        all.sort_unstable();
        let beyond = all.len().saturating_sub(limits::POISON_MARKS);
        let old = all.partition_point(|(at, _)| *at + keep <= now);
        all.truncate(beyond.max(old));
        let gone: Vec<Touched> = all.into_iter().map(|(_, touched)| touched).collect();
        gone.iter().for_each(|touched| self.forget(*touched));
        gone
    }

    /// What is to become of a row that is about to wait for its turn.
    #[must_use]
    pub fn judge(&self, row: Suspect) -> Verdict {
        let (mut exact, mut shared, mut named) = (0, 0, false);
        for (due, mark) in self.of_pack(row.due.pack) {
            named = true;
            let same = match due.part {
                Part::Member(member) => row.alone == Some(member),
                Part::Rest => row.of == 1 || due == row.due,
            };
            if same {
                exact += mark.count;
            }
            if due.part == Part::Rest && (mark.whole || !same) {
                shared = 1;
            }
        }
        if !named {
            return Verdict::Sound;
        }
        match row.alone {
            Some(_) if exact > 0 && exact + shared >= TWICE => Verdict::Poison(exact + shared),
            Some(_) => Verdict::Sound,
            None if exact >= STUBBORN => Verdict::Poison(exact),
            None => Verdict::TakeApart,
        }
    }
}

const fn key(due: Due) -> (PackNo, NodeNo, Part) {
    (due.pack, due.peer, due.part)
}

const fn due(pack: PackNo, peer: NodeNo, part: Part) -> Due {
    Due { peer, pack, part }
}

/// A member of a pack.
pub type Member = (PackNo, u16);

/// What failed where, in whose words.
#[derive(Clone, Debug, Default)]
pub struct Alike(BTreeMap<Member, BTreeMap<NodeNo, String>>);

impl Alike {
    /// `peer` called `member` bad; answers the others that did so in the same words.
    pub fn failed(&mut self, member: Member, peer: NodeNo, said: &str) -> Vec<NodeNo> {
        if self.0.len() >= limits::POISON_MARKS && !self.0.contains_key(&member) {
            self.0.pop_first();
        }
        let words = self.0.entry(member).or_default();
        words.insert(peer, said.to_owned());
        let same = words
            .iter()
            .filter(|(other, word)| **other != peer && *word == said);
        same.map(|(other, _)| *other).collect()
    }

    /// Some peer has these members of a pack: they are sound.
    pub fn sound(&mut self, pack: PackNo, is_one: impl Fn(u16) -> bool) {
        if self.0.is_empty() {
            return;
        }
        let range = (pack, 0)..=(pack, u16::MAX);
        let found: Vec<Member> = self.0.range(range).map(|(member, _)| *member).collect();
        for member in found.into_iter().filter(|(_, member)| is_one(*member)) {
            self.0.remove(&member);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: PackNo = PackNo(9);
    const NOW: Unix = Unix(1_000_000);

    fn rest(peer: u32) -> Due {
        due(PACK, NodeNo(peer), Part::Rest)
    }

    fn member(peer: u32, member: u16) -> Due {
        due(PACK, NodeNo(peer), Part::Member(member))
    }

    fn named(dues: &[Due]) -> Marks {
        let mut marks = Marks::default();
        for due in dues {
            marks.name(Touched::Owed(*due), NOW);
        }
        marks
    }

    /// A row of a pack of `of`, which speaks for `alone` if that is one.
    const fn row(due: Due, alone: Option<u16>, of: u32) -> Suspect {
        Suspect { due, alone, of }
    }

    #[test]
    fn one_naming_is_no_poison_and_two_are() {
        let segment = row(rest(1), Some(0), 1);

        assert_eq!(Marks::default().judge(segment), Verdict::Sound);
        assert_eq!(named(&[rest(1)]).judge(segment), Verdict::Sound);
        assert_eq!(
            named(&[rest(1), rest(1)]).judge(segment),
            Verdict::Poison(2)
        );
        assert_eq!(
            named(&[rest(1), rest(2)]).judge(segment),
            Verdict::Poison(2)
        );
    }

    #[test]
    fn a_pack_that_was_named_is_taken_apart_at_every_peer() {
        let marks = named(&[rest(1)]);

        assert_eq!(marks.judge(row(rest(1), None, 3)), Verdict::TakeApart);
        assert_eq!(marks.judge(row(rest(2), None, 3)), Verdict::TakeApart);
        let other = due(PackNo(8), NodeNo(1), Part::Rest);
        assert_eq!(marks.judge(row(other, None, 3)), Verdict::Sound);
    }

    #[test]
    fn of_a_pack_taken_apart_only_what_is_named_for_itself_is_poison() {
        let mut marks = named(&[rest(1)]);
        let taken = Mark {
            count: 0,
            whole: true,
            at: NOW,
        };
        marks.set(Touched::Owed(rest(1)), taken);

        marks.name(Touched::Owed(member(1, 0)), NOW);

        assert_eq!(
            marks.judge(row(member(1, 0), Some(0), 3)),
            Verdict::Poison(2)
        );
        assert_eq!(
            marks.judge(row(member(2, 0), Some(0), 3)),
            Verdict::Poison(2)
        );
        assert_eq!(marks.judge(row(member(1, 1), Some(1), 3)), Verdict::Sound);
        assert_eq!(marks.judge(row(rest(1), Some(2), 3)), Verdict::Sound);
        assert_eq!(marks.judge(row(rest(2), Some(2), 3)), Verdict::Sound);

        marks.name(Touched::Owed(rest(1)), NOW);

        assert_eq!(marks.judge(row(rest(1), Some(2), 3)), Verdict::Poison(2));
        assert_eq!(marks.judge(row(member(1, 1), Some(1), 3)), Verdict::Sound);
    }

    #[test]
    fn a_pack_that_cannot_be_taken_apart_is_poison_the_third_time() {
        let whole = row(rest(1), None, 3);

        assert_eq!(named(&[rest(1); 2]).judge(whole), Verdict::TakeApart);
        assert_eq!(named(&[rest(1); 3]).judge(whole), Verdict::Poison(3));
    }

    #[test]
    fn marks_go_with_time_and_beyond_their_bound() {
        let keep = Duration::from_secs(60);
        let mut marks = named(&[rest(1)]);
        marks.name(Touched::Arriving(SegmentId([7; 16])), NOW + keep);

        let gone = marks.expire(NOW + keep, keep);

        assert_eq!(gone, [Touched::Owed(rest(1))]);
        assert!(marks.holds_nothing());
        for n in 0..=limits::POISON_MARKS as u64 {
            let at = NOW + keep + Duration::from_millis(n + 1);
            marks.name(Touched::Owed(due(PackNo(n), NodeNo(1), Part::Rest)), at);
        }
        let gone = marks.expire(NOW + keep, keep);
        assert_eq!(gone.len(), 2);
        assert_eq!(gone[0], Touched::Arriving(SegmentId([7; 16])));
    }

    #[test]
    fn a_segment_named_twice_as_it_arrived_is_shunned() {
        let (id, mut marks) = (SegmentId([7; 16]), Marks::default());

        marks.name(Touched::Arriving(id), NOW);
        assert!(!marks.shuns(id));
        marks.name(Touched::Arriving(id), NOW);

        assert!(marks.shuns(id));
        assert_eq!(marks.shunned().collect::<Vec<_>>(), [id]);
    }

    #[test]
    fn alike_is_the_same_words_of_another_peer_about_what_nobody_has() {
        let (one, two) = (NodeNo(1), NodeNo(2));
        let mut alike = Alike::default();

        assert_eq!(alike.failed((PACK, 0), one, "bad_digest"), []);
        assert_eq!(alike.failed((PACK, 0), one, "bad_digest"), []);
        assert_eq!(alike.failed((PACK, 1), two, "bad_digest"), []);
        assert_eq!(alike.failed((PACK, 0), two, "too slow"), []);
        assert_eq!(alike.failed((PACK, 0), two, "bad_digest"), [one]);
        alike.sound(PACK, |member| member == 0);
        assert_eq!(alike.failed((PACK, 0), two, "bad_digest"), []);
        assert_eq!(alike.failed((PACK, 1), one, "bad_digest"), [two]);
    }
}
