//! Limits that are set at run time: rates, quotas, budgets of lanes.
//!
//! Three may say what a limit is, and the last that speaks holds: the config,
//! what an operator stored in the ledger, what one set until the next start. An
//! order says what each limit it names was and is, writes its audit record into
//! the batch of its change, and is answered once that is durable. What a limit
//! does to deliveries stands elsewhere.

use std::collections::BTreeMap;

use super::Scheduler;
use super::headroom::{Bound, SetBy};
use crate::audit::{AuditEvent, AuditRecord};
use crate::change::{Change, Snapshot};
use crate::event::{
    Bandwidth, Caller, Done, Ingest, LaneBudget, Limit, OrderId, OrderRefused, Standing as Until,
};
use crate::id::{LaneName, LaneNo, NodeId, NodeNo};
use crate::setting::{Setting, Value};
use crate::time::{Now, Unix};
use crate::units::Rate;
use crate::window::{Sight, Window};

/// What deliveries do when a quota is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// They wait until it opens.
    #[default]
    Wait,
    /// They are parked as `forced`, with the quota named in their error.
    Deadletter,
}

/// What the config bounds beside the rates; everything is open by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// UDP bytes the node may send in a rolling day; 0 is no limit.
    pub quota: u64,
    /// What deliveries do when a quota is used up.
    pub on_exhausted: OnExhausted,
    /// What peers of the config have of their own.
    pub peers: BTreeMap<NodeId, PeerBounds>,
    /// What all others have.
    pub any: PeerBounds,
    /// The rate of all others.
    pub any_rate: Rate,
    /// What each peer may send us.
    pub ingest: Ingest,
    /// Bytes a lane may send in a rolling day; 0 or absent is no limit.
    pub lane_bytes: BTreeMap<LaneName, u64>,
}

/// What bounds one peer beside its rate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerBounds {
    /// UDP bytes that may be sent to it in a rolling day; 0 is no limit.
    pub quota: u64,
    /// When it may be sent to; always if there are none.
    pub windows: Vec<Window>,
}

/// What the windows of a peer said when they were last looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Whether one is open.
    pub(super) open: bool,
    /// When by the wall clock they were looked at: it holds from then…
    pub(super) from: Unix,
    /// …to then.
    pub(super) until: Option<Unix>,
}

impl Seen {
    /// Not yet looked at.
    const NEVER: Self = Self {
        open: false,
        from: Unix(u64::MAX),
        until: None,
    };

    pub(super) const fn new(sight: Sight, now: Now) -> Self {
        Self {
            open: sight.open,
            from: now.wall,
            until: sight.until,
        }
    }
}

/// What operators set, over the config.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Until it is reset.
    stored: BTreeMap<Setting, u64>,
    /// Until the next start.
    ephemeral: BTreeMap<Setting, u64>,
    /// What holds, where it limits anything: quotas and budgets.
    caps: BTreeMap<Setting, u64>,
}

impl Standing {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let number = |value: &Value| match value {
            Value::Number(number) => Some(*number),
            Value::Pause { .. } | Value::Panics { .. } | Value::By { .. } => None,
        };
        let stored = snapshot.settings.iter();
        Self {
            stored: stored
                .filter_map(|(setting, value)| Some((*setting, number(value)?)))
                .collect(),
            ..Self::default()
        }
    }

    /// Whether there is neither quota nor budget.
    pub(super) fn is_open(&self) -> bool {
        self.caps.is_empty()
    }

    /// A quota or budget, if there is one.
    pub(super) fn cap(&self, setting: Setting) -> Option<u64> {
        self.caps.get(&setting).copied()
    }

    /// All of them.
    pub(super) fn caps(&self) -> impl Iterator<Item = Setting> {
        self.caps.keys().copied()
    }
}

impl Scheduler {
    /// What holds for `setting`, and who set it.
    pub(super) fn bound(&self, setting: Setting) -> Bound {
        let standing = &self.standing;
        let set = |value: &u64, by| Bound { value: *value, by };
        let ephemeral = standing.ephemeral.get(&setting);
        let stored = standing.stored.get(&setting);
        ephemeral
            .map(|value| set(value, SetBy::Ephemeral))
            .or_else(|| stored.map(|value| set(value, SetBy::Ledger)))
            .unwrap_or_else(|| set(&self.configured(setting), SetBy::Config))
    }

    /// What the config says of `setting`.
    fn configured(&self, setting: Setting) -> u64 {
        let bounds = &self.settings.bounds;
        let node = |no: NodeNo| self.nodes.name(no);
        match setting {
            Setting::Rate(None) => self.settings.rate.0,
            Setting::Rate(Some(no)) => {
                let rule = node(no).and_then(|name| self.settings.peers.get(name));
                rule.map_or(bounds.any_rate, |rule| rule.rate).0
            }
            Setting::Quota(None) => bounds.quota,
            Setting::Quota(Some(no)) => self.peer_bounds(no).quota,
            Setting::LaneBytes(no) => {
                let name = self.lanes.name(no);
                let bytes = name.and_then(|name| bounds.lane_bytes.get(name));
                bytes.copied().unwrap_or(0)
            }
            Setting::LaneAttempts(_)
            | Setting::Pause(..)
            | Setting::Panicked(_)
            | Setting::PanicsCounted
            | Setting::Dropping(_) => 0,
        }
    }

    /// What the config bounds for `no` beside its rate.
    pub(super) fn peer_bounds(&self, no: NodeNo) -> &PeerBounds {
        let bounds = &self.settings.bounds;
        let name = self.nodes.name(no);
        let own = name.and_then(|name| bounds.peers.get(name));
        own.unwrap_or(&bounds.any)
    }

    /// Brings what sends in line with the limits that hold.
    pub(super) fn apply_limits(&mut self, now: Now) {
        let rate = Rate(self.bound(Setting::Rate(None)).value);
        if self.bucket.rate() != rate {
            self.bucket.set_rate(now.mono, rate);
        }
        self.note_limit(Setting::Quota(None));
        let lanes: Vec<LaneNo> = self.lanes.iter().map(|(no, _)| no).collect();
        lanes.into_iter().for_each(|no| self.note_lane_limits(no));
        let all: Vec<NodeNo> = self.peers.keys().copied().collect();
        for no in all {
            self.note_peer_limits(no);
            let rate = Rate(self.bound(Setting::Rate(Some(no))).value);
            let bucket = &mut self.peer_mut(no).bucket;
            if bucket.rate() != rate {
                bucket.set_rate(now.mono, rate);
            }
            self.dirty.insert(no);
            self.peers.touch(no);
        }
        // Before anything is sent: a window nobody has looked at is a shut one.
        self.look_at_limits(now);
    }

    /// Brings the limits of a peer into force, which may be new.
    pub(super) fn note_peer_limits(&mut self, no: NodeNo) {
        self.note_limit(Setting::Quota(Some(no)));
        if self.peer_bounds(no).windows.is_empty() {
            self.sights.remove(&no);
        } else {
            self.sights.insert(no, Seen::NEVER);
        }
    }

    /// Brings the budgets of a lane into force, which may be new.
    pub(super) fn note_lane_limits(&mut self, no: LaneNo) {
        self.note_limit(Setting::LaneBytes(no));
        self.note_limit(Setting::LaneAttempts(no));
    }

    fn note_limit(&mut self, setting: Setting) {
        match self.bound(setting).value {
            0 => self.standing.caps.remove(&setting),
            cap => self.standing.caps.insert(setting, cap),
        };
    }

    pub(super) fn set_bandwidth(
        &mut self,
        now: Now,
        id: OrderId,
        caller: &Caller,
        change: &Bandwidth,
        dry_run: bool,
    ) {
        let whom = match &change.peer {
            None => None,
            Some(name) => match self.nodes.number(name) {
                Some(no) if self.peers.contains_key(&no) => Some(no),
                Some(_) | None => {
                    return self.answer_order(id, Err(OrderRefused::UnknownPeer(name.clone())));
                }
            },
        };
        let rate = change.rate.map(|rate| rate.0);
        let wanted = match change.standing {
            Until::Reset => [
                (Setting::Rate(whom), "bytes_per_second", Some(None)),
                (Setting::Quota(whom), "daily_quota_bytes", Some(None)),
            ],
            Until::Stored | Until::Ephemeral => [
                (Setting::Rate(whom), "bytes_per_second", rate.map(Some)),
                (
                    Setting::Quota(whom),
                    "daily_quota_bytes",
                    change.daily_quota.map(Some),
                ),
            ],
        };
        let wanted = wanted.into_iter();
        let wanted: Vec<_> = wanted.filter_map(|(s, n, to)| Some((s, n, to?))).collect();
        if wanted.is_empty() {
            let why = "neither a rate nor a quota is given (try --bytes-per-second 1MiB)";
            return self.answer_order(id, Err(OrderRefused::Malformed(why.to_owned())));
        }
        let standing = match change.standing {
            Until::Stored => "stored",
            Until::Ephemeral => "ephemeral",
            Until::Reset => "reset",
        };
        let resource = change.peer.as_ref();
        let resource = resource.map_or_else(|| "relay".to_owned(), ToString::to_string);
        let event = AuditEvent::BandwidthConfigured;
        let record = AuditRecord::by(caller, now.wall, event, "bandwidth", resource);
        let record = record.with("standing", standing);
        let ephemeral = change.standing == Until::Ephemeral;
        self.set_limits(now, id, &wanted, ephemeral, (!dry_run).then_some(record));
    }

    pub(super) fn set_lane_budget(
        &mut self,
        now: Now,
        id: OrderId,
        caller: &Caller,
        change: &LaneBudget,
        dry_run: bool,
    ) {
        let known = self.settings.lanes.contains_key(&change.lane);
        let lane = self.lanes.number(&change.lane);
        let lane = lane.or_else(|| known.then(|| self.lane_number(&change.lane)).flatten());
        let Some(lane) = lane else {
            let why = OrderRefused::UnknownLane(change.lane.clone());
            return self.answer_order(id, Err(why));
        };
        let wanted = [
            (
                Setting::LaneBytes(lane),
                "bytes_per_day",
                change.bytes_per_day,
            ),
            (
                Setting::LaneAttempts(lane),
                "attempts_per_hour",
                change.attempts_per_hour,
            ),
        ];
        let wanted = wanted.into_iter();
        let wanted: Vec<_> = wanted
            .filter_map(|(setting, name, to)| Some((setting, name, Some(to?))))
            .collect();
        if wanted.is_empty() {
            let why = "neither bytes nor attempts are given (try --bytes-per-day 1GiB)";
            return self.answer_order(id, Err(OrderRefused::Malformed(why.to_owned())));
        }
        let event = AuditEvent::LaneBudgetConfigured;
        let lane = change.lane.to_string();
        let record = AuditRecord::by(caller, now.wall, event, "lane", lane);
        self.set_limits(now, id, &wanted, false, (!dry_run).then_some(record));
    }

    /// Sets each limit to a value, or back to the config; without a record to
    /// write it only says what that would do.
    fn set_limits(
        &mut self,
        now: Now,
        id: OrderId,
        wanted: &[(Setting, &'static str, Option<u64>)],
        ephemeral: bool,
        record: Option<AuditRecord>,
    ) {
        let mut done = Done::default();
        for (setting, name, to) in wanted {
            let before = self.bound(*setting);
            let after = match to {
                Some(value) if ephemeral => Bound::new(*value, SetBy::Ephemeral),
                Some(value) => Bound::new(*value, SetBy::Ledger),
                None => Bound::new(self.configured(*setting), SetBy::Config),
            };
            done.changed += u64::from(before != after);
            done.limits.push(Limit {
                name,
                before: before.value,
                after: after.value,
            });
            if record.is_some() && before != after {
                self.set_limit(*setting, after);
            }
        }
        if let Some(mut record) = record {
            for limit in &done.limits {
                let previous = match limit.name {
                    "bytes_per_second" => "previous_bytes_per_second",
                    "daily_quota_bytes" => "previous_daily_quota_bytes",
                    "bytes_per_day" => "previous_bytes_per_day",
                    _ => "previous_attempts_per_hour",
                };
                record = record.with(limit.name, limit.after);
                record = record.with(previous, limit.before);
            }
            self.batch.push(Change::Audit(record));
            self.apply_limits(now);
        }
        self.answer_order(id, Ok(done));
    }

    fn set_limit(&mut self, setting: Setting, to: Bound) {
        // What is set for this run alone hides what is stored: it goes whenever
        // something else is to hold.
        self.standing.ephemeral.remove(&setting);
        let stored = match to.by {
            SetBy::Ephemeral => {
                self.standing.ephemeral.insert(setting, to.value);
                return;
            }
            SetBy::Ledger => self.standing.stored.insert(setting, to.value),
            SetBy::Config => self.standing.stored.remove(&setting),
        };
        let value = (to.by == SetBy::Ledger).then_some(to.value);
        if stored != value {
            let value = value.map(Value::Number);
            self.batch.push(Change::Set(setting, value));
        }
    }
}
