//! The bytes of why deliveries do not move, as version 1 writes them: a change here
//! is a new version.

mod bytes;

use bytes::check;
use edged_rpc::*;

#[test]
fn questions_of_why() {
    let which = RelayWhy {
        segment: "01".into(),
        peer: Some("b".into()),
    };
    check("why", &Request::RelayWhy(which), "20023031010162");
    check("why all", &Request::RelayWhyAll, "21");
}

#[test]
fn answers_of_why() {
    let report = WhyReport {
        segment_id: Id([1; 16]),
        items: vec![DeliveryWhy {
            peer_id: "b".into(),
            lane: "l".into(),
            state: State::Scheduled,
            since: Moment(1),
            sentence: "s".into(),
            reasons: vec![ReasonView {
                waiting_on: "t".into(),
                until: Some(Moment(2)),
                text: "x".into(),
            }],
            ahead: Some(AheadView {
                count: 3,
                bytes: 4,
                at_most: true,
            }),
            error: None,
        }],
        queried_at: Moment(5),
    };
    check(
        "report",
        &Response::Why(report),
        "1f01010101010101010101010101010101010162016c0001017301017401020178010304010005",
    );
    let page = Page {
        items: vec![BlockedView {
            waiting_on: "t".into(),
            peer_id: "b".into(),
            deliveries: 6,
            bytes: 7,
            until: None,
            text: "x".into(),
        }],
        total: 1,
        next: None,
    };
    check(
        "blocked",
        &Response::Blocked(page),
        "20010174016206070001780100",
    );
}
