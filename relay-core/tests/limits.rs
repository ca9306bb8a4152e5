//! Limits set at run time, at one node driven by hand: who set them, what they
//! were, and what a restart keeps.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test picks out the one effect it is about"
)]

#[path = "limits/node.rs"]
mod node;

use std::time::Duration;

use node::Node;
use relay_core::audit::AuditEvent;
use relay_core::event::{Bandwidth, Done, LaneBudget, Order, OrderRefused, Standing};
use relay_core::scheduler::{Bound, SetBy, Settings};
use relay_core::setting::{Setting, Value};
use relay_core::units::Rate;

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
