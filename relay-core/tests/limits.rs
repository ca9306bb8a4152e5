//! Limits set at run time, at one node driven by hand: who set them, what they
//! were, and what a restart keeps.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out the one effect it is about"
)]

mod ground;
#[path = "limits/node.rs"]
mod node;

use std::time::Duration;

use node::Node;
use proptest::prelude::*;
use relay_core::audit::AuditEvent;
use relay_core::delivery::{Cause, State, StateName, WaitingOn};
use relay_core::event::{
    Bandwidth, Caller, Done, Effect, Input, LaneBudget, Order, OrderId, OrderRefused, Standing,
};
use relay_core::id::{BootEpoch, LinkId};
use relay_core::scheduler::{Bound, OnExhausted, SetBy, Settings};
use relay_core::setting::{Setting, Value};
use relay_core::time::Unix;
use relay_core::units::Rate;

/// Table and bodies of four members of 256 B.
const PACK: u64 = 4 * (56 + 256);

#[test]
fn a_stored_rate_goes_before_the_config_until_it_is_reset() {
    let mut node = Node::new(|settings| settings.rate = Rate(5_000));

    let done = node
        .order(bandwidth(Some(1_000), None, Standing::Stored))
        .expect("done");

    assert_eq!(
        (done.changed, limits(&done)),
        (1, vec![("bytes_per_second", 5_000, 1_000)])
    );
    assert_eq!(node.bandwidth().rate, bound(1_000, SetBy::Ledger));
    let mut node = node.restarted();
    assert_eq!(node.bandwidth().rate, bound(1_000, SetBy::Ledger));
    node.order(bandwidth(None, None, Standing::Reset))
        .expect("done");
    assert_eq!(node.bandwidth().rate, bound(5_000, SetBy::Config));
    assert_eq!(
        node.restarted().bandwidth().rate,
        bound(5_000, SetBy::Config)
    );
}

#[test]
fn an_ephemeral_limit_hides_the_stored_one_until_the_next_start() {
    let mut node = Node::new(|_| {});
    node.order(bandwidth(Some(1_000), Some(9), Standing::Stored))
        .expect("done");

    node.order(bandwidth(Some(2_000), None, Standing::Ephemeral))
        .expect("done");

    assert_eq!(node.bandwidth().rate, bound(2_000, SetBy::Ephemeral));
    assert_eq!(node.bandwidth().quota, bound(9, SetBy::Ledger));
    assert_eq!(
        node.restarted().bandwidth().rate,
        bound(1_000, SetBy::Ledger)
    );
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let mut node = Node::new(|settings| settings.rate = Rate(5_000));
    let wanted = change(Some(1), Some(10), Standing::Stored);

    let done = node
        .order(Order::Bandwidth {
            change: wanted,
            dry_run: true,
        })
        .expect("done");

    let said = vec![("bytes_per_second", 5_000, 1), ("daily_quota_bytes", 0, 10)];
    assert_eq!((done.changed, limits(&done)), (2, said));
    assert_eq!(node.bandwidth().rate, bound(5_000, SetBy::Config));
    assert!(
        node.settings_kept().is_empty() && node.records(AuditEvent::BandwidthConfigured).is_empty()
    );
}

#[test]
fn what_holds_already_is_a_success_that_changes_nothing() {
    let mut node = Node::new(|_| {});
    node.order(bandwidth(Some(1_000), None, Standing::Stored))
        .expect("done");
    let before = node.settings_kept();

    let done = node
        .order(bandwidth(Some(1_000), None, Standing::Stored))
        .expect("done");

    assert_eq!(done.changed, 0);
    assert_eq!(node.settings_kept(), before);
}

#[test]
fn a_change_of_limits_is_audited_with_what_held_before() {
    let mut node = Node::new(|settings| settings.rate = Rate(5_000));

    node.order(bandwidth(Some(1_000), None, Standing::Stored))
        .expect("done");

    let records = node.records(AuditEvent::BandwidthConfigured);
    let fields = vec![
        ("bytes_per_second", "1000".to_owned()),
        ("previous_bytes_per_second", "5000".to_owned()),
        ("standing", "stored".to_owned()),
    ];
    assert_eq!(records.len(), 1);
    assert_eq!(
        (records[0].resource.as_str(), &records[0].fields),
        ("relay", &fields)
    );
    let kept = vec![(Setting::Rate(None), Some(Value::Number(1_000)))];
    assert_eq!(node.settings_kept(), kept);
}

#[test]
fn a_limit_of_a_peer_nobody_knows_is_refused() {
    let mut node = Node::new(|_| {});
    let mut wanted = change(Some(1), None, Standing::Stored);
    wanted.peer = Some(node::name("gamma"));

    let refused = node.order(Order::Bandwidth {
        change: wanted,
        dry_run: false,
    });

    assert_eq!(refused, Err(OrderRefused::UnknownPeer(node::name("gamma"))));
    let nothing = node.order(bandwidth(None, None, Standing::Stored));
    assert!(matches!(nothing, Err(OrderRefused::Malformed(_))));
}

#[test]
fn a_lane_budget_is_stored_and_shown() {
    let mut node = Node::new(|_| {});
    let wanted = LaneBudget {
        lane: "default".parse().expect("a lane"),
        bytes_per_day: None,
        attempts_per_hour: Some(60),
    };

    let done = node
        .order(Order::LaneBudget {
            change: wanted,
            dry_run: false,
        })
        .expect("done");

    assert_eq!(limits(&done), vec![("attempts_per_hour", 0, 60)]);
    let node = node.restarted();
    let lanes = node.picture().lanes;
    let lane = lanes
        .iter()
        .find(|lane| lane.name.as_str() == "default")
        .expect("the lane");
    assert_eq!(lane.attempts_per_hour, bound(60, SetBy::Ledger));
    assert_eq!((lane.attempts_left(), lane.bytes_left()), (Some(60), None));
}

#[test]
fn debt_is_carried_over_a_change_and_savings_are_cut() {
    let mut node = Node::new(|settings: &mut Settings| settings.rate = Rate(4_000));
    node.link_up();
    // 20 members of 256 B and their table: more than the burst.
    node.put(20);
    node.persisted();
    while node.wait_for_deadline(Duration::from_secs(5)) {}
    let debt = node.bandwidth().tokens.expect("limited");

    node.order(bandwidth(Some(1_000), None, Standing::Ephemeral))
        .expect("done");

    assert_eq!(node.bandwidth().tokens, Some(debt.min(1_000)));
}

#[test]
fn deliveries_stop_at_98_parts_of_a_quota_and_say_when_it_opens() {
    let mut node = Node::new(|settings| settings.bounds.quota = 100_000);
    node.link_up();
    assert_eq!(node.send(4), PACK);
    node.report(97_999);
    assert!(!node.bandwidth().shut, "a byte is left");

    node.report(1);
    let sent = node.send(4);

    let seen = node.bandwidth();
    assert_eq!((sent, seen.used, seen.shut), (0, 98_000, true));
    assert_eq!(node.waiting_on(), Some(WaitingOn::Quota));
    assert_eq!((seen.quota_drops, seen.throttled), (1, 0));
    let waits = node.rows().pop().expect("a row that waits");
    let why = node.scheduler.why(node.now, &waits);
    let said = why.sentence("beta", node.now.wall);
    assert_eq!(
        said,
        "the quota opens in 24 h 0 min (95.7 KiB used of 97.6 KiB)"
    );
    // The minute that began at 22:13:00 counts until 22:14:00 of the next day.
    assert_eq!(
        seen.opens_at,
        Some(Unix(1_700_000_000_000 - 20_000 + 24 * 3_600_000 + 60_000))
    );
    while node.wait_for_deadline(Duration::from_secs(90_000)) && node.sent() == PACK {
        node.settle();
    }
    assert_eq!(node.sent(), 2 * PACK, "it goes by itself once it opens");
    assert_eq!(node.depth(StateName::Deadletter), 0);
}

#[test]
fn bytes_that_no_link_has_reported_count_against_a_quota_at_once() {
    let mut node = Node::new(|settings| settings.bounds.quota = 20_000);
    node.link_up();

    let sent: u64 = (1..=20)
        .map(|pack| {
            let sent = node.send(8);
            node.ack(pack, 8);
            sent
        })
        .sum();

    // Each costs 64 for the header beside its table and its bodies.
    assert_eq!(sent, 8 * 2 * PACK);
    assert!(node.bandwidth().used == 0 && node.bandwidth().shut);
}

#[test]
fn bytes_that_an_older_link_has_not_reported_still_count() {
    let mut node = Node::new(|settings| settings.bounds.quota = 5_000);
    node.link_up();
    assert_eq!(node.send(8), 2 * PACK);
    node.report(10);

    node.hear(Input::LinkUp {
        peer: node::name("beta"),
        link: LinkId(8),
        greeting: node::greeting(BootEpoch(2)),
    });
    node.settle();

    assert_eq!(node.sent(), 4 * PACK, "it goes again on the new link");
    node.ack_on(LinkId(8), 1, 8);
    node.report(10);
    assert!(node.bandwidth().shut, "the older link may have sent it too");
    node.hear(Input::LinkDown {
        peer: node::name("beta"),
        link: Some(node::LINK),
        why: "duplicate".to_owned(),
    });
    node.report(10);
    node.wait(Duration::from_secs(5));
    node.report(10);
    assert!(!node.bandwidth().shut, "both have said what they sent");
}

#[test]
fn what_was_acked_counts_against_a_quota_until_its_link_has_told_all_of_it() {
    let mut node = Node::new(|settings| settings.bounds.quota = 20_000);
    node.link_up();

    let sent: u64 = (1..=20)
        .map(|pack| {
            let sent = node.send(8);
            // The little that had left when the connection was read, or another link.
            node.report(64);
            node.ack(pack, 8);
            node.report(64);
            sent
        })
        .sum();

    // As if nothing had been told.
    assert_eq!(sent, 8 * 2 * PACK);
    assert!(node.bandwidth().shut);
    // Nothing flies for long: what was not told by now was never sent.
    node.wait(Duration::from_secs(5));
    node.report(64);
    assert!(!node.bandwidth().shut);
}

#[test]
fn what_was_used_and_refused_survives_a_restart() {
    let mut node = Node::new(|settings| settings.bounds.quota = 100_000);
    node.link_up();
    node.send(1);
    node.wait(Duration::from_secs(6));
    node.report(98_000);
    node.send(1);
    node.wait(Duration::from_secs(6));
    node.send(1);
    let before = node.bandwidth();

    let node = node.restarted();

    let after = node.bandwidth();
    assert_eq!((after.used, after.shut), (98_000, true));
    assert_eq!(
        (after.quota_drops, after.since),
        (before.quota_drops, before.since)
    );
    assert_eq!(after.opens_at, before.opens_at);
}

#[test]
fn an_idle_link_writes_nothing() {
    let mut node = Node::new(|_| {});
    node.link_up();
    node.settle();
    let before = node.asked.len();

    for _ in 0..300 {
        node.wait(Duration::from_secs(20));
        node.hear(Input::Wake);
        node.report(70);
    }

    let persists = node.asked[before..].iter();
    assert_eq!(
        persists
            .filter(|e| matches!(e, Effect::Persist(..)))
            .count(),
        0
    );
    assert_eq!(node.bandwidth().used, 21_000);
}

#[test]
fn an_exhausted_quota_parks_deliveries_only_where_the_config_wants_it() {
    let mut node = Node::new(|settings| {
        settings.bounds.quota = 100_000;
        settings.bounds.on_exhausted = OnExhausted::Deadletter;
    });
    node.link_up();
    node.report(98_000);

    node.send(3);

    assert_eq!(node.depth(StateName::Deadletter), 3);
    let parked = node.rows().into_iter().last().expect("a row");
    assert_eq!(
        parked.state,
        State::Deadletter {
            cause: Cause::Forced
        }
    );
    assert!(
        parked
            .error
            .is_some_and(|error| error.contains("daily quota"))
    );
    assert_eq!(parked.spent, 0);
}

#[test]
fn a_shut_window_keeps_deliveries_back_until_it_opens() {
    // It is 22:13:20 UTC.
    let mut node = Node::new(|settings| {
        settings.bounds.any.windows = vec!["22:30-23:00".parse().expect("a window")];
    });
    node.link_up();

    let sent = node.send(4);

    assert_eq!((sent, node.waiting_on()), (0, Some(WaitingOn::Window)));
    while node.sent() == 0 && node.wait_for_deadline(Duration::from_secs(30)) {
        node.settle();
    }
    assert_eq!(node.now.wall, Unix(1_700_000_000_000 + 1_000_000));
    assert_eq!(node.sent(), PACK);
}

#[test]
fn setting_a_limit_shuts_no_open_window() {
    let mut node = Node::new(|settings| {
        settings.bounds.any.windows = vec!["22:00-23:00".parse().expect("a window")];
    });
    node.link_up();

    node.hear(Input::Ordered {
        id: OrderId(1),
        caller: Caller::default(),
        order: bandwidth(Some(1_000), None, Standing::Stored),
    });

    let window = node.picture().peers[0].window;
    assert_eq!(window.map(|(open, _)| open), Some(true));
}

#[test]
fn a_wall_clock_that_is_put_opens_and_shuts_windows_at_once() {
    let mut node = Node::new(|settings| {
        settings.bounds.any.windows = vec!["22:30-23:00".parse().expect("a window")];
    });
    node.link_up();
    node.send(4);

    node.now.wall = node.now.wall + Duration::from_secs(1_000);
    node.hear(Input::Wake);
    node.settle();

    assert_eq!(node.sent(), PACK);
    node.now.wall = Unix(node.now.wall.0 - 1_000_000);
    assert_eq!(node.send(4), 0);
}

#[test]
fn windows_that_shut_only_months_later_shut_then() {
    // Together they are always open, until Berlin puts its clocks on 31 March 2024: from
    // then on there is an hour between them, from 10:00 UTC.
    let mut node = Node::new(|settings| {
        settings.bounds.any.windows = vec![
            "00:00-12:00 Europe/Berlin".parse().expect("a window"),
            "11:00-23:00 UTC".parse().expect("a window"),
        ];
    });
    node.link_up();
    assert_eq!(node.picture().peers[0].window, Some((true, None)));

    node.now.wall = Unix(1_711_881_000_000);
    node.hear(Input::Wake);

    let opens = Some(Unix(1_711_882_800_000));
    assert_eq!(node.picture().peers[0].window, Some((false, opens)));
}

#[test]
fn what_a_window_catches_in_flight_returns_unspent() {
    let mut node = Node::new(|settings| {
        settings.rate = Rate(2_000);
        settings.bounds.any.windows = vec![
            "22:00-22:13".parse().expect("a window"),
            "22:13-22:14".parse().expect("a window"),
        ];
    });
    node.link_up();
    for _ in 0..8 {
        node.put(8);
    }
    node.settle();
    while node.picture().peers[0].window != Some((false, Some(Unix(1_700_085_600_000)))) {
        assert!(node.wait_for_deadline(Duration::from_secs(60)));
        node.settle();
    }

    let sent = node.sent();
    assert_eq!(
        sent % (2 * PACK),
        0,
        "a pack that has begun is finished: {sent}"
    );
    assert_eq!(node.depth(StateName::Scheduled), 64 - sent / (256 + 56));
    assert!(node.rows().iter().all(|row| row.spent == 0));
}

#[test]
fn a_lane_budget_of_bytes_and_one_of_attempts_keep_back_what_is_beyond_them() {
    let mut node = Node::new(|_| {});
    node.link_up();
    node.order(lane_budget(Some(2_000), None)).expect("done");

    let sent: u64 = (1..=6)
        .map(|pack| {
            let sent = node.send(2);
            node.report(600);
            if sent > 0 {
                node.ack(pack, 2);
            }
            sent
        })
        .sum();

    // Each costs 64 for the header, 112 for its table, 512 for its bodies.
    assert_eq!(
        (sent, node.waiting_on()),
        (3 * PACK / 2, Some(WaitingOn::LaneBudget))
    );
    node.order(lane_budget(Some(0), Some(8))).expect("done");
    let lane = node.lane("default");
    assert_eq!((lane.attempts_used, lane.attempts_left()), (8, Some(0)));
    assert_eq!(node.sent(), 2 * PACK);
    assert_eq!(node.waiting_on(), Some(WaitingOn::LaneBudget));
    assert_eq!(
        lane.opens_at,
        Some(Unix(1_700_000_000_000 - 20_000 + 3_660_000))
    );
}

fn lane_budget(bytes_per_day: Option<u64>, attempts_per_hour: Option<u64>) -> Order {
    let lane = "default".parse().expect("a lane");
    let change = LaneBudget {
        lane,
        bytes_per_day,
        attempts_per_hour,
    };
    Order::LaneBudget {
        change,
        dry_run: false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_budget_of_bytes_agrees_with_a_list_of_all_that_went(
        steps in steps(),
        cap in 500u64..8_000,
    ) {
        check_budget(steps, (Some(cap), None), 24 * 60, |count| 64 + u64::from(count) * (PACK / 4));
    }

    #[test]
    fn a_budget_of_attempts_agrees_with_a_list_of_all_that_began(
        steps in steps(),
        cap in 1u64..30,
    ) {
        check_budget(steps, (None, Some(cap)), 60, u64::from);
    }
}

/// Seconds that pass, and the members of the pack that is put then.
fn steps() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let wait = prop_oneof![0u64..100, 0u64..4_000, 0u64..40_000];
    proptest::collection::vec((wait, 1u32..8), 1..40)
}

/// In put order, what waits goes as soon as less than the budget was used in the last
/// `span` minutes, and not before.
fn check_budget(
    steps: Vec<(u64, u32)>,
    (bytes_per_day, attempts_per_hour): (Option<u64>, Option<u64>),
    span: u64,
    costs: fn(u32) -> u64,
) {
    let mut node = Node::new(|_| {});
    let lane = "default".parse().expect("a lane");
    let change = LaneBudget {
        lane,
        bytes_per_day,
        attempts_per_hour,
    };
    let dry_run = false;
    node.order(Order::LaneBudget { change, dry_run })
        .expect("done");
    node.link_up();
    let cap = bytes_per_day.or(attempts_per_hour).expect("one of them");
    let (mut went, mut used) = (0, Vec::new());
    let mut counts: Vec<u32> = Vec::new();
    for (wait, count) in steps {
        node.wait(Duration::from_secs(wait));
        node.hear(Input::Wake);
        counts.push(count);
        node.put(count);

        let minute = |at: Unix| at.0 / 60_000;
        let now = minute(node.now.unix);
        let within = |used: &[(u64, u64)]| -> u64 {
            let counting = used.iter().filter(|(at, _)| at + span >= now);
            counting.map(|(_, amount)| amount).sum()
        };
        while went < counts.len() && within(&used) < cap {
            used.push((now, costs(counts[went])));
            went += 1;
        }

        let mut acked = 0;
        while acked < node.packs_sent() {
            acked = node.packs_sent();
            for pack in 1..=acked {
                node.ack(pack, counts[pack as usize - 1]);
            }
        }
        assert_eq!(acked, went as u64, "in minute {now}");
        let shown = node.lane("default");
        let spent = match bytes_per_day {
            Some(_) => shown.bytes_used,
            None => shown.attempts_used,
        };
        assert_eq!(spent, within(&used));
    }
}

fn change(rate: Option<u64>, quota: Option<u64>, standing: Standing) -> Bandwidth {
    Bandwidth {
        peer: None,
        rate: rate.map(Rate),
        daily_quota: quota,
        standing,
    }
}

fn bandwidth(rate: Option<u64>, quota: Option<u64>, standing: Standing) -> Order {
    Order::Bandwidth {
        change: change(rate, quota, standing),
        dry_run: false,
    }
}

fn bound(value: u64, by: SetBy) -> Bound {
    Bound { value, by }
}

fn limits(done: &Done) -> Vec<(&'static str, u64, u64)> {
    done.limits
        .iter()
        .map(|limit| (limit.name, limit.before, limit.after))
        .collect()
}
