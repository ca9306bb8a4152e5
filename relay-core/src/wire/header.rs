//! The words before a pack, and which of its members they select.
//!
//! A sender names its pack once (number and, for a member that left the happy path,
//! the member's index) and the receiver's answers repeat that name. The table that
//! follows is always the pack's whole table; [`Members`] says whose bodies follow it.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::change::{Part, Sent};
use crate::event::{Heading, Parcel};
use crate::id::{LaneName, LedgerId, NodeId, PackNo, Sequence};
use crate::limits;
use crate::pack::Member;

/// The words before a pack or an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackHeader {
    /// The sender's number of the pack.
    pub pack: PackNo,
    /// Whose bodies follow the table.
    pub members: Members,
    /// The lane, by name.
    pub lane: LaneName,
    /// The node its segments entered at; `None` is the sender itself.
    pub origin: Option<NodeId>,
    /// Where the least id of the table stands in the origin's lane; `None` is what the
    /// sender's own number of the pack says.
    pub sequence: Option<Sequence>,
    /// Relays passed so far, the sender included.
    pub hops: u8,
    /// How long it stays worth sending, in milliseconds.
    pub ttl_left_ms: Option<u64>,
    /// Members in the table.
    pub count: u32,
    /// Bytes of the table.
    pub table_len: u32,
    /// Bytes of the bodies selected.
    pub body_len: u64,
}

/// Which members' bodies follow a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Members {
    /// All.
    All,
    /// All but these, ascending, not empty, not all.
    AllBut(Vec<u16>),
    /// This one alone: it left the happy path and is answered for by itself.
    Only(u16),
}

/// Why the words before a pack are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No members, or more than a pack may hold.
    #[error("pack of {0} members, 1 to {max} are allowed", max = limits::PACK_MEMBERS)]
    MemberCount(u32),
    /// A table longer than a pack.
    #[error("table of {0} B, at most {max} are allowed", max = limits::PACK_BYTES)]
    TableLength(u32),
    /// More bytes of bodies than a pack or segment may have.
    #[error("bodies of {found} B, at most {max} are allowed")]
    BodyLength {
        /// Bytes announced.
        found: u64,
        /// Bytes that may come.
        max: u64,
    },
    /// A segment that travels in a pack was offered.
    #[error("offer of {0} B, up to {max} travel in a pack", max = limits::SMALL_SEGMENT)]
    SmallOffer(u64),
    /// An offer of several members, or of a part.
    #[error("offer of a pack with {0} members, or of a part of one")]
    SharedOffer(u32),
    /// Members selected that are not there, repeated, out of order, or none left.
    #[error("members selected do not fit a pack of {0}")]
    Selection(u32),
}

impl PackHeader {
    /// The words for `parcel`, whose lane and origin have these names and whose selected
    /// bodies are `body_len` bytes. The wire counts this node among the relays passed.
    #[must_use]
    pub fn new(parcel: &Parcel, lane: LaneName, origin: Option<NodeId>, body_len: u64) -> Self {
        let left = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        Self {
            pack: parcel.due.pack,
            members: Members::of(parcel.due.part, &parcel.except),
            lane,
            origin,
            sequence: (parcel.info.sequence != Sequence::of(parcel.due.pack))
                .then_some(parcel.info.sequence),
            hops: parcel.info.hops.saturating_add(1),
            ttl_left_ms: parcel.ttl.map(left),
            count: parcel.info.count,
            table_len: parcel.info.table_len,
            body_len,
        }
    }

    /// What the core hears of it, coming from the ledger the peer named in its Hello.
    #[must_use]
    pub fn heading(&self, ledger: LedgerId) -> Heading {
        Heading {
            sent: Sent {
                ledger,
                pack: self.pack,
                part: self.members.part(),
            },
            lane: self.lane.clone(),
            origin: self.origin.clone(),
            sequence: self.sequence.unwrap_or(Sequence::of(self.pack)),
            hops: self.hops,
            ttl: self.ttl_left_ms.map(Duration::from_millis),
        }
    }

    /// Checks what may stand before a pack.
    ///
    /// # Errors
    /// [`HeaderError`], naming the number out of bounds.
    pub fn check_pack(&self) -> Result<(), HeaderError> {
        self.check_table()?;
        let max = limits::PACK_BYTES;
        if self.body_len > max {
            return Err(HeaderError::BodyLength {
                found: self.body_len,
                max,
            });
        }
        self.members.check(self.count)
    }

    /// Checks what may stand before an offer.
    ///
    /// # Errors
    /// [`HeaderError`], naming the number out of bounds.
    pub fn check_offer(&self) -> Result<(), HeaderError> {
        self.check_table()?;
        let max = limits::MAX_SEGMENT;
        if self.body_len > max {
            return Err(HeaderError::BodyLength {
                found: self.body_len,
                max,
            });
        }
        if self.body_len <= limits::SMALL_SEGMENT {
            return Err(HeaderError::SmallOffer(self.body_len));
        }
        // The only member may have left the happy path, and is then its own part.
        match (self.count, &self.members) {
            (1, Members::All | Members::Only(0)) => Ok(()),
            (count, _) => Err(HeaderError::SharedOffer(count)),
        }
    }

    fn check_table(&self) -> Result<(), HeaderError> {
        if self.count == 0 || self.count > limits::PACK_MEMBERS {
            return Err(HeaderError::MemberCount(self.count));
        }
        if u64::from(self.table_len) > limits::PACK_BYTES {
            return Err(HeaderError::TableLength(self.table_len));
        }
        Ok(())
    }
}

impl Members {
    /// The members that a row speaks for; `except` counts with [`Part::Rest`] alone.
    #[must_use]
    pub fn of(part: Part, except: &[u16]) -> Self {
        match part {
            Part::Member(n) => Self::Only(n),
            Part::Rest if except.is_empty() => Self::All,
            Part::Rest => Self::AllBut(except.to_vec()),
        }
    }

    /// The name that answers repeat beside the pack's number.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::All | Self::AllBut(_) => Part::Rest,
            Self::Only(n) => Part::Member(*n),
        }
    }

    /// The indexes selected out of `count`, ascending; `None` when it is all of them.
    #[must_use]
    pub fn indexes(&self, count: u32) -> Option<Vec<u16>> {
        match self {
            Self::All => None,
            Self::Only(0) if count == 1 => None,
            Self::Only(n) => Some(vec![*n]),
            Self::AllBut(out) => {
                let all = (0..count).filter_map(|n| u16::try_from(n).ok());
                Some(all.filter(|n| out.binary_search(n).is_err()).collect())
            }
        }
    }

    /// Where the bodies selected lie among all bodies, neighbours as one run.
    #[must_use]
    pub fn runs(&self, table: &[Member]) -> Vec<Range<u64>> {
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut take = |member: &Member| {
            let (start, end) = (member.offset, member.offset + member.length);
            match runs.last_mut() {
                Some(run) if run.end == start => run.end = end,
                Some(_) | None => runs.push(start..end),
            }
        };
        match self.indexes(table.len() as u32) {
            None => table.iter().for_each(take),
            Some(indexes) => {
                indexes
                    .iter()
                    .filter_map(|n| table.get(usize::from(*n)))
                    .for_each(&mut take);
            }
        }
        runs
    }

    fn check(&self, count: u32) -> Result<(), HeaderError> {
        let sound = match self {
            Self::All => true,
            Self::Only(n) => u32::from(*n) < count,
            Self::AllBut(out) => {
                out.is_sorted_by(|a, b| a < b)
                    && out.last().is_some_and(|last| u32::from(*last) < count)
                    && out.len() < count as usize
            }
        };
        if sound {
            Ok(())
        } else {
            Err(HeaderError::Selection(count))
        }
    }
}

/// A [`Part`] as one number: 0 for the rest, the index and 1 for a member.
pub(super) mod part {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::change::Part;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes a reference"
    )]
    pub(in crate::wire) fn serialize<S: Serializer>(
        part: &Part,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        match part {
            Part::Rest => 0u32.serialize(out),
            Part::Member(n) => (u32::from(*n) + 1).serialize(out),
        }
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Part, D::Error> {
        let number = u32::deserialize(from)?;
        match number.checked_sub(1) {
            None => Ok(Part::Rest),
            Some(n) => u16::try_from(n)
                .map(Part::Member)
                .map_err(|_| D::Error::custom("a part beyond the members of any pack")),
        }
    }
}
