//! Each step: limits hold, count right, spend nothing, and outlive a restart.
//!
//! A quota must be kept with what links report and which bodies they have not yet
//! reported, whatever the scheduler estimates. What a node shows of its limits and
//! what it counted is compared with the truth now and then, and whole at a start.

use std::collections::BTreeMap;

use relay_core::change::{OwedRow, Snapshot};
use relay_core::delivery::WaitingOn;
use relay_core::event::{Done, Order, OrderRefused, Parcel, Standing};
use relay_core::limits;
use relay_core::meter::Meter;
use relay_core::scheduler::{BandwidthPicture, LanePicture, OnExhausted};
use relay_core::setting::{Setting, Value};
use relay_core::time::{Now, Unix};
use relay_core::units::Rate;
use relay_core::why::Reason;

use super::truth::{DAY, HOUR, Key, Minutes, enter, start, wanted, within};
use super::{HEADER, Oracle};
use crate::node::Node;
use crate::scenario::node_index;

/// What was used is asked to be kept within so long; then the slowest disk.
const SAVED_AFTER: u64 = 65_000;
/// Looking at every number at every step would take most of a run.
const LOOK_EVERY: u64 = 16;

/// What of a parcel leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// The words of a large one.
    Offer,
    /// Bytes: from where, how many.
    Bytes(u64, u64),
}

impl Oracle {
    /// An operator of `n` is about to set limits.
    pub(super) fn limit_given(&mut self, n: usize, order: &Order) {
        let Some((standing, wanted)) = wanted(order) else {
            return;
        };
        let now = self.now;
        for (key, to) in wanted {
            let truth = &mut self.watches[n].truth;
            // What an earlier answer promised may be replaced before it is durable.
            if standing != Standing::Ephemeral {
                truth.promised.remove(&key);
            }
            truth.ephemeral.remove(&key);
            match standing {
                Standing::Ephemeral => drop(truth.ephemeral.insert(key.clone(), to)),
                Standing::Stored => drop(truth.stored.insert(key.clone(), to)),
                Standing::Reset => drop(truth.stored.remove(&key)),
            }
            if let Key::Rate(peer) = key {
                let rate = Rate(truth.holds(&key));
                self.rate_set(n, peer, rate, now);
            }
        }
    }

    /// What an answer says of limits is true, and will be after a restart.
    pub(super) fn limit_answered(
        &mut self,
        n: usize,
        order: Option<&Order>,
        outcome: &Result<Done, OrderRefused>,
    ) {
        let Some((standing, asked)) = order.and_then(wanted) else {
            return;
        };
        assert!(
            outcome.is_ok(),
            "[step] n{n} refuses a limit it could set: {order:?} {outcome:?}"
        );
        if standing == Standing::Ephemeral {
            return;
        }
        let watch = &mut self.watches[n];
        let open = watch.orders.values().filter_map(wanted);
        let later: Vec<Key> = open
            .flat_map(|(_, keys)| keys.into_iter().map(|(key, _)| key))
            .collect();
        for (key, _) in asked.into_iter().filter(|(key, _)| !later.contains(key)) {
            let kept = watch.truth.stored.get(&key).copied();
            watch.truth.promised.insert(key, kept);
        }
    }

    /// Bodies are on the wire from `n` to `peer`.
    pub fn on_wire(&mut self, n: usize, peer: usize, bytes: u64) {
        *self.watches[n].truth.unreported.entry(peer).or_default() += bytes;
    }

    /// A link of `n` reports what it sent to `peer`.
    pub(super) fn wire_reported(&mut self, n: usize, peer: usize, bytes: u64, nodes: &[Node]) {
        let unix = nodes[n].clock(self.now).unix;
        let truth = &mut self.watches[n].truth;
        for whose in [None, Some(peer)] {
            enter(truth.used.entry(whose).or_default(), unix, bytes);
        }
        let handed = truth.handed.entry(peer).or_default();
        *handed = handed.saturating_sub(bytes);
    }

    /// Bodies that a link of `n` put on the wire are in the report it is about to
    /// make.
    pub fn bodies_reported(&mut self, n: usize, peer: usize, bytes: u64) {
        let unreported = &mut self.watches[n].truth.unreported;
        if let Some(held) = unreported.get_mut(&peer) {
            *held = held.saturating_sub(bytes);
        }
    }

    /// Something leaves: window, quota and budget must be open, unless a pack that
    /// shares its stream has begun.
    pub(super) fn judge_allowed(
        &mut self,
        n: usize,
        parcel: &Parcel,
        leaves: Leaves,
        nodes: &[Node],
    ) {
        let now: Now = nodes[n].clock(self.now);
        let watch = &mut self.watches[n];
        let peer = watch.peers[&parcel.due.peer];
        let lane = watch.lanes[&parcel.info.lane].clone();
        let truth = &mut watch.truth;
        let (due, large) = (parcel.due, parcel.info.is_large());
        let goes_on = matches!(leaves, Leaves::Bytes(from, _) if from > 0) && !large;
        if !goes_on {
            assert!(
                truth.is_contact(peer, now.wall),
                "[step] n{n} {due:?} goes while the window is shut"
            );
            assert!(
                !truth.is_out_for(peer, now.unix).0,
                "[step] n{n} {due:?} goes without quota"
            );
            let cap = truth.holds(&Key::Bytes(lane.clone()));
            let used = within(truth.lane_bytes.get(&lane), now.unix, DAY);
            assert!(
                cap == 0 || used < cap,
                "[step] n{n} {due:?} goes beyond the budget of {lane}"
            );
        }
        let bytes = match leaves {
            Leaves::Offer => HEADER + u64::from(parcel.info.table_len),
            Leaves::Bytes(0, bytes) if !large => HEADER + bytes,
            Leaves::Bytes(_, bytes) => bytes,
        };
        enter(truth.lane_bytes.entry(lane).or_default(), now.unix, bytes);
        *truth.handed.entry(peer).or_default() += bytes;
    }

    /// An attempt begins: its window is open and its lane has attempts left.
    pub(super) fn judge_attempt_begins(&mut self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let now = nodes[n].clock(self.now);
        let watch = &mut self.watches[n];
        let (peer, lane) = (watch.peers[&row.due.peer], watch.lanes[&row.lane].clone());
        let due = row.due;
        assert!(
            watch.truth.is_contact(peer, now.wall),
            "[step] n{n} {due:?} begins while the window is shut"
        );
        let cap = watch.truth.holds(&Key::Attempts(lane.clone()));
        let used = within(watch.truth.attempts.get(&lane), now.unix, HOUR);
        assert!(
            cap == 0 || used < cap,
            "[step] n{n} {due:?} begins beyond the attempts of {lane}"
        );
        let amounts = watch.truth.attempts.entry(lane).or_default();
        enter(amounts, now.unix, row.count.into());
    }

    /// Whether an exhausted quota parks deliveries of `n` to `peer`.
    pub(super) fn parks_for_quota(&self, n: usize, peer: usize, unix: Unix) -> bool {
        let truth = &self.watches[n].truth;
        truth.config.on_exhausted == OnExhausted::Deadletter && truth.is_out_for(peer, unix).1
    }

    /// What `n` says of why a delivery waits is true of limits, and so is until when.
    pub(super) fn judge_limit_reasons(
        &self,
        n: usize,
        row: &OwedRow,
        reasons: &[Reason],
        nodes: &[Node],
    ) {
        let now = nodes[n].clock(self.now);
        let watch = &self.watches[n];
        let (peer, lane) = (watch.peers[&row.due.peer], &watch.lanes[&row.lane]);
        let said = |on| reasons.iter().find(|reason| reason.on == on);
        let wall = |minute: u64| now.wall.0 + start(minute).saturating_sub(now.unix.0);
        let due = row.due;

        let shut = watch.truth.window(peer, now.wall);
        let shut = shut.filter(|sight| !sight.open).map(|sight| sight.until);
        let window = said(WaitingOn::Window).map(|reason| reason.until);
        assert_eq!(window, shut, "[step] n{n} {due:?}: why says of its window");

        let budget = watch.truth.budget_opens(lane, now.unix);
        let lane_budget = said(WaitingOn::LaneBudget).map(|reason| reason.until);
        assert_eq!(
            lane_budget,
            budget.map(|minute| Some(Unix(wall(minute)))),
            "[step] n{n} {due:?}: why says of the budget of {lane}"
        );

        let (out, perhaps) = watch.truth.is_out_for(peer, now.unix);
        let quota = said(WaitingOn::Quota);
        assert!(
            quota.is_some() || !out,
            "[step] n{n} {due:?}: why says nothing of the quota"
        );
        assert!(
            quota.is_none() || perhaps,
            "[step] n{n} {due:?}: why speaks of a quota that is not used up"
        );
        let Some(quota) = quota else { return };
        let (first, last) = watch.truth.quota_opens(peer, now.unix);
        let true_time = quota
            .until
            .is_some_and(|at| at.0 >= wall(first) && at.0 <= wall(last));
        assert!(
            true_time,
            "[step] n{n} {due:?}: why says the quota opens at {:?}, not within {first}..{last}",
            quota.until
        );
    }

    /// What a node shows of its limits is what is true.
    pub(super) fn judge_limits(&mut self, n: usize, nodes: &[Node]) {
        let now = nodes[n].clock(self.now);
        let truth = &mut self.watches[n].truth;
        truth.steps += 1;
        truth.seen = now.unix;
        let due = self.limited && truth.steps.is_multiple_of(LOOK_EVERY);
        let Some(scheduler) = nodes[n].scheduler.as_ref().filter(|_| due) else {
            return;
        };
        let picture = scheduler.picture(now);
        let mut seen = Vec::new();
        let mut bands = vec![(None, picture.bandwidth)];
        for peer in picture.peers {
            let no = node_index(&peer.name);
            let truly = self.watches[n].truth.window(no, now.wall);
            let truly = truly.map(|sight| (sight.open, sight.until));
            // What is more than two weeks off comes into sight once a day.
            let far = now.wall + limits::LOOK_AHEAD * 15;
            let truly = match (peer.window, truly) {
                (Some((_, None)), Some((open, Some(until)))) if until >= far => Some((open, None)),
                _ => truly,
            };
            assert_eq!(
                peer.window, truly,
                "[step] n{n} shows of the window to n{no}"
            );
            seen.extend(truly.filter(|(open, _)| !open).map(|_| "window shut"));
            bands.push((Some(no), peer.bandwidth));
        }
        for (whose, band) in bands {
            seen.extend(band.shut.then_some("quota shut"));
            self.judge_band(n, whose, &band, now);
        }
        for lane in picture.lanes {
            seen.extend(lane.opens_at.map(|_| "lane budget spent"));
            self.judge_budget(n, &lane, now);
        }
        seen.into_iter().for_each(|what| self.tally.count(what));
    }

    fn judge_band(&mut self, n: usize, whose: Option<usize>, band: &BandwidthPicture, now: Now) {
        let truth = &mut self.watches[n].truth;
        let who = whose.map_or_else(|| "all".to_owned(), |peer| format!("n{peer}"));
        let used = within(truth.used.get(&whose), now.unix, DAY);
        assert_eq!(
            band.used, used,
            "[step] n{n} counts the bytes to {who} wrong"
        );
        let quota = truth.holds(&Key::Quota(whose));
        assert_eq!(band.quota.value, quota, "[step] n{n}: the quota of {who}");
        let rate = truth.holds(&Key::Rate(whose));
        assert_eq!(band.rate.value, rate, "[step] n{n}: the rate of {who}");
        let overrun = if quota > 0 {
            used.saturating_sub(quota)
        } else {
            0
        };
        assert_eq!(band.overrun, overrun, "[step] n{n}: the overrun of {who}");
        let (out, perhaps) = truth.is_out(whose, now.unix);
        assert!(
            band.shut >= out && band.shut <= perhaps,
            "[step] n{n} shows the quota of {who} shut: {}, truly {out}, {perhaps}",
            band.shut
        );
        let counts = (band.throttled, band.quota_drops);
        let before = truth.counts.insert(whose, counts).unwrap_or_default();
        assert!(
            counts.0 >= before.0 && counts.1 >= before.1,
            "[step] n{n} counts backwards for {who}: {before:?}, then {counts:?}"
        );
        assert!(
            truth.since.is_none_or(|since| band.since == Some(since)),
            "[step] n{n} counts since {:?}, not {:?}",
            band.since,
            truth.since
        );
        truth.since = band.since;
    }

    fn judge_budget(&self, n: usize, lane: &LanePicture, now: Now) {
        let (truth, name) = (&self.watches[n].truth, &lane.name);
        let used = within(truth.lane_bytes.get(name), now.unix, DAY);
        assert_eq!(
            lane.bytes_used, used,
            "[step] n{n} counts the bytes of {name} wrong"
        );
        let begun = within(truth.attempts.get(name), now.unix, HOUR);
        assert_eq!(
            lane.attempts_used, begun,
            "[step] n{n} counts the attempts of {name} wrong"
        );
        let opens = truth.budget_opens(name, now.unix);
        let opens = opens.map(|minute| {
            let wait = start(minute).saturating_sub(now.unix.0);
            Unix(now.wall.0 + wait)
        });
        assert_eq!(lane.opens_at, opens, "[step] n{n}: when {name} opens");
    }

    /// Node `n` stops: what it had used is compared once it starts again.
    pub(super) fn limits_stopped(&mut self, n: usize) {
        let truth = &mut self.watches[n].truth;
        truth.ephemeral.clear();
        truth.unreported.clear();
        truth.handed.clear();
        // Both may have grown since they were written down last.
        truth.counts.clear();
    }

    /// Node `n` starts: limits that were answered are back, and what was used but
    /// for the last of it.
    pub(super) fn limits_started(&mut self, n: usize, snapshot: &Snapshot, nodes: &[Node]) {
        let unix = nodes[n].clock(self.now).unix;
        let watch = &mut self.watches[n];
        let (peers, lanes) = (&watch.peers, &watch.lanes);
        let truth = &mut watch.truth;
        truth.config = nodes[n].config_bounds();
        truth.rate = nodes[n].rate;
        truth.rates = nodes[n].config_rates();
        truth.stored.clear();
        for (setting, value) in &snapshot.settings {
            let key = match setting {
                Setting::Rate(no) => Key::Rate(no.map(|no| peers[&no])),
                Setting::Quota(no) => Key::Quota(no.map(|no| peers[&no])),
                Setting::LaneBytes(no) => Key::Bytes(lanes[no].clone()),
                Setting::LaneAttempts(no) => Key::Attempts(lanes[no].clone()),
                Setting::Pause(..)
                | Setting::Panicked(_)
                | Setting::PanicsCounted
                | Setting::Dropping(_) => continue,
            };
            if let Value::Number(number) = value {
                truth.stored.insert(key, *number);
            }
        }
        for (key, kept) in &truth.promised {
            assert_eq!(
                truth.stored.get(key),
                kept.as_ref(),
                "[rest] n{n} forgot a limit: {key:?}"
            );
        }
        let before = std::mem::take(&mut truth.used);
        truth.lane_bytes.clear();
        truth.attempts.clear();
        truth.since = None;
        for row in &snapshot.meters {
            // A minute that has not come counts as this one.
            let at = Unix(start(row.minute).min(unix.0));
            let minutes = match row.meter {
                Meter::Node => truth.used.entry(None).or_default(),
                Meter::Peer(no) => truth.used.entry(Some(peers[&no])).or_default(),
                Meter::LaneBytes(no) => truth.lane_bytes.entry(lanes[&no].clone()).or_default(),
                Meter::LaneAttempts(no) => truth.attempts.entry(lanes[&no].clone()).or_default(),
                Meter::Since => {
                    truth.since = Some(Unix(row.amount));
                    continue;
                }
                Meter::Throttled(_) | Meter::QuotaDrops(_) => continue,
            };
            enter(minutes, at, row.amount);
        }
        let saved = truth.seen.0.saturating_sub(SAVED_AFTER);
        for (whose, amounts) in &before {
            let kept = within(truth.used.get(whose), unix, DAY);
            judge_kept(n, *whose, amounts, (saved, unix), kept);
        }
    }

    /// The rates that hold at `n` after a start.
    pub(super) fn rates_held(&self, n: usize) -> (Rate, BTreeMap<usize, Rate>) {
        let truth = &self.watches[n].truth;
        let mut peers: Vec<usize> = truth.rates.keys().copied().collect();
        peers.extend(truth.stored.keys().filter_map(|key| match key {
            Key::Rate(Some(peer)) => Some(*peer),
            Key::Rate(None) | Key::Quota(_) | Key::Bytes(_) | Key::Attempts(_) => None,
        }));
        let each = peers
            .into_iter()
            .map(|peer| (peer, Rate(truth.holds(&Key::Rate(Some(peer))))));
        (Rate(truth.holds(&Key::Rate(None))), each.collect())
    }
}

/// What was used up to `saved` is kept but for what may go unsaved, and nothing
/// more than was used.
fn judge_kept(
    n: usize,
    whose: Option<usize>,
    amounts: &Minutes,
    (saved, unix): (u64, Unix),
    kept: u64,
) {
    let old = amounts.iter().filter(|(at, _)| start(**at + 1) <= saved);
    let old: Minutes = old.map(|(at, amount)| (*at, *amount)).collect();
    let owed = within(Some(&old), unix, DAY);
    assert!(
        owed <= kept + 2 * limits::UNSAVED_BYTES,
        "[rest] n{n} forgot {} bytes it sent to {whose:?}",
        owed - kept
    );
    assert!(
        kept <= within(Some(amounts), unix, DAY),
        "[rest] n{n} charged bytes to {whose:?} twice"
    );
}
