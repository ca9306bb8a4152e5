//! The ranges: every bound is drawn so that in some worlds it binds.

use std::collections::BTreeMap;
use std::time::Duration;

use relay_core::backoff::Backoff;
use relay_core::id::LaneName;
use relay_core::limits::Limits;
use relay_core::partial::Pace;
use relay_core::segment::{Class, LaneRule};
use relay_core::units::Rate;

use super::{DiskPlan, Odds, Path, SECOND};
use crate::seeds::Dice;

pub(super) fn lanes(dice: &mut Dice) -> BTreeMap<LaneName, LaneRule> {
    let tight = dice.chance(500);
    let mut rule = |name: &str, class| {
        let name: LaneName = name.parse().expect("a short name is a name");
        let class = Class::new(class).expect("a class is at most 7");
        let weight = dice.between(1, 4) as u32;
        let budget = if tight {
            dice.between(1, 3)
        } else {
            dice.between(2, 8)
        } as u32;
        (
            name,
            LaneRule {
                class,
                weight,
                budget,
            },
        )
    };
    BTreeMap::from([
        rule("control", 0),
        rule("alarm", 1),
        rule("default", 4),
        rule("extra", 4),
        rule("bulk", 6),
    ])
}

pub(super) fn limits(dice: &mut Dice) -> Limits {
    if dice.chance(200) {
        return Limits::default();
    }
    let active = dice.spread(2, 128) as usize;
    Limits {
        active,
        // Small, so that it binds; not drawn, so that a seed stays its world.
        resting: active.div_ceil(2),
        page: dice.between(1, active as u64) as usize,
        window_parcels: dice.spread(1, 32) as usize,
        window_bytes: dice.spread(1 << 10, 1 << 20),
        large: dice.between(1, 4) as usize,
        unsent_bytes: dice.spread(1 << 10, 1 << 20),
        unsent_chunks: dice.spread(1, 64) as u32,
        chunk: dice.spread(1 << 10, 64 << 10),
        unsettled: dice.spread(1, 64),
        arrivals: dice.spread(1, 32) as usize,
        late_acks: dice.spread(1, 32) as usize,
        orders: 16,
        deadletter_bytes: 1 << 30,
        ack_timeout: micros(dice.spread(SECOND, 30 * SECOND)),
        max_starvation: micros(dice.spread(SECOND, 30 * SECOND)),
        max_put: if dice.chance(100) { 100 << 10 } else { 2 << 30 },
        // Not drawn, so that a seed stays its world.
        standby_after: Duration::from_secs(if active.is_multiple_of(2) { 30 } else { 3 }),
        busy_retry: micros(dice.spread(SECOND / 10, 2 * SECOND)),
        bulk_rows: Limits::default().bulk_rows,
        unadmitted: Limits::default().unadmitted,
        ..Limits::default()
    }
}

/// Segments are short here: so are the steps in which they are journaled.
pub(super) fn partials(dice: &mut Dice, limits: &mut Limits) {
    let step = dice.spread(2 << 10, 64 << 10);
    limits.pace = Pace {
        keep_over: dice.spread(1 << 10, 64 << 10),
        in_memory: dice.spread(16 << 10, 256 << 10),
        step,
        every: micros(dice.spread(SECOND / 10, 5 * SECOND)),
        ahead: 2 * step,
    };
    limits.partials = dice.between(1, 8) as usize;
    limits.heard = dice.between(4, 64) as usize;
    limits.keep_partials = micros(dice.spread(20 * SECOND, 300 * SECOND));
}

pub(super) fn retry(dice: &mut Dice) -> Backoff {
    let first = dice.spread(SECOND / 10, 2 * SECOND);
    let longest = dice.spread(first, 30 * SECOND);
    Backoff {
        first: micros(first),
        longest: micros(longest),
    }
}

type PeerRates = BTreeMap<(usize, usize), Rate>;

pub(super) fn rates(dice: &mut Dice, nodes: usize, rated: bool) -> (Vec<Rate>, PeerRates) {
    let mut draw = || Rate(dice.spread(500, 100_000));
    if !rated {
        return (vec![Rate::UNLIMITED; nodes], BTreeMap::new());
    }
    let whole = (0..nodes).map(|_| draw()).collect();
    let pairs = (0..nodes).flat_map(|a| (0..nodes).map(move |b| (a, b)));
    let own = pairs
        .filter(|(a, b)| a != b && (a + 2 * b) % 3 == 0)
        .map(|pair| (pair, draw()));
    (whole, own.collect())
}

pub(super) fn path(dice: &mut Dice) -> Path {
    let jitter = if dice.chance(300) {
        5 * SECOND
    } else {
        SECOND / 20
    };
    Path {
        latency: dice.spread(100, SECOND / 2),
        jitter: dice.spread(1, jitter),
        takes: dice.spread(20_000, 100_000_000),
        idle: dice.spread(SECOND / 10, 60 * SECOND),
    }
}

pub(super) fn disk(dice: &mut Dice) -> DiskPlan {
    let commit = dice.spread(100, SECOND / 5);
    let read = dice.spread(50, SECOND / 10);
    DiskPlan {
        commit: (commit / 2, commit * 2),
        read: (read / 2, read * 4),
        ceiling: if dice.chance(150) {
            dice.spread(300 << 10, 4 << 20)
        } else {
            1 << 40
        },
        keep_known: dice.spread(300, 3_600) * SECOND,
        checks_reads: dice.chance(500),
    }
}

pub(super) fn odds(dice: &mut Dice) -> Odds {
    let mut some = |of_worlds: u64, most: u64| {
        if dice.chance(of_worlds) {
            dice.spread(1, most)
        } else {
            0
        }
    };
    Odds {
        repeat_ack: some(300, 500),
        lying_ack: some(150, 200),
        bad_digest: some(300, 500),
        busy: some(300, 300),
        silent: some(500, 1_000),
        deaf: some(300, 700),
        repeat_key: some(400, 700),
        refuse_every: some(250, 60) * 2,
        ttl: some(250, 500),
        rot: some(300, 100),
    }
}

fn micros(n: u64) -> Duration {
    Duration::from_micros(n)
}
