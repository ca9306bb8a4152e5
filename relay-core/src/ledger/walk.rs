//! Which way a listing walks, and the query that walks so.

use super::list::DeliveryFilter;
use super::place::PACK;
use super::rows::OWED;
use crate::delivery::StateName;

/// Which way a listing walks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// Walks `owed` by its key, or by the index of what is in one rare state.
pub(super) fn deliveries_sql(filter: &DeliveryFilter, order: Order) -> String {
    let walk = match filter.state {
        Some(StateName::Inflight) => "INDEXED BY owed_inflight",
        Some(StateName::Deadletter) => "INDEXED BY owed_parked",
        Some(StateName::Scheduled | StateName::Failed | StateName::Acked) | None => "",
    };
    let state = filter
        .state
        .map_or_else(String::new, |s| format!("AND o.state = {}", s as i64));
    let (beyond, way) = match order {
        Order::OldestFirst => (">=", "ASC"),
        Order::NewestFirst => ("<=", "DESC"),
    };
    format!(
        "SELECT {OWED}, {PACK} FROM owed o {walk} JOIN pack p ON p.no = o.pack
         WHERE (o.pack, o.part, o.peer) {beyond} (?1, ?2, ?3) {state}
         ORDER BY o.pack {way}, o.part {way}, o.peer {way}"
    )
}

impl Order {
    /// Whether `member` comes after `last` on this way.
    pub(super) const fn is_beyond(self, member: u16, last: u16) -> bool {
        match self {
            Self::OldestFirst => member > last,
            Self::NewestFirst => member < last,
        }
    }

    /// The member after which a row has none.
    pub(super) const fn last_member(self) -> u16 {
        match self {
            Self::OldestFirst => u16::MAX,
            Self::NewestFirst => 0,
        }
    }
}
