//! Each step: nothing begins under a pause that was answered, a pause survives a
//! restart, and it ends when it should.

use relay_core::change::OwedRow;
use relay_core::event::{Done, Order, OrderRefused, Parcel, Pausing, Scope};
use relay_core::id::LaneName;
use relay_core::limits;
use relay_core::time::Unix;

use super::Oracle;
use crate::node::Node;
use crate::scenario::node_index;

/// A wake is this late at most, and a clock this coarse.
const LATE_MS: u64 = 5;

/// Which node's deliveries, in which lane.
pub(super) type Span = (Option<usize>, Option<LaneName>);

/// A pause as it was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    how: Pausing,
    until: Option<Unix>,
}

fn span(scope: &Scope) -> Span {
    (scope.peer.as_ref().map(node_index), scope.lane.clone())
}

impl Oracle {
    /// An operator resumes: from here on things may begin. A pause that is asked
    /// for anew may end earlier than it did.
    pub(super) fn pause_given(&mut self, n: usize, order: &Order) {
        if let Order::Resume(scope) | Order::Pause { scope, .. } = order {
            self.watches[n].pauses.remove(&span(scope));
        }
    }

    /// A pause was answered: from here on nothing begins.
    pub(super) fn pause_answered(
        &mut self,
        n: usize,
        order: Option<&Order>,
        outcome: &Result<Done, OrderRefused>,
    ) {
        let Some(Order::Pause { scope, how, until }) = order else {
            return;
        };
        // What was asked since decides.
        let later = |other: &Order| match other {
            Order::Resume(other) | Order::Pause { scope: other, .. } => other == scope,
            Order::Bandwidth { .. }
            | Order::LaneBudget { .. }
            | Order::Hold(_)
            | Order::Release(_)
            | Order::Cancel(_)
            | Order::Force(_)
            | Order::Retry { .. }
            | Order::Purge(_)
            | Order::Kick(_)
            | Order::Drop(_)
            | Order::PruneAudit { .. }
            | Order::Note(_)
            | Order::Configure { .. } => false,
        };
        let watch = &mut self.watches[n];
        if outcome.is_ok() && !watch.orders.values().any(later) {
            let pause = Pause {
                how: *how,
                until: *until,
            };
            watch.pauses.insert(span(scope), pause);
        }
    }

    /// The pauses over a row that hold.
    fn over(&self, n: usize, peer: usize, lane: &LaneName, unix: Unix) -> Vec<Pause> {
        let watch = &self.watches[n];
        let spans: [Span; 4] = [
            (None, None),
            (Some(peer), None),
            (None, Some(lane.clone())),
            (Some(peer), Some(lane.clone())),
        ];
        let held = spans.iter().filter_map(|span| watch.pauses.get(span));
        held.filter(|pause| pause.until.is_none_or(|until| until > unix))
            .copied()
            .collect()
    }

    /// Whether a pause that was answered is over a delivery.
    pub(super) fn is_paused(&self, n: usize, peer: usize, lane: &LaneName, unix: Unix) -> bool {
        !self.over(n, peer, lane, unix).is_empty()
    }

    /// A row goes in flight: no pause may be over it.
    pub(super) fn judge_begin(&self, n: usize, row: &OwedRow, nodes: &[Node]) {
        let watch = &self.watches[n];
        let unix = nodes[n].clock(self.now).unix;
        let (peer, lane) = (watch.peers[&row.due.peer], watch.lanes[&row.lane].clone());
        let over = self.over(n, peer, &lane, unix);
        assert!(
            over.is_empty(),
            "[step] n{n} {:?} begins under a pause: {over:?}",
            row.due
        );
    }

    /// Bytes leave: under a pause that stops at once, only what has begun on a
    /// stream it shares.
    pub(super) fn judge_stopped(&self, n: usize, parcel: &Parcel, from: u64, nodes: &[Node]) {
        let watch = &self.watches[n];
        let unix = nodes[n].clock(self.now).unix;
        let (peer, lane) = (
            watch.peers[&parcel.due.peer],
            watch.lanes[&parcel.info.lane].clone(),
        );
        let large = parcel.info.bytes > limits::SMALL_SEGMENT && parcel.info.count == 1;
        let over = self.over(n, peer, &lane, unix);
        let stopped = over.iter().any(|pause| pause.how == Pausing::Now);
        assert!(
            !stopped || (from > 0 && !large),
            "[step] n{n} {:?} goes on under a pause that stops at once",
            parcel.due
        );
    }

    /// What a node says is paused is what was answered, and ends in time.
    pub(super) fn judge_pauses(&mut self, n: usize, nodes: &[Node]) {
        let Some(scheduler) = &nodes[n].scheduler else {
            return;
        };
        if self.watches[n].pauses.is_empty() {
            return;
        }
        let now = nodes[n].clock(self.now);
        self.watches[n]
            .pauses
            .retain(|_, pause| pause.until.is_none_or(|until| until > now.unix));
        let shown = scheduler.picture(now).pauses;
        for pause in &shown {
            let late = pause
                .until
                .map_or(0, |until| now.unix.0.saturating_sub(until.0));
            assert!(
                late <= LATE_MS,
                "[step] n{n} is paused {late} ms longer than asked: {pause:?}"
            );
        }
        for (span_asked, pause) in &self.watches[n].pauses {
            let there = shown.iter().any(|shown| {
                span(&shown.scope) == *span_asked
                    && shown.how == pause.how
                    && shown.until == pause.until
            });
            assert!(
                there,
                "[step] n{n} forgot the pause of {span_asked:?}: {pause:?}"
            );
        }
        self.tally.count("paused steps");
    }
}
