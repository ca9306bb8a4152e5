//! Each step: after an outage one goes first, a clone is seen and nobody else is
//! called one, a drop is bounded and whole.

use std::collections::BTreeSet;
use std::time::Duration;

use relay_core::change::{Change, Due, OwedRow, Snapshot};
use relay_core::clones::QUIET;
use relay_core::delivery::{Cause, State};
use relay_core::event::{CloseWhy, Done, Input, Order, OrderRefused};
use relay_core::id::{BootEpoch, LedgerId, LinkId, NodeNo, PackNo};
use relay_core::setting::Setting;

use super::Oracle;
use crate::disk::Job;
use crate::node::Node;
use crate::scenario::{node_index, node_name};

/// What has gone to a peer that was away.
#[derive(Debug)]
pub(super) struct Ramp {
    /// How many may fly.
    allowed: usize,
    /// What went since.
    sent: BTreeSet<PackNo>,
}

/// A Hello as heard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hello {
    ledger: LedgerId,
    epoch: BootEpoch,
    at: u64,
}

impl Oracle {
    /// What `n` hears of its peers.
    pub(super) fn peers_heard(&mut self, n: usize, input: &Input, nodes: &[Node]) {
        let now = self.now;
        let watch = &mut self.watches[n];
        // A node that goes down, or does not know the peer, hears no Hello.
        let meets = |peer| !nodes[n].draining && !nodes[n].removed.contains(&peer);
        if let Input::LinkUp { peer, greeting, .. } = input
            && meets(node_index(peer))
        {
            let peer = node_index(peer);
            let hello = Hello {
                ledger: greeting.ledger,
                epoch: greeting.epoch,
                at: now,
            };
            watch.hellos.entry(peer).or_default().push(hello);
            if let Some(alone) = watch.untrusted.get_mut(&peer) {
                let same = (alone.ledger, alone.epoch) == (hello.ledger, hello.epoch);
                let quiet = Duration::from_micros(now - alone.at) >= QUIET;
                match (same, quiet) {
                    (false, _) => *alone = hello,
                    (true, true) => drop(watch.untrusted.remove(&peer)),
                    (true, false) => {}
                }
            }
        }
        if let Input::LinkDown {
            peer,
            link: Some(link),
            ..
        } = input
        {
            let peer = node_index(peer);
            let ours = watch.closing.remove(link);
            let others = watch
                .up
                .iter()
                .any(|(other, to)| *to == peer && other != link);
            if watch.up.contains_key(link) && !ours && !others {
                let (allowed, sent) = (1, BTreeSet::new());
                watch.ramps.insert(peer, Ramp { allowed, sent });
            }
        }
        if let Input::Delivered { dues, .. } = input {
            let whole = dues.iter().filter(|due| watch.gone_out.contains(due));
            watch.delivered.extend(whole.map(|due| (*due, now)));
        }
        if let Input::Acked { link, .. } | Input::PeerBusy { link, .. } = input {
            // Of two links one is passed over; which, the other end knows too.
            let peer = watch.up[link];
            if watch.up.values().filter(|to| **to == peer).count() == 1 {
                watch.answered.insert(peer, now);
            }
        }
        if let Input::Acked { link, .. } | Input::Wanted { link, .. } = input {
            let peer = watch.up.get(link);
            if let Some(ramp) = peer.and_then(|peer| watch.ramps.get_mut(peer)) {
                ramp.allowed = ramp.allowed.saturating_mul(2);
            }
        }
    }

    /// Bytes of `due` leave: no more than a peer that was away is trusted with.
    pub(super) fn judge_ramp(&mut self, n: usize, due: Due) {
        let watch = &mut self.watches[n];
        let peer = watch.peers[&due.peer];
        let Some(ramp) = watch.ramps.get_mut(&peer) else {
            return;
        };
        let flies = |pack: &PackNo| {
            let of = |flying: &&Due| flying.peer == due.peer && flying.pack == *pack;
            watch.flying.iter().any(|flying| of(&flying))
        };
        ramp.sent.retain(flies);
        ramp.sent.insert(due.pack);
        let (sent, allowed) = (ramp.sent.len(), ramp.allowed);
        assert!(
            sent <= allowed,
            "[step] n{n} trusts n{peer} with {sent} after an outage, {allowed} at most"
        );
        self.tally
            .count(if allowed == 1 { "probe" } else { "slow start" });
        if allowed > 4_096 {
            self.watches[n].ramps.remove(&peer);
        }
    }

    /// Bytes of `due` leave, or its offer does.
    pub(super) fn bytes_asked(&mut self, n: usize, due: Due, last: bool) {
        let watch = &mut self.watches[n];
        watch.delivered.remove(&due);
        if last {
            watch.gone_out.insert(due);
        } else {
            watch.gone_out.remove(&due);
        }
    }

    /// An attempt timed out: every byte of it was at the peer so long ago, or it is
    /// an offer, and the peer has said nothing since.
    pub(super) fn judge_timeout(&self, n: usize, due: Due, large: bool) {
        let watch = &self.watches[n];
        let peer = watch.peers[&due.peer];
        let delivered = watch.delivered.get(&due).copied();
        let since = delivered.max(watch.answered.get(&peer).copied());
        assert!(
            delivered.is_some() || large,
            "[step] n{n} {due:?} times out and its bytes were not there"
        );
        let silent = Duration::from_micros(self.now - since.unwrap_or(0));
        assert!(
            silent >= self.limits.ack_timeout,
            "[step] n{n} {due:?} times out after {silent:?} of silence"
        );
    }

    /// A link is ended: nobody is called a clone who is none.
    pub(super) fn close_asked(&mut self, n: usize, link: LinkId, why: CloseWhy) {
        let watch = &mut self.watches[n];
        watch.closing.insert(link);
        if why != CloseWhy::IdentityCloned {
            return;
        }
        self.tally.count("clone seen");
        let peer = watch.up[&link];
        let heard = watch.hellos.get(&peer).map_or(&[][..], Vec::as_slice);
        let runs: BTreeSet<_> = heard.iter().map(|h| (h.ledger, h.epoch)).collect();
        assert!(
            runs.len() > 1 && heard.len() > 3,
            "[step] n{n} calls n{peer} a clone: {heard:?}"
        );
    }

    /// Two ledgers that took turns twice within a short time are not trusted, and
    /// not before one of them alone was heard for long, or an operator says so.
    pub(super) fn judge_clones(&mut self, n: usize, nodes: &[Node]) {
        let Some(scheduler) = &nodes[n].scheduler else {
            return;
        };
        let watch = &mut self.watches[n];
        for (peer, heard) in &watch.hellos {
            let Some(last) = heard.last().filter(|last| last.at == self.now) else {
                continue;
            };
            let turns = heard.last_chunk::<4>().is_some_and(|[a, b, c, d]| {
                let turns = a.ledger == c.ledger && b.ledger == d.ledger && a.ledger != b.ledger;
                turns && Duration::from_micros(d.at - a.at) < QUIET
            });
            if turns {
                watch.untrusted.entry(*peer).or_insert(*last);
            }
            if !watch.untrusted.contains_key(peer) {
                continue;
            }
            let picture = scheduler.picture(nodes[n].clock(self.now));
            let shown = picture.peers.iter().find(|p| p.name == node_name(*peer));
            let word = shown.map(|p| p.link_state);
            assert_eq!(
                word,
                Some("untrusted"),
                "[step] n{n} trusts n{peer}: {heard:?}"
            );
        }
    }

    /// What an operator of `n` wants of a peer.
    pub(super) fn peer_order_given(&mut self, n: usize, order: &Order) {
        let watch = &mut self.watches[n];
        if let Order::Kick(name) = order {
            watch.hellos.remove(&node_index(name));
            watch.untrusted.remove(&node_index(name));
        }
        if let Order::Drop(name) = order {
            watch.dropped.insert(node_index(name));
        }
    }

    /// A drop was answered: nothing is owed any more, on the disk.
    pub(super) fn judge_drop(
        &mut self,
        n: usize,
        order: Option<&Order>,
        outcome: &Result<Done, OrderRefused>,
        nodes: &[Node],
    ) {
        let Some(Order::Drop(name)) = order else {
            return;
        };
        let peer = node_index(name);
        let configured = !nodes[n].removed.contains(&peer);
        match outcome {
            Ok(_) => {
                assert!(
                    !configured,
                    "[step] n{n} drops n{peer}, which it still knows"
                );
                let no = nodes[n].number(name);
                let ended = &self.watches[n].ended_drops;
                let tried = |row: &&OwedRow| {
                    let since = ended.get(&row.due.peer);
                    since.is_some_and(|since| since.contains(&row.due))
                };
                let waits = |no: &NodeNo| {
                    let rows = nodes[n].disk.owed.values();
                    let rows = rows.filter(|row| row.due.peer == *no);
                    // An order given since may have tried it again.
                    let mut rows = rows.filter(|row| !tried(row));
                    rows.find(|row| !row.state.name().is_terminal())
                        .map(|row| row.due)
                };
                let left = no.as_ref().and_then(waits);
                assert!(
                    left.is_none(),
                    "[step] n{n} dropped n{peer} and owes it {left:?}"
                );
                self.tally.count("dropped");
            }
            Err(OrderRefused::StillConfigured(_)) => self.tally.count("refused: drop"),
            Err(_) => {}
        }
    }

    /// Node `n` starts: a drop that was under way goes on, but for a peer that its
    /// config names again.
    pub(super) fn drops_left(&mut self, n: usize, snapshot: &Snapshot, nodes: &[Node]) {
        let watch = &mut self.watches[n];
        let left = snapshot.settings.iter().filter_map(|(setting, _)| {
            let Setting::Dropping(no) = setting else {
                return None;
            };
            let gone = nodes[n].removed.contains(&watch.peers[no]);
            gone.then_some((*no, false))
        });
        watch.left_drops = left.collect();
    }

    /// Node `n` reads what it owes to a peer that is dropped.
    pub(super) fn drop_read(&mut self, n: usize, peer: NodeNo) {
        if let Some(begun) = self.watches[n].left_drops.get_mut(&peer)
            && !std::mem::replace(begun, true)
        {
            self.tally.count("drop carried on");
        }
    }

    /// A drop is over when nothing is owed any more, but for what an order of a later
    /// job in the same commit tries again.
    pub(super) fn drops_durable(&mut self, n: usize, jobs: &[Job], nodes: &[Node]) {
        let Some((job, later)) = jobs.split_first() else {
            return;
        };
        for change in &job.changes {
            if let Change::Owed(row) = change
                && let Some(since) = self.watches[n].ended_drops.get_mut(&row.due.peer)
            {
                since.insert(row.due);
            }
            if let Change::Set(Setting::Dropping(no), None) = change {
                self.watches[n].ended_drops.insert(*no, BTreeSet::new());
            }
        }
        let later: BTreeSet<Due> = later
            .iter()
            .flat_map(|job| &job.changes)
            .filter_map(|change| {
                let Change::Owed(row) = change else {
                    return None;
                };
                Some(row.due)
            })
            .collect();
        for change in &job.changes {
            let Change::Set(Setting::Dropping(no), None) = change else {
                continue;
            };
            if !nodes[n].removed.contains(&self.watches[n].peers[no]) {
                continue;
            }
            let mut rows = nodes[n].disk.owed.values();
            let left = rows.find(|row| {
                row.due.peer == *no && !row.state.name().is_terminal() && !later.contains(&row.due)
            });
            assert!(left.is_none(), "[step] n{n} ends a drop and owes {left:?}");
        }
    }

    /// By the end of the first step all of them have.
    pub(super) fn judge_left_drops(&self, n: usize) {
        let left = &self.watches[n].left_drops;
        let idle = left.iter().find(|(_, begun)| !**begun);
        assert!(
            idle.is_none(),
            "[step] n{n} was dropping {idle:?}, and does not go on"
        );
    }

    /// A bulk verb changes no more rows in one transaction than it may.
    pub(super) fn judge_bulk(&self, n: usize, changes: &[Change]) {
        let forced = State::Deadletter {
            cause: Cause::Forced,
        };
        // One that was parked before may be written again: it notes a late ack.
        let open = |row: &OwedRow| {
            let before = self.before(n, row.due);
            !before.is_some_and(|row| row.state.name().is_terminal())
        };
        let by_name = |order: &Order| matches!(order, Order::Force(_));
        if self.watches[n].orders.values().any(by_name) {
            // What an operator forces by name is bounded by the order itself, and may
            // still say what an earlier drop said of it.
            return;
        }
        let dropped = |row: &OwedRow| row.error.as_deref() == Some(DROPPED) && open(row);
        let forced = |change: &&Change| matches!(change, Change::Owed(row) if row.state == forced && dropped(row));
        let count = changes.iter().filter(forced).count();
        let most = self.limits.bulk_rows;
        assert!(
            count <= most,
            "[step] n{n} parks {count} rows at once, {most} at most"
        );
    }
}

/// What a row parked by `peer drop` says.
const DROPPED: &str = "the peer was dropped by an operator";
