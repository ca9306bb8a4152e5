//! The bytes of damage, spools and sinks, as version 1 writes them: a change here is a
//! new version.

mod bytes;

use bytes::check;
use edged_rpc::*;

#[test]
fn questions_of_quarantine() {
    let which = QuarantineList {
        page: Paging {
            limit: 50,
            after: Some("7".into()),
        },
    };
    check("quarantine", &Request::QuarantineList(which), "2232010137");
}

#[test]
fn answers_of_quarantine() {
    let page = Page {
        items: vec![entry()],
        total: 3,
        next: Some("2".into()),
    };
    check(
        "quarantine",
        &Response::Quarantine(page),
        "210102010101770170017901016200030403010132",
    );
}

#[test]
fn what_a_node_keeps() {
    let keeping = KeepingView {
        quarantine: QuarantineSums {
            entries: 1,
            deliveries: 2,
            bytes: 3,
            newest: vec![entry()],
        },
        spools: vec![WayView {
            place: "/s".into(),
            state: WayState::Unable,
            since: Moment(4),
            tries: 5,
            in_hand: 6,
            done: 7,
            passed_over: 8,
            last_error: Some("e".into()),
            last_error_at: Some(Moment(9)),
        }],
        sinks: Vec::new(),
    };
    check(
        "keeping",
        &keeping,
        "0102030102010101770170017901016200030401022f73030405060708010165010900",
    );
}

fn entry() -> QuarantineView {
    QuarantineView {
        number: 2,
        found_at: Some(Moment(1)),
        what: "w".into(),
        place: "p".into(),
        why: "y".into(),
        peer_id: Some("b".into()),
        lane: None,
        deliveries: 3,
        bytes: 4,
    }
}
