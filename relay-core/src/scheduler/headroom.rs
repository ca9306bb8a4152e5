//! What limits leave at one moment: plain data for `relay config get`, `relay
//! status` and `lane list`.

use super::Scheduler;
use super::allowance::meter_of;
use crate::bandwidth::Bucket;
use crate::id::{LaneName, LaneNo, NodeNo};
use crate::meter::Meter;
use crate::peer::Peer;
use crate::setting::Setting;
use crate::time::{Mono, Now, Unix};
use crate::why::size;

/// Who set a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// The config, or nobody.
    Config,
    /// An operator, until it is reset: the ledger keeps it.
    Ledger,
    /// An operator, until the next start.
    Ephemeral,
}

impl SetBy {
    /// The name in CLI and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Ledger => "ledger",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// A limit as it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// How much; 0 is no limit.
    pub value: u64,
    /// Who set it.
    pub by: SetBy,
}

impl Bound {
    pub(super) const fn new(value: u64, by: SetBy) -> Self {
        Self { value, by }
    }
}

/// Rate and quota of the node or of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BandwidthPicture {
    /// Stream bytes a second.
    pub rate: Bound,
    /// What the bucket holds at most; 0 when unlimited.
    pub burst: u64,
    /// What it holds, in bytes; negative in debt, `None` when unlimited.
    pub tokens: Option<i64>,
    /// UDP bytes of a rolling day.
    pub quota: Bound,
    /// Used of it, 28 bytes a datagram added; counted without a quota too.
    pub used: u64,
    /// Whether deliveries wait for it: it is used up to 98 parts of 100.
    pub shut: bool,
    /// When it opens, as the wall clock will say it, if that is known.
    pub opens_at: Option<Unix>,
    /// Used beyond it.
    pub overrun: u64,
    /// Admissions delayed by a rate.
    pub throttled: u64,
    /// Admissions refused by a quota.
    pub quota_drops: u64,
    /// Since when these two count, as the wall clock said it.
    pub since: Option<Unix>,
}

/// One lane and its budget, over all peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanePicture {
    /// Its name.
    pub name: LaneName,
    /// 0 (most urgent) to 7.
    pub class: u8,
    /// Its share inside the class.
    pub weight: u32,
    /// Attempts a delivery may spend.
    pub budget: u32,
    /// Stream bytes of a rolling day.
    pub bytes_per_day: Bound,
    /// Used of them.
    pub bytes_used: u64,
    /// Attempts of a rolling hour.
    pub attempts_per_hour: Bound,
    /// Used of them.
    pub attempts_used: u64,
    /// When the budget opens, as the wall clock will say it, if it is shut.
    pub opens_at: Option<Unix>,
}

impl LanePicture {
    /// Bytes left of the rolling day; `None` without a bound.
    #[must_use]
    pub fn bytes_left(&self) -> Option<u64> {
        left(self.bytes_per_day, self.bytes_used)
    }

    /// Attempts left of the rolling hour; `None` without a bound.
    #[must_use]
    pub fn attempts_left(&self) -> Option<u64> {
        left(self.attempts_per_hour, self.attempts_used)
    }
}

/// What the wall clock will say at `at`.
fn wall_of(now: Now, at: Mono) -> Unix {
    now.wall + at.since(now.mono)
}

fn left(bound: Bound, used: u64) -> Option<u64> {
    (bound.value > 0).then(|| bound.value.saturating_sub(used))
}

impl Scheduler {
    /// What is used of the quotas that are shut for `peer`, for people.
    pub(super) fn quota_figures(&self, now: Now, peer: &Peer) -> Option<String> {
        let of = |whose: Option<NodeNo>| {
            self.quota_shut(now, whose)?;
            let cap = self.standing.cap(Setting::Quota(whose))?;
            let used = self.meters.used(meter_of(whose));
            let used = used.saturating_add(self.meters.pending(whose));
            let owner = whose.map_or_else(String::new, |_| format!("{}'s ", peer.name));
            Some(format!("{} used of {owner}{}", size(used), size(cap)))
        };
        let told: Vec<String> = [None, Some(peer.no)].into_iter().filter_map(of).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// What is used of the budgets of `lane` that are used up, for people.
    pub(super) fn budget_figures(&self, lane: LaneNo) -> Option<String> {
        let of = |setting, meter| {
            let cap = self.standing.cap(setting)?;
            let used = self.meters.used(meter);
            (used >= cap).then_some((used, cap))
        };
        let bytes = of(Setting::LaneBytes(lane), Meter::LaneBytes(lane));
        let bytes = bytes.map(|(used, cap)| format!("{} used of {}", size(used), size(cap)));
        let attempts = of(Setting::LaneAttempts(lane), Meter::LaneAttempts(lane));
        let attempts = attempts.map(|(used, cap)| format!("{used} attempts of {cap}"));
        let told: Vec<String> = bytes.into_iter().chain(attempts).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }

    /// Rate and quota of a peer, or of the node.
    pub(super) fn bandwidth_picture(
        &self,
        now: Now,
        whose: Option<NodeNo>,
        bucket: &Bucket,
    ) -> BandwidthPicture {
        let quota = self.bound(Setting::Quota(whose));
        let used = self.meters.used(meter_of(whose));
        let shut = self.quota_shut(now, whose);
        let count = |of: fn(NodeNo) -> Meter| match whose {
            None => self.meters.counted_all(of),
            Some(no) => self.meters.counted(of(no)),
        };
        BandwidthPicture {
            rate: self.bound(Setting::Rate(whose)),
            burst: bucket.burst_bytes(),
            tokens: bucket.level(now.mono),
            quota,
            used,
            shut: shut.is_some(),
            opens_at: shut.flatten().map(|at| wall_of(now, at)),
            overrun: match quota.value {
                0 => 0,
                value => used.saturating_sub(value),
            },
            throttled: count(Meter::Throttled),
            quota_drops: count(Meter::QuotaDrops),
            since: self.meters.since(),
        }
    }

    /// What the contact windows of `no` say, if it has any.
    pub(super) fn window_picture(&self, no: NodeNo) -> Option<(bool, Option<Unix>)> {
        let seen = self.sights.get(&no)?;
        Some((seen.open, seen.until))
    }

    /// Every lane that has a name here, most urgent first.
    pub(super) fn lane_pictures(&self, now: Now) -> Vec<LanePicture> {
        let mut lanes: Vec<_> = self.settings.lanes.iter().collect();
        lanes.sort_by_key(|(name, rule)| (rule.class.level(), *name));
        let picture = |(name, rule): (&LaneName, &crate::segment::LaneRule)| {
            let no = self.lanes.number(name);
            let bound = |setting: fn(LaneNo) -> Setting| {
                let unset = Bound::new(0, SetBy::Config);
                no.map_or(unset, |no| self.bound(setting(no)))
            };
            let used = |meter: fn(LaneNo) -> Meter| no.map_or(0, |no| self.meters.used(meter(no)));
            LanePicture {
                name: name.clone(),
                class: rule.class.level(),
                weight: rule.weight,
                budget: rule.budget,
                bytes_per_day: bound(Setting::LaneBytes),
                bytes_used: used(Meter::LaneBytes),
                attempts_per_hour: bound(Setting::LaneAttempts),
                attempts_used: used(Meter::LaneAttempts),
                opens_at: no
                    .and_then(|no| self.budget_gate(now, no)?.until)
                    .map(|at| wall_of(now, at)),
            }
        };
        lanes.into_iter().map(picture).collect()
    }
}
