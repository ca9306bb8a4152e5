//! Disks that fail under a running daemon: it ends with a reason, and nothing that it had
//! answered or acked is gone or comes twice.
//!
//! strace answers EIO to a drawn sync of a thread and to all after it, which is the journal's
//! thread first of all. The next start finds a disk that works again.

use std::collections::BTreeSet;

use edged_rpc::{Id, InboxList, Paging};
use harness::daemon::{PATIENCE, Pair, to_beta, wait_for};
use harness::files::Body;
use harness::seeds::{Dice, say};

/// The binary under test.
const NODE: &str = env!("CARGO_BIN_EXE_relay-node");
/// Disks that fail at each side.
const FAULTS: u64 = 3;
/// Segments at most, for each.
const SEGMENTS: u64 = 2_000;

/// Runs a program on a disk that fails from the `which`-th sync of a thread on.
fn failing(which: u64) -> Vec<String> {
    let fault = format!("inject=fsync,fdatasync:error=EIO:when={which}+");
    let words = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=fsync,fdatasync",
        "-e",
    ];
    words
        .into_iter()
        .chain([fault.as_str()])
        .map(str::to_owned)
        .collect()
}

/// Which sync of a thread fails: past those of a start.
fn drawn(dice: &mut Dice) -> (u64, Vec<String>) {
    let which = dice.between(40, 150);
    (which, failing(which))
}

#[test]
fn what_a_sender_had_answered_is_delivered_once_its_disk_works_again() {
    let mut dice = Dice::new(61);
    let mut pair = Pair::new(NODE, 61);
    pair.start_beta();
    let mut answered = BTreeSet::new();

    for _ in 0..FAULTS {
        let (which, tracer) = drawn(&mut dice);
        let tracer: Vec<&str> = tracer.iter().map(String::as_str).collect();
        pair.alpha.start_under(&tracer);
        pair.to_alpha.aim(pair.alpha.process().quic());
        let mut client = pair.alpha.client();
        let before = answered.len();
        let puts = (0..SEGMENTS).map(|_| body(dice.draw()));
        let ids = puts.map_while(|body| client.put(&to_beta(), &body.bytes()).ok());
        answered.extend(ids.map(|put| put.segment_id));
        let said = pair.alpha.end().wait_for_failure();
        say(&format!(
            "  sync {which} of a thread fails: {} were answered before",
            answered.len() - before
        ));
        assert!(answered.len() > before, "{said}");
        assert!(
            said.contains("Input/output error") || said.contains("disk I/O error"),
            "{said}"
        );
    }

    pair.start_alpha();
    let _ = pair.alpha.wait_at_rest(PATIENCE);
    let there = inbox(&pair);
    assert_eq!(
        answered.difference(&there).count(),
        0,
        "what was answered is there"
    );
    // One that was under way may be there without an answer.
    assert!(
        there.len() <= answered.len() + FAULTS as usize,
        "{} arrived",
        there.len()
    );
}

#[test]
fn what_a_receiver_had_acked_is_there_once_its_disk_works_again() {
    let mut dice = Dice::new(62);
    let mut pair = Pair::new(NODE, 62);
    pair.start_alpha();
    let mut answered = BTreeSet::new();

    for _ in 0..FAULTS {
        let (which, tracer) = drawn(&mut dice);
        let tracer: Vec<&str> = tracer.iter().map(String::as_str).collect();
        pair.beta.start_under(&tracer);
        pair.to_beta.aim(pair.beta.process().quic());
        let mut client = pair.alpha.client();
        let before = pair.alpha.books().acked;
        wait_for("its disk to fail", PATIENCE, || {
            let put = client.put(&to_beta(), &body(dice.draw()).bytes());
            answered.insert(put.expect("alpha is well").segment_id);
            (!pair.beta.process().is_alive()).then_some(())
        });
        let said = pair.beta.end().wait_for_failure();
        let acked = pair.alpha.books().acked - before;
        say(&format!(
            "  sync {which} of a thread fails: {acked} were acked before"
        ));
        assert!(acked > 0, "{said}");
        assert!(
            said.contains("Input/output error") || said.contains("disk I/O error"),
            "{said}"
        );
    }

    pair.start_beta();
    let _ = pair.alpha.wait_at_rest(PATIENCE);
    assert_eq!(inbox(&pair), answered);
}

fn body(seed: u64) -> Body {
    Body {
        seed,
        length: 16 + seed % 2_000,
    }
}

/// Ids in beta's inbox; none is there twice.
fn inbox(pair: &Pair) -> BTreeSet<Id> {
    let (mut client, mut ids, mut after) = (pair.beta.client(), BTreeSet::new(), None);
    loop {
        let page = Paging {
            limit: 1_000,
            after,
        };
        let page = InboxList {
            page,
            ..InboxList::default()
        };
        let page = client.inbox(&page).expect("a page");
        for item in page.items {
            assert!(ids.insert(item.segment_id), "{item:?} is there twice");
        }
        after = page.next;
        if after.is_none() {
            return ids;
        }
    }
}
