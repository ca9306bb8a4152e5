//! What is true of the limits of one node: who set them, what was used of them.
//!
//! Kept from orders, answers, sends and reports alone. What a quota holds is known
//! within two bounds: bodies that are on the wire and unreported are used for sure,
//! and nothing is used that was neither reported nor handed over.

use std::collections::BTreeMap;

use relay_core::event::{Order, Standing};
use relay_core::id::LaneName;
use relay_core::scheduler::Bounds;
use relay_core::time::Unix;
use relay_core::units::Rate;
use relay_core::window::{Sight, look};

use crate::scenario::{node_index, node_name};

/// A quota counts for so many minutes, and so do bytes of a lane.
pub(super) const DAY: u64 = 24 * 60;
/// Attempts of a lane count for so many.
pub(super) const HOUR: u64 = 60;
/// Milliseconds of a minute.
const MINUTE: u64 = 60_000;

/// A limit by the names of the world.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Rate(Option<usize>),
    Quota(Option<usize>),
    Bytes(LaneName),
    Attempts(LaneName),
}

/// Amounts by the minute of the age clock.
pub(super) type Minutes = BTreeMap<u64, u64>;

/// What is true of the limits of one node.
#[derive(Debug, Default)]
pub(super) struct Truth {
    pub(super) config: Bounds,
    pub(super) rate: Rate,
    pub(super) rates: BTreeMap<usize, Rate>,
    pub(super) stored: BTreeMap<Key, u64>,
    pub(super) ephemeral: BTreeMap<Key, u64>,
    /// What an answer promised to keep; `None`: that nothing is kept.
    pub(super) promised: BTreeMap<Key, Option<u64>>,
    pub(super) used: BTreeMap<Option<usize>, Minutes>,
    pub(super) lane_bytes: BTreeMap<LaneName, Minutes>,
    pub(super) attempts: BTreeMap<LaneName, Minutes>,
    /// Bodies on the wire that no link has reported.
    pub(super) unreported: BTreeMap<usize, u64>,
    /// Bytes given to links, less what these reported since.
    pub(super) handed: BTreeMap<usize, u64>,
    /// Admissions delayed and refused, as last shown, and since when they count.
    pub(super) counts: BTreeMap<Option<usize>, (u64, u64)>,
    pub(super) since: Option<Unix>,
    /// What its age clock said last.
    pub(super) seen: Unix,
    pub(super) steps: u64,
}

pub(super) const fn minute(at: Unix) -> u64 {
    at.0 / MINUTE
}

/// `amount` more, at `at`.
pub(super) fn enter(minutes: &mut Minutes, at: Unix, amount: u64) {
    *minutes.entry(minute(at)).or_default() += amount;
}

/// What counts at `unix` of a span that long.
pub(super) fn within(minutes: Option<&Minutes>, unix: Unix, span: u64) -> u64 {
    let first = minute(unix).saturating_sub(span);
    let minutes = minutes.into_iter();
    minutes.flat_map(|m| m.range(first..).map(|(_, n)| n)).sum()
}

/// The first minute, from that of `unix` on, in which less than `below` counts.
fn opens(minutes: Option<&Minutes>, unix: Unix, span: u64, below: u64) -> Option<u64> {
    if below == 0 {
        return None;
    }
    let at = |minute: u64| within(minutes, Unix(minute * MINUTE), span);
    let mut minute = minute(unix);
    // What is used falls by whole minutes, each a span after it was used.
    while at(minute) >= below {
        let first = minutes?.range(minute.saturating_sub(span)..).next()?;
        minute = first.0 + span + 1;
    }
    Some(minute)
}

/// What deliveries may use of a quota: 98 of 100.
fn stops_at(quota: u64) -> u64 {
    (quota - quota.div_ceil(50)).max(1)
}

impl Truth {
    fn configured(&self, key: &Key) -> u64 {
        let own = |peer: &usize| self.config.peers.get(&node_name(*peer));
        match key {
            Key::Rate(None) => self.rate.0,
            Key::Rate(Some(peer)) => self.rates.get(peer).map_or(0, |rate| rate.0),
            Key::Quota(None) => self.config.quota,
            Key::Quota(Some(peer)) => own(peer).map_or(0, |bounds| bounds.quota),
            Key::Bytes(lane) => self.config.lane_bytes.get(lane).copied().unwrap_or(0),
            Key::Attempts(_) => 0,
        }
    }

    /// What a limit is; 0 is none.
    pub(super) fn holds(&self, key: &Key) -> u64 {
        let set = self.ephemeral.get(key).or_else(|| self.stored.get(key));
        set.copied().unwrap_or_else(|| self.configured(key))
    }

    /// Used and unreported of a quota: at least and at most. What links report
    /// may be control frames while bodies still wait to be: so much is not known.
    fn spent(&self, whose: Option<usize>, unix: Unix) -> (u64, u64) {
        let used = within(self.used.get(&whose), unix, DAY);
        let handed = |peer: &usize| self.handed.get(peer).copied().unwrap_or(0);
        let meant = |peer: &usize| whose.is_none_or(|whose| whose == *peer);
        let bodies = self.unreported.iter().filter(|(peer, _)| meant(peer));
        let least: u64 = bodies.map(|(peer, n)| (*n).min(handed(peer))).sum();
        let most: u64 = self.handed.keys().filter(|p| meant(p)).map(handed).sum();
        (used + least, used + most)
    }

    /// Whether deliveries have used up a quota: for sure, and perhaps.
    pub(super) fn is_out(&self, whose: Option<usize>, unix: Unix) -> (bool, bool) {
        let cap = self.holds(&Key::Quota(whose));
        let (least, most) = self.spent(whose, unix);
        (
            cap > 0 && least >= stops_at(cap),
            cap > 0 && most >= stops_at(cap),
        )
    }

    /// The same of both quotas that a delivery to `peer` needs.
    pub(super) fn is_out_for(&self, peer: usize, unix: Unix) -> (bool, bool) {
        let (own, all) = (self.is_out(Some(peer), unix), self.is_out(None, unix));
        (own.0 || all.0, own.1 || all.1)
    }

    /// The minutes between which the quotas for `peer` open again. What is on its
    /// way counts as used now.
    pub(super) fn quota_opens(&self, peer: usize, unix: Unix) -> (u64, u64) {
        let mut between = (minute(unix), minute(unix));
        for whose in [Some(peer), None] {
            let cap = self.holds(&Key::Quota(whose));
            if cap == 0 {
                continue;
            }
            let used = self.used.get(&whose);
            let already = within(used, unix, DAY);
            let (least, most) = self.spent(whose, unix);
            let when = |pending: u64| {
                let below = stops_at(cap).saturating_sub(pending);
                let opens = opens(used, unix, DAY, below);
                opens.unwrap_or(minute(unix) + DAY + 1)
            };
            between.0 = between.0.max(when(least - already));
            between.1 = between.1.max(when(most - already));
        }
        between
    }

    /// The minute in which a lane's budget opens, if it is used up.
    pub(super) fn budget_opens(&self, lane: &LaneName, unix: Unix) -> Option<u64> {
        let budgets = [
            (Key::Bytes(lane.clone()), self.lane_bytes.get(lane), DAY),
            (Key::Attempts(lane.clone()), self.attempts.get(lane), HOUR),
        ];
        let spent = budgets.into_iter().filter_map(|(key, minutes, span)| {
            let cap = self.holds(&key);
            let out = cap > 0 && within(minutes, unix, span) >= cap;
            out.then(|| opens(minutes, unix, span, cap)).flatten()
        });
        spent.max()
    }

    /// What the windows of `peer` say; `None` if it has none.
    pub(super) fn window(&self, peer: usize, wall: Unix) -> Option<Sight> {
        let own = self.config.peers.get(&node_name(peer));
        let windows = own.map(|own| &own.windows);
        windows
            .filter(|windows| !windows.is_empty())
            .map(|windows| look(windows, wall))
    }

    /// Whether one of them is open, or there is none.
    pub(super) fn is_contact(&self, peer: usize, wall: Unix) -> bool {
        self.window(peer, wall).is_none_or(|sight| sight.open)
    }
}

/// When `minute` begins.
pub(super) const fn start(minute: u64) -> u64 {
    minute * MINUTE
}

/// What an order wants each limit to be; `None` where it is no such order.
pub(super) fn wanted(order: &Order) -> Option<(Standing, Vec<(Key, u64)>)> {
    match order {
        Order::Bandwidth {
            change,
            dry_run: false,
        } => {
            let peer = change.peer.as_ref().map(node_index);
            let rate = change.rate.map(|rate| rate.0);
            let (rate, quota) = match change.standing {
                Standing::Reset => (Some(0), Some(0)),
                Standing::Stored | Standing::Ephemeral => (rate, change.daily_quota),
            };
            let all = [(Key::Rate(peer), rate), (Key::Quota(peer), quota)];
            let all = all.into_iter().filter_map(|(key, to)| Some((key, to?)));
            Some((change.standing, all.collect()))
        }
        Order::LaneBudget {
            change,
            dry_run: false,
        } => {
            let lane = &change.lane;
            let all = [
                (Key::Bytes(lane.clone()), change.bytes_per_day),
                (Key::Attempts(lane.clone()), change.attempts_per_hour),
            ];
            let all = all.into_iter().filter_map(|(key, to)| Some((key, to?)));
            Some((Standing::Stored, all.collect()))
        }
        Order::Bandwidth { .. }
        | Order::LaneBudget { .. }
        | Order::Pause { .. }
        | Order::Resume(_)
        | Order::Hold(_)
        | Order::Release(_)
        | Order::Cancel(_)
        | Order::Force(_)
        | Order::Retry { .. }
        | Order::Purge(_)
        | Order::Kick(_)
        | Order::Drop(_)
        | Order::Note(_)
        | Order::PruneAudit { .. }
        | Order::Configure { .. } => None,
    }
}
