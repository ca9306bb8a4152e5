//! The bytes of every message, as version 1 writes them: a change here is a new version.

mod bytes;

use std::collections::BTreeMap;

use bytes::check;
use edged_rpc::*;

#[test]
fn greetings() {
    check(
        "hello",
        &Hello {
            operator: Some("ann".into()),
            ..Hello::new("t")
        },
        "0101740103616e6e00",
    );
    check("welcome", &Greeting::Welcome(welcome()), "00010161017307");
    check(
        "turned away",
        &Greeting::Refused(error()),
        "01010f6e6f5f737563685f7365676d656e74016d0168",
    );
}

#[test]
fn puts() {
    let full = PutOptions {
        target: Target::Peers(vec!["b".into(), "c".into()]),
        lane: "alarm".into(),
        topic: Some("a/b".into()),
        labels: vec![("k".into(), "v".into())],
        ttl_seconds: Some(3_600),
        success: Some(Success::Count(2)),
    };
    let put = Put {
        options: full,
        key: Some("k1".into()),
        len: Some(300),
    };
    check(
        "put",
        &Request::Put(put),
        "0000020162016305616c61726d0103612f6201016b017601901c01020201026b3101ac02",
    );
    let plain = Put {
        options: PutOptions::to_route("r"),
        key: None,
        len: None,
    };
    check(
        "put, least",
        &Request::Put(plain),
        "000101720764656661756c74000000000000",
    );
    let options = PutOptions {
        success: Some(Success::OnePeer),
        ..PutOptions::to_peer("b")
    };
    let batch = PutBatch {
        options,
        lengths: vec![1, 200],
    };
    check(
        "batch",
        &Request::PutBatch(batch),
        "01000101620764656661756c7400000001010201c801",
    );
}

#[test]
fn questions() {
    let page = Paging {
        limit: 50,
        after: Some("x".into()),
    };
    let filter = InboxFilter {
        origin: Some("b".into()),
        topic: Some("t".into()),
        lane: Some("l".into()),
    };
    let list = SegmentList {
        lane: Some("l".into()),
        peer: Some("b".into()),
        state: Some(State::Deadletter),
        topic: Some("t".into()),
        page: page.clone(),
    };
    check(
        "segment list",
        &Request::SegmentList(list),
        "0201016c010162010401017432010178",
    );
    let segment = || "seg-01".to_owned();
    check(
        "inspect",
        &Request::SegmentInspect(SegmentInspect { segment: segment() }),
        "03067365672d3031",
    );
    check(
        "get",
        &Request::SegmentGet(SegmentGet { segment: segment() }),
        "04067365672d3031",
    );
    let list = InboxList {
        filter: filter.clone(),
        page: page.clone(),
    };
    check(
        "inbox list",
        &Request::InboxList(list),
        "0501016201017401016c32010178",
    );
    check(
        "inbox get",
        &Request::InboxGet(InboxGet { segment: segment() }),
        "06067365672d3031",
    );
    let take = InboxTake {
        filter,
        max: 9,
        lease_seconds: Some(60),
    };
    check(
        "take",
        &Request::InboxTake(take),
        "0701016201017401016c09013c",
    );
    let confirm = InboxConfirm {
        ids: Ids(vec![id(1), id(2)]),
        prefixes: vec!["seg-01".into()],
    };
    check(
        "confirm",
        &Request::InboxConfirm(confirm),
        "0820010101010101010101010101010101010202020202020202020202020202020201067365672d3031",
    );
    check(
        "status",
        &Request::RelayStatus(RelayStatus { books: true }),
        "0901",
    );
    let list = RelayList {
        state: Some(State::Scheduled),
        peer: Some("b".into()),
        lane: Some("l".into()),
        cause: Some("expired".into()),
        topic: Some("t".into()),
        older_than_seconds: Some(300),
        page: page.clone(),
    };
    check(
        "relay list",
        &Request::RelayList(list),
        "0a010001016201016c01076578706972656401017401ac0232010178",
    );
    check("peers", &Request::PeerList(PeerList { page }), "0b32010178");
    check("version", &Request::Version, "0c");
    check("counters", &Request::Counters, "0d");
}

#[test]
fn answers_to_puts() {
    check(
        "error",
        &Response::Error(error()),
        "00010f6e6f5f737563685f7365676d656e74016d0168",
    );
    check("done", &Response::Done, "01");
    check("go", &Response::Go, "02");
    let accepted = Accepted {
        segment_id: id(1),
        durability: Durability::Synced,
        digest: Digest([2; 32]),
        known: true,
    };
    check(
        "accepted",
        &Response::Accepted(accepted),
        "030101010101010101010101010101010100020202020202020202020202020202020202020202020202020202020202020201",
    );
    let batch = AcceptedBatch {
        ids: Ids(vec![id(1), Id::NIL]),
        durability: Durability::Written,
        refused: vec![Refusal {
            members: vec![1],
            error: error(),
        }],
    };
    check(
        "accepted batch",
        &Response::AcceptedBatch(batch),
        "0420010101010101010101010101010101010000000000000000000000000000000001010101010f6e6f5f737563685f7365676d656e74016d0168",
    );
}

#[test]
fn answers_about_segments() {
    let page = Page {
        items: vec![segment()],
        total: 300,
        next: Some("n".into()),
    };
    check(
        "segments",
        &Response::Segments(page),
        "0501010101010101010101010101010101010161016c01017401016b0176ac020202020202020202020202020202020202020202020202020202020202020202e80701d00f0109616c6c5f706565727301016203ac0201016e",
    );
    check(
        "segment",
        &Response::Segment(segment()),
        "06010101010101010101010101010101010161016c01017401016b0176ac020202020202020202020202020202020202020202020202020202020202020202e80701d00f0109616c6c5f706565727301016203",
    );
    let detail = SegmentDetail {
        segment: segment(),
        deliveries: vec![DeliveryDetail {
            delivery: delivery(),
            attempts: vec![attempt()],
        }],
    };
    check(
        "detail",
        &Response::SegmentDetail(detail),
        "07010101010101010101010101010101010161016c01017401016b0176ac020202020202020202020202020202020202020202020202020202020202020202e80701d00f0109616c6c5f706565727301016203010101010101010101010101010101010101620161016c000201016301076261636b6f666601b81701ac02e807d00f01010106e80701d00f0106010165ac02",
    );
    let page = Page {
        items: vec![delivery()],
        total: 1,
        next: None,
    };
    check(
        "deliveries",
        &Response::Deliveries(page),
        "0c010101010101010101010101010101010101620161016c000201016301076261636b6f666601b81701ac02e807d00f010100",
    );
}

#[test]
fn answers_about_the_inbox() {
    let page = Page {
        items: vec![item()],
        total: 1,
        next: None,
    };
    check(
        "inbox",
        &Response::Inbox(page),
        "08010101010101010101010101010101010101620163016c050000ac020202020202020202020202020202020202020202020202020202020202020202e8070101d00f010100",
    );
    check(
        "items",
        &Response::Items(vec![item()]),
        "09010101010101010101010101010101010101620163016c050000ac020202020202020202020202020202020202020202020202020202020202020202e8070101d00f01",
    );
    let confirmed = Confirmed {
        confirmed: 2,
        already: 1,
        unknown: vec!["seg-9".into()],
    };
    check(
        "confirmed",
        &Response::Confirmed(confirmed),
        "0a020101057365672d39",
    );
}

#[test]
fn answers_about_the_relay() {
    let by_state = ByState {
        scheduled: 12,
        inflight: 2,
        acked: 847,
        failed: 3,
        deadletter: 5,
        total: 869,
    };
    let bandwidth = BandwidthView {
        available_tokens: Some(-1),
        bytes_per_second: 1_048_576,
        since: Some(Moment(1)),
        ..BandwidthView::default()
    };
    let status = StatusView {
        enabled: true,
        node: "a".into(),
        boot_epoch: 7,
        workers: 4,
        success_condition: "all_peers".into(),
        durability: Durability::Synced,
        queue_depth: by_state,
        queue_bytes: by_state,
        oldest_age_seconds: Some(41),
        rescued_at_start: 2,
        bandwidth,
        peers: vec![peer()],
        paused: false,
        pauses: vec![PauseView {
            scope: Scope {
                peer: Some("b".into()),
                lane: None,
            },
            how: Pausing::Now,
            since: Moment(1),
            until: Some(Moment(2)),
        }],
        storage: StorageView {
            used_bytes: 9,
            ceiling_bytes: 10,
            inbox_bytes: 1,
            inbox_ceiling_bytes: 5,
            ladder: Ladder::PutsRefused,
        },
        queried_at: Moment(1_000),
    };
    let report = StatusReport {
        status,
        books: Some(vec![book()]),
        keeping: KeepingView::default(),
    };
    check(
        "status",
        &Response::Status(report),
        "0b010161070409616c6c5f7065657273000c02cf060305e5060c02cf060305e50601290200808040000101000000000000000101010162020103683a3101000000000000f83f0c02030401290001047475726e00010101620001010102090a010502e80701010162016c1501020304050601000000000000",
    );
    let page = Page {
        items: vec![peer()],
        total: 1,
        next: None,
    };
    check(
        "peers",
        &Response::Peers(page),
        "0d010162020103683a3101000000000000f83f0c02030401290001047475726e0100",
    );
    let version = VersionView {
        version: "0.0.1".into(),
        rpc_version: 1,
        node: "a".into(),
        boot_epoch: 7,
        started_at: Moment(1_000),
    };
    check(
        "version",
        &Response::Version(version),
        "0e05302e302e3101016107e807",
    );
    let received = ReceivedView {
        origin: "b".into(),
        lane: "l".into(),
        segments: 1,
        bytes: 2,
        repeats: 3,
        confirmed: 4,
    };
    let counters = CountersView {
        boot_epoch: 7,
        books: vec![book()],
        received: vec![received],
    };
    check(
        "counters",
        &Response::Counters(counters),
        "0f07010162016c1501020304050601010162016c01020304",
    );
}

fn id(number: u8) -> Id {
    Id([number; 16])
}

fn welcome() -> Welcome {
    Welcome {
        version: 1,
        node: "a".into(),
        software: "s".into(),
        boot_epoch: 7,
    }
}

fn error() -> RpcError {
    RpcError::new(ErrorKind::NotFound, "no_such_segment", "m").with_hint("h")
}

fn segment() -> SegmentView {
    SegmentView {
        segment_id: id(1),
        origin: "a".into(),
        lane: "l".into(),
        topic: Some("t".into()),
        labels: BTreeMap::from([("k".into(), "v".into())]),
        len: 300,
        digest: Digest([2; 32]),
        queued_at: Moment(1_000),
        expires_at: Some(Moment(2_000)),
        payload_kept: true,
        success_condition: "all_peers".into(),
        peers: vec![PeerStateView {
            peer_id: "b".into(),
            state: State::Acked,
        }],
    }
}

fn delivery() -> DeliveryView {
    DeliveryView {
        segment_id: id(1),
        peer_id: "b".into(),
        origin: "a".into(),
        lane: "l".into(),
        topic: None,
        state: State::Failed,
        cause: Some("c".into()),
        waiting_on: vec!["backoff".into()],
        waiting_until: Some(Moment(3_000)),
        attempt_count: 1,
        len: 300,
        first_queued: Moment(1_000),
        last_updated: Moment(2_000),
        rescued: true,
    }
}

fn attempt() -> AttemptView {
    AttemptView {
        number: 1,
        boot_epoch: 6,
        started_at: Moment(1_000),
        completed_at: Some(Moment(2_000)),
        outcome: Some(Outcome::Abandoned),
        error: Some("e".into()),
        bytes_sent: 300,
    }
}

fn item() -> InboxView {
    InboxView {
        segment_id: id(1),
        origin: "b".into(),
        via: "c".into(),
        lane: "l".into(),
        lane_sequence: 5,
        topic: None,
        labels: BTreeMap::new(),
        len: 300,
        digest: Digest([2; 32]),
        received_at: Moment(1_000),
        state: LeaseState::Leased,
        leased_until: Some(Moment(2_000)),
        takes: 1,
    }
}

fn peer() -> PeerView {
    PeerView {
        peer_id: "b".into(),
        state: LinkState::Up,
        address: Some("h:1".into()),
        rtt_ms: Some(1.5),
        waiting: 12,
        inflight: 2,
        acked: 3,
        deadletter: 4,
        oldest_age_seconds: Some(41),
        last_error: None,
        waiting_on: vec!["turn".into()],
    }
}

fn book() -> BookView {
    BookView {
        peer_id: "b".into(),
        lane: "l".into(),
        put: 21,
        acked: 1,
        deadletter: 2,
        waiting: 3,
        not_needed: 4,
        purged: 5,
        quarantined: 6,
        holds: true,
    }
}
