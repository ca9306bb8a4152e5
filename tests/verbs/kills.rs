//! Every verb, the daemon killed in the midst of them: what was answered holds.
//!
//! One operator gives orders drawn from a seed, of one delivery and of many, about
//! pauses, rates and budgets, while producers put. The daemon is killed without a word;
//! after each start what it shows is held against what was answered. The order it died
//! over may have come to be or not; from there on it stays what it was found to be. In
//! the end the audit chain verifies and has a record of each answered change, and
//! nothing of what was put is lost or there twice.
//!
//! `EDGED_VERBS_SEED` and `EDGED_VERBS_CYCLES` change the run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use edged_rpc::{
    AuditFilter, Client, ClientError, ErrorKind, LaneBudget, LaneList, Paging, Pausing, PutOptions,
    RelayAct, RelayBandwidth, RelayPause, RelayResume, Scope, Selection, Standing, State, Verb,
    Which,
};
use harness::daemon::{Node, PATIENCE, Pair, Producers, Shape, Witness, wait_for};
use harness::seeds::{Dice, number_from_env, say};

use super::NODE;

/// Kills in one run.
const CYCLES: u64 = 20;
/// Deliveries to nobody that the operator plays with.
const DELIVERIES: usize = 40;

/// What was last answered of a delivery to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Put,
    Held,
    Released,
    Cancelled,
    Forced,
    Retried,
    Purged,
}

/// What holds one value, set by orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dial {
    /// Everything to nobody, paused or not.
    PausedPeer,
    /// A lane of its own, paused or not.
    PausedLane,
    /// The node's rate.
    Rate,
    /// That of nobody.
    PeerRate,
    /// Attempts an hour of a lane.
    Budget,
}

const DIALS: [Dial; 5] = [
    Dial::PausedPeer,
    Dial::PausedLane,
    Dial::Rate,
    Dial::PeerRate,
    Dial::Budget,
];

/// One operator: what was answered, and what was asked when the daemon went.
#[derive(Debug, Default)]
struct Model {
    deliveries: BTreeMap<String, Answered>,
    dials: BTreeMap<Dial, u64>,
    /// Deliveries whose order was not answered.
    unsure: BTreeSet<String>,
    /// A dial, and where it was to be turned.
    turning: Option<(Dial, u64)>,
    /// Orders that were given and changes that were answered, by the event in the
    /// audit chain.
    changes: BTreeMap<&'static str, (u64, u64)>,
    /// Orders that were not answered.
    unanswered: u64,
    answered: u64,
    /// What was ordered of each, for a failure's message.
    history: BTreeMap<String, Vec<String>>,
}

/// Gives orders until the daemon goes.
fn operate(socket: &Path, dice: &mut Dice, model: &mut Model, count: &AtomicU64) {
    let Ok(mut client) = Client::connect(socket, PATIENCE) else {
        return;
    };
    while step(&mut client, dice, model).is_ok() {
        model.answered += 1;
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn step(client: &mut Client, dice: &mut Dice, model: &mut Model) -> Result<(), ClientError> {
    if model.deliveries.len() < DELIVERIES {
        let bytes = dice.draw().to_le_bytes();
        let put = client.put(&PutOptions::to_peer("nobody"), &bytes)?;
        let id = put.segment_id.to_string();
        model.deliveries.insert(id, Answered::Put);
        return Ok(());
    }
    match dice.between(0, 99) {
        0..=9 => turn(client, dice, model),
        10 => client.kick("beta").map(drop),
        11..=13 => all(client, dice, model),
        _ => one(client, dice, model),
    }
}

/// An order about one delivery.
fn one(client: &mut Client, dice: &mut Dice, model: &mut Model) -> Result<(), ClientError> {
    let ids: Vec<String> = model.deliveries.keys().cloned().collect();
    let id = dice.pick(&ids).expect("there are some").clone();
    let (verb, then) = match dice.between(0, 5) {
        0 => (Verb::Hold, Answered::Held),
        1 => (Verb::Release, Answered::Released),
        2 => (Verb::Cancel, Answered::Cancelled),
        3 => (Verb::Force, Answered::Forced),
        4 => (Verb::Retry { ttl_seconds: None }, Answered::Retried),
        _ => (Verb::Purge, Answered::Purged),
    };
    let which = Which::One {
        segment: id.clone(),
        peer: Some("nobody".to_owned()),
    };
    order(client, model, BTreeSet::from([id]), verb, then, which)
}

/// An order about all that were parked for one cause.
fn all(client: &mut Client, dice: &mut Dice, model: &mut Model) -> Result<(), ClientError> {
    let (cause, stands) = if dice.chance(500) {
        ("cancelled", Answered::Cancelled)
    } else {
        ("forced", Answered::Forced)
    };
    let (verb, then) = if dice.chance(500) {
        (Verb::Retry { ttl_seconds: None }, Answered::Retried)
    } else {
        (Verb::Purge, Answered::Purged)
    };
    let stand = |(_, at): &(&String, &Answered)| **at == stands;
    let ids = model.deliveries.iter().filter(stand);
    let ids: BTreeSet<String> = ids.map(|(id, _)| id.clone()).collect();
    let which = Which::All(Selection {
        peer: Some("nobody".to_owned()),
        cause: Some(cause.to_owned()),
        ..Selection::default()
    });
    order(client, model, ids, verb, then, which)
}

fn order(
    client: &mut Client,
    model: &mut Model,
    ids: BTreeSet<String>,
    verb: Verb,
    then: Answered,
    which: Which,
) -> Result<(), ClientError> {
    for id in &ids {
        let told = model.history.entry(id.clone()).or_default();
        told.push(format!("{verb:?}"));
    }
    let bulk = matches!(which, Which::All(_));
    model.changes.entry(event(verb)).or_default().0 += 1;
    model.unsure = ids;
    let act = RelayAct {
        verb,
        which,
        dry_run: false,
    };
    match client.act(&act, |_| ()) {
        Ok(acted) => {
            let ids = std::mem::take(&mut model.unsure);
            if bulk {
                assert_eq!(acted.changed, ids.len() as u64, "{verb:?}: {acted:?}");
            }
            if acted.changed > 0 {
                model.changes.entry(event(verb)).or_default().1 += 1;
                let moved = ids.into_iter().map(|id| (id, then));
                model.deliveries.extend(moved);
            }
            model.deliveries.retain(|_, at| *at != Answered::Purged);
        }
        Err(ClientError::Refused(error)) => {
            let known = error.kind == ErrorKind::Refused || error.kind == ErrorKind::NotFound;
            assert!(known, "{verb:?}: {error}");
            model.unsure.clear();
        }
        Err(gone) => {
            model.unanswered += 1;
            return Err(gone);
        }
    }
    Ok(())
}

const fn event(verb: Verb) -> &'static str {
    match verb {
        Verb::Hold => "relay.held",
        Verb::Release => "relay.released",
        Verb::Cancel => "relay.segment.cancelled",
        Verb::Force => "relay.deadletter.forced",
        Verb::Retry { .. } => "relay.deadletter.retried",
        Verb::Purge => "relay.deadletter.purged",
    }
}

/// Turns a dial.
fn turn(client: &mut Client, dice: &mut Dice, model: &mut Model) -> Result<(), ClientError> {
    let dial = *dice.pick(&DIALS).expect("there are some");
    let old = model.dials.get(&dial).copied().unwrap_or(0);
    let new = match dial {
        Dial::PausedPeer | Dial::PausedLane => 1 - old,
        // Producers go on beside it.
        Dial::Rate => dice.between(64 << 20, 128 << 20),
        Dial::PeerRate | Dial::Budget => dice.between(0, 1_000),
    };
    model.turning = Some((dial, new));
    let to = |value: u64, peer: Option<&str>| RelayBandwidth {
        peer: peer.map(str::to_owned),
        bytes_per_second: Some(value),
        daily_quota_bytes: None,
        standing: Standing::Stored,
        dry_run: false,
    };
    let scope = Scope {
        peer: (dial == Dial::PausedPeer).then(|| "nobody".to_owned()),
        lane: (dial == Dial::PausedLane).then(|| "spare".to_owned()),
    };
    let (done, event) = match (dial, new) {
        (Dial::PausedPeer | Dial::PausedLane, 1) => {
            let pause = RelayPause {
                scope,
                how: Pausing::Now,
                until: None,
            };
            (client.pause(pause).map(drop), "relay.paused")
        }
        (Dial::PausedPeer | Dial::PausedLane, _) => {
            let done = client.resume(RelayResume { scope }).map(drop);
            (done, "relay.resumed")
        }
        (Dial::Rate, _) => {
            let done = client.set_bandwidth(to(new, None)).map(drop);
            (done, "relay.bandwidth.configured")
        }
        (Dial::PeerRate, _) => {
            let done = client.set_bandwidth(to(new, Some("nobody"))).map(drop);
            (done, "relay.bandwidth.configured")
        }
        (Dial::Budget, _) => {
            let budget = LaneBudget {
                lane: "spare".to_owned(),
                bytes_per_day: None,
                attempts_per_hour: Some(new),
                dry_run: false,
            };
            let done = client.set_lane_budget(budget).map(drop);
            (done, "lane.budget.configured")
        }
    };
    model.changes.entry(event).or_default().0 += 1;
    if let Err(gone) = done {
        model.unanswered += 1;
        return Err(gone);
    }
    let (_, changes) = model.changes.entry(event).or_default();
    *changes += u64::from(old != new);
    model.dials.insert(dial, new);
    model.turning = None;
    Ok(())
}

/// Holds what the daemon shows against what was answered before it was killed.
fn judge(alpha: &Node, model: &mut Model) {
    let unsure = std::mem::take(&mut model.unsure);
    let mut client = alpha.client();
    judge_dials(alpha, &mut client, model);
    let mut found = BTreeMap::new();
    for (id, answered) in &model.deliveries {
        let delivery = match client.inspect(id) {
            Ok(detail) => detail.deliveries.into_iter().next(),
            Err(ClientError::Refused(error)) if error.code == "no_such_segment" => None,
            Err(error) => panic!("{id}: {error}"),
        };
        let delivery = delivery.map(|found| found.delivery);
        let stands = stands(delivery.as_ref());
        let same = match answered {
            Answered::Put | Answered::Released | Answered::Retried => {
                stands == Some(Answered::Released)
            }
            Answered::Held | Answered::Cancelled | Answered::Forced | Answered::Purged => {
                stands == Some(*answered)
            }
        };
        assert!(
            same || (unsure.contains(id) && stands.is_some()),
            "{id}: {answered:?} was answered, found {delivery:?} after {:?}",
            model.history.get(id)
        );
        // What it is, holds from here on.
        found.extend(stands.map(|stands| (id.clone(), stands)));
    }
    model.deliveries = found;
    model.deliveries.retain(|_, at| *at != Answered::Purged);
    let verdict = client.audit_verify().expect("it verifies");
    assert!(verdict.holds, "{verdict:?}");
}

/// How a delivery stands; `None`: as no order leaves it.
fn stands(delivery: Option<&edged_rpc::DeliveryView>) -> Option<Answered> {
    let Some(at) = delivery else {
        return Some(Answered::Purged);
    };
    match (at.state, at.cause.as_deref()) {
        (State::Deadletter, Some("cancelled")) => Some(Answered::Cancelled),
        (State::Deadletter, Some("forced")) => Some(Answered::Forced),
        (State::Scheduled, None) if at.waiting_on.iter().any(|on| on == "held") => {
            Some(Answered::Held)
        }
        (State::Scheduled, None) => Some(Answered::Released),
        (_, _) => None,
    }
}

fn judge_dials(alpha: &Node, client: &mut Client, model: &mut Model) {
    let status = alpha.status();
    let paused = |peer: Option<&str>, lane: Option<&str>| {
        let mut scopes = status.pauses.iter().map(|pause| &pause.scope);
        let found = scopes.any(|at| (at.peer.as_deref(), at.lane.as_deref()) == (peer, lane));
        u64::from(found)
    };
    let nobody = client.peer("nobody").expect("it is configured");
    let page = Paging {
        limit: 100,
        after: None,
    };
    let lanes = client.lanes(&LaneList { page }).expect("lanes").items;
    let spare = lanes.iter().find(|lane| lane.lane == "spare");
    for dial in DIALS {
        let found = match dial {
            Dial::PausedPeer => paused(Some("nobody"), None),
            Dial::PausedLane => paused(None, Some("spare")),
            Dial::Rate => status.bandwidth.bytes_per_second,
            Dial::PeerRate => nobody.bandwidth.bytes_per_second,
            Dial::Budget => spare.expect("it is configured").attempts_per_hour,
        };
        let answered = model.dials.get(&dial).copied().unwrap_or(0);
        let turned = model.turning == Some((dial, found));
        assert!(
            found == answered || turned,
            "{dial:?}: {answered} was answered, found {found}, turning {:?}",
            model.turning
        );
        model.dials.insert(dial, found);
    }
    model.turning = None;
}

/// Each answered change is in the chain, and nothing that was not ordered.
fn judge_audit(alpha: &Node, model: &Model) {
    let sums = alpha.client().audit_summary(&AuditFilter::default());
    let events: BTreeMap<String, u64> = sums.expect("sums").events.into_iter().collect();
    for (event, (given, changed)) in &model.changes {
        let written = events.get(*event).copied().unwrap_or(0);
        // A bulk order writes one at its start and one for each transaction.
        let most = match *event {
            "relay.deadletter.retried" | "relay.deadletter.purged" => 2 * given,
            _ => *given,
        };
        let told = format!("{event}: {written} written, {given} given, {changed} changed");
        assert!((*changed..=most).contains(&written), "{told}");
    }
}

#[test]
fn killed_at_any_moment_what_was_answered_holds() {
    let seed = number_from_env("EDGED_VERBS_SEED", 1);
    let cycles = number_from_env("EDGED_VERBS_CYCLES", CYCLES);
    let mut dice = Dice::new(seed);
    let mut pair = Pair::new(NODE, seed);
    let nobody = "[lanes.spare]\nclass = 5\n\
                  [[peers]]\nid = \"nobody\"\naddresses = [\"127.0.0.1:9\"]\n";
    pair.alpha.home.configure("10-test", nobody);
    pair.start_beta();
    pair.start_alpha();
    let shapes = [Shape::Batches, Shape::Single, Shape::Keyed];
    let producers = Producers::start(pair.alpha.home.socket(), seed, &shapes);
    let mut model = Model::default();
    let count = Arc::new(AtomicU64::new(0));

    for _ in 0..cycles {
        producers.allow(dice.between(64, 512));
        let goal = count.load(Ordering::SeqCst) + dice.between(20, 120);
        let operator = {
            let (socket, count) = (pair.alpha.home.socket().to_owned(), Arc::clone(&count));
            let (mut dice, mut model) = (Dice::new(dice.draw()), std::mem::take(&mut model));
            std::thread::spawn(move || {
                operate(&socket, &mut dice, &mut model, &count);
                model
            })
        };
        wait_for("orders to be answered", PATIENCE, || {
            producers.allow(8);
            (count.load(Ordering::SeqCst) >= goal || operator.is_finished()).then_some(())
        });
        pair.alpha.end().kill9();
        model = operator.join().expect("the operator saw nothing wrong");
        pair.start_alpha();
        judge(&pair.alpha, &mut model);
        let books = pair.alpha.books();
        assert!(books.holds, "{books:?}");
    }

    let journal = producers.finish();
    judge_audit(&pair.alpha, &model);
    wait_for("all to beta to be acked", 2 * PATIENCE, || {
        let peers = pair.alpha.status().peers;
        let beta = peers.iter().find(|peer| peer.peer_id == "beta")?;
        (beta.waiting + beta.inflight == 0).then_some(())
    });
    say(&format!(
        "  seed {seed}, {cycles} kills, {} orders answered, {} cut off, changes {:?}",
        model.answered, model.unanswered, model.changes
    ));
    assert!(
        model.answered > cycles * 10,
        "orders were answered between kills"
    );
    pair.alpha.end().terminate();
    pair.beta.end().terminate();
    journal.reconcile(&Witness::of(&pair.beta.home).inbox());
}
