//! The success condition k of n: who is tried, who stands by, who is spared.
//!
//! With k below n at most k deliveries of a segment are active, in the order the
//! peers were given. The next one wakes when an active peer has been away too long
//! or its delivery is parked. Once k peers have it, what is in flight may finish and
//! the others are not needed (semantics 3). This file decides from the rows of one
//! segment; it keeps nothing.

use crate::delivery::StateName;

/// One delivery of the segment, as far as the condition cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runner {
    /// Where it stands.
    pub state: StateName,
    /// Whether it stands by.
    pub standby: bool,
    /// Whether its peer has been away so long that another should be tried.
    pub away: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough peers have it: whatever waits is not needed.
    Met,
    /// These stand by no longer, by place in the order.
    Wake(Vec<usize>),
}

/// Decides about the deliveries of one segment, in the order the peers were given.
#[must_use]
pub fn decide(need: usize, runners: &[Runner]) -> Verdict {
    let acked = runners
        .iter()
        .filter(|runner| runner.state == StateName::Acked)
        .count();
    if acked >= need {
        return Verdict::Met;
    }
    let hopeful = |runner: &&Runner| is_open(runner) && !runner.standby && !runner.away;
    let mut hope = acked + runners.iter().filter(hopeful).count();
    let mut woken = Vec::new();
    for (rank, runner) in runners.iter().enumerate() {
        if hope >= need {
            break;
        }
        if is_open(runner) && runner.standby {
            woken.push(rank);
            // One whose peer is away is tried once it is back, and so is another.
            hope += usize::from(!runner.away);
        }
    }
    Verdict::Wake(woken)
}

/// Which of the peers, in order, stand by at first; `away` says which of them have
/// been away too long.
#[must_use]
pub fn first_standbys(need: usize, away: &[bool]) -> Vec<bool> {
    let fresh = |away: &bool| Runner {
        state: StateName::Scheduled,
        standby: true,
        away: *away,
    };
    let runners: Vec<Runner> = away.iter().map(fresh).collect();
    match decide(need, &runners) {
        Verdict::Met => vec![false; away.len()],
        Verdict::Wake(woken) => (0..away.len()).map(|rank| !woken.contains(&rank)).collect(),
    }
}

const fn is_open(runner: &Runner) -> bool {
    !runner.state.is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;
    use StateName as S;

    const fn runner(state: StateName, standby: bool, away: bool) -> Runner {
        Runner {
            state,
            standby,
            away,
        }
    }

    #[test]
    fn the_first_k_peers_are_tried_first() {
        assert_eq!(first_standbys(1, &[false; 3]), [false, true, true]);
        assert_eq!(first_standbys(2, &[false; 3]), [false, false, true]);
        assert_eq!(first_standbys(3, &[false; 3]), [false; 3]);
    }

    #[test]
    fn a_peer_long_away_is_tried_beside_the_next() {
        assert_eq!(
            first_standbys(1, &[true, false, false]),
            [false, false, true]
        );
        assert_eq!(first_standbys(1, &[true; 3]), [false; 3]);
    }

    #[test]
    fn a_parked_delivery_wakes_the_next_and_only_one() {
        let runners = [
            runner(S::Deadletter, false, false),
            runner(S::Scheduled, true, false),
            runner(S::Scheduled, true, false),
        ];

        assert_eq!(decide(1, &runners), Verdict::Wake(vec![1]));
    }

    #[test]
    fn nothing_wakes_while_enough_are_hopeful() {
        let runners = [
            runner(S::Inflight, false, false),
            runner(S::Failed, false, false),
            runner(S::Scheduled, true, false),
        ];

        assert_eq!(decide(2, &runners), Verdict::Wake(vec![]));
        assert_eq!(decide(3, &runners), Verdict::Wake(vec![2]));
    }

    #[test]
    fn an_ack_counts_for_good_whatever_became_of_the_peer() {
        let runners = [
            runner(S::Acked, false, true),
            runner(S::Scheduled, false, true),
            runner(S::Scheduled, true, false),
        ];

        assert_eq!(decide(1, &runners), Verdict::Met);
        assert_eq!(decide(2, &runners), Verdict::Wake(vec![2]));
    }
}
