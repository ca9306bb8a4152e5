//! The bytes of orders and of what the daemon is set to, as version 1 writes them: a change
//! here is a new version.

mod bytes;

use bytes::check;
use edged_rpc::*;

fn scope() -> Scope {
    Scope {
        peer: Some("b".into()),
        lane: Some("l".into()),
    }
}

fn selection() -> Selection {
    Selection {
        peer: Some("b".into()),
        lane: Some("l".into()),
        cause: Some("c".into()),
        older_than_seconds: Some(300),
        least_bytes: Some(1),
        most_bytes: Some(2),
    }
}

#[test]
fn limits_and_pauses() {
    let bandwidth = |standing| RelayBandwidth {
        peer: Some("b".into()),
        bytes_per_second: Some(65_536),
        daily_quota_bytes: Some(0),
        standing,
        dry_run: true,
    };
    check(
        "bandwidth",
        &Request::RelayBandwidth(bandwidth(Standing::Stored)),
        "0e0101620180800401000001",
    );
    check(
        "bandwidth, ephemeral",
        &Request::RelayBandwidth(bandwidth(Standing::Ephemeral)),
        "0e0101620180800401000101",
    );
    let reset = RelayBandwidth {
        standing: Standing::Reset,
        ..RelayBandwidth::default()
    };
    check(
        "bandwidth, reset",
        &Request::RelayBandwidth(reset),
        "0e0000000200",
    );
    let budget = LaneBudget {
        lane: "l".into(),
        bytes_per_day: Some(300),
        attempts_per_hour: Some(7),
        dry_run: false,
    };
    check("budget", &Request::LaneBudget(budget), "0f016c01ac02010700");
    let pause = |how, until| RelayPause {
        scope: scope(),
        how,
        until,
    };
    check(
        "pause",
        &Request::RelayPause(RelayPause::default()),
        "1000000000",
    );
    check(
        "pause for",
        &Request::RelayPause(pause(Pausing::Drain, Some(Until::After(90)))),
        "1001016201016c0001005a",
    );
    check(
        "pause until",
        &Request::RelayPause(pause(Pausing::Now, Some(Until::At(Moment(300))))),
        "1001016201016c010101ac02",
    );
    check(
        "resume",
        &Request::RelayResume(RelayResume { scope: scope() }),
        "1101016201016c",
    );
    let limits = LimitsChanged {
        applied: true,
        limits: vec![LimitView {
            name: "n".into(),
            before: 0,
            after: 300,
        }],
    };
    check("limits", &Response::Limits(limits), "120101016e00ac02");
    check(
        "changed",
        &Response::Changed(Changed { changed: 300 }),
        "10ac02",
    );
    check(
        "paused",
        &Response::Paused(Paused {
            changed: 1,
            until: Some(Moment(300)),
        }),
        "110101ac02",
    );
}

#[test]
fn orders_about_deliveries() {
    let one = |verb| RelayAct {
        verb,
        which: Which::One {
            segment: "seg-01".into(),
            peer: Some("b".into()),
        },
        dry_run: false,
    };
    check(
        "hold",
        &Request::RelayAct(one(Verb::Hold)),
        "120000067365672d303101016200",
    );
    check(
        "release",
        &Request::RelayAct(one(Verb::Release)),
        "120100067365672d303101016200",
    );
    check(
        "cancel",
        &Request::RelayAct(one(Verb::Cancel)),
        "120200067365672d303101016200",
    );
    check(
        "force",
        &Request::RelayAct(one(Verb::Force)),
        "120300067365672d303101016200",
    );
    check(
        "retry",
        &Request::RelayAct(one(Verb::Retry {
            ttl_seconds: Some(300),
        })),
        "120401ac0200067365672d303101016200",
    );
    let all = |verb| RelayAct {
        verb,
        which: Which::All(selection()),
        dry_run: true,
    };
    check(
        "retry all",
        &Request::RelayAct(all(Verb::Retry { ttl_seconds: None })),
        "1204000101016201016c01016301ac020101010201",
    );
    check(
        "purge all",
        &Request::RelayAct(all(Verb::Purge)),
        "12050101016201016c01016301ac020101010201",
    );
    let look = DeadletterInspect {
        segment: "seg-01".into(),
        peer: "b".into(),
    };
    check(
        "deadletter inspect",
        &Request::DeadletterInspect(look),
        "13067365672d30310162",
    );
    let acted = Acted {
        dry_run: false,
        matched: 5,
        bytes: 300,
        changed: 4,
        skipped: vec![Skipped {
            cause: "forced".into(),
            count: 2,
        }],
        refused: vec![RefusedView {
            peer_id: "b".into(),
            segment_id: Some(Id([1; 16])),
            code: "wrong_state".into(),
            message: "m".into(),
        }],
        refused_total: 1,
        first: Vec::new(),
    };
    check(
        "acting",
        &Response::Acting(acted.clone()),
        "130005ac02040106666f726365640201016201010101010101010101010101010101010b77726f6e675f7374617465016d0100",
    );
    check(
        "acted",
        &Response::Acted(acted),
        "140005ac02040106666f726365640201016201010101010101010101010101010101010b77726f6e675f7374617465016d0100",
    );
}

#[test]
fn peers_lanes_and_config() {
    let peer = || "b".to_owned();
    check(
        "peer inspect",
        &Request::PeerInspect(PeerInspect { peer: peer() }),
        "140162",
    );
    check(
        "kick",
        &Request::PeerKick(PeerKick { peer: peer() }),
        "150162",
    );
    check(
        "drop",
        &Request::PeerDrop(PeerDrop { peer: peer() }),
        "160162",
    );
    check("lanes", &Request::LaneList(LaneList::default()), "170000");
    check("relay config", &Request::RelayConfig, "18");
    check(
        "config show",
        &Request::ConfigShow(ConfigShow::default()),
        "190000",
    );
    let file = ConfigCheck {
        name: "f".into(),
        text: "t".into(),
    };
    check("config check", &Request::ConfigCheck(file), "1a01660174");
    check("config reload", &Request::ConfigReload, "1b");
    let wait = InboxWait {
        ready: true,
        seconds: 20,
        ..InboxWait::default()
    };
    check("inbox wait", &Request::InboxWait(wait), "1c00000001140000");
    let refuse = InboxRefuse {
        ids: Ids(vec![Id([1; 16])]),
    };
    check(
        "inbox refuse",
        &Request::InboxRefuse(refuse),
        "1d1001010101010101010101010101010101",
    );
    let query = AuditQuery {
        filter: AuditFilter {
            outcome: Some("denied".into()),
            ..AuditFilter::default()
        },
        page: Paging::default(),
    };
    let ask = |what| Request::Audit(what);
    check(
        "audit query",
        &ask(AuditAsk::Query(query)),
        "1e000000010664656e6965640000000000",
    );
    let export = AuditExport { after: 7 };
    check("audit export", &ask(AuditAsk::Export(export)), "1e0107");
    let all = AuditFilter::default();
    check(
        "audit summary",
        &ask(AuditAsk::Summary(all)),
        "1e02000000000000",
    );
    check("audit verify", &ask(AuditAsk::Verify), "1e03");
    let prune = AuditPrune {
        older_than_seconds: 90,
        force: true,
        upto: Some(7),
    };
    check("audit prune", &Request::AuditPrune(prune), "1f5a010107");
}

#[test]
fn pictures_of_what_is_set() {
    let depth = ByState {
        scheduled: 1,
        inflight: 2,
        acked: 3,
        failed: 4,
        deadletter: 5,
        total: 15,
    };
    let lane = LaneView {
        lane: "l".into(),
        class: 4,
        weight: 9,
        ttl_seconds: Some(300),
        budget: 8,
        depth,
        bytes: ByState::default(),
        bytes_per_day: 300,
        bytes_used: 200,
        attempts_per_hour: 100,
        attempts_used: 1,
        opens_at: Some(Moment(2)),
        paused: true,
    };
    let page = Page {
        items: vec![lane],
        total: 1,
        next: None,
    };
    check(
        "lanes",
        &Response::Lanes(page),
        "1701016c040901ac020801020304050f000000000000ac02c80164010102010100",
    );
    let key = KeyView {
        key: "k".into(),
        value: "v".into(),
        origin: "built-in".into(),
    };
    let page = Page {
        items: vec![key.clone()],
        total: 1,
        next: Some("k".into()),
    };
    check(
        "config",
        &Response::Config(page),
        "1901016b0176086275696c742d696e0101016b",
    );
    let change = KeyChange {
        key: "k".into(),
        before: "1".into(),
        after: "2".into(),
    };
    let reload = ReloadView {
        applied: true,
        changed: vec![change.clone()],
        restart: vec![change],
        shadowed: vec!["k".into()],
    };
    check(
        "reload",
        &Response::Reload(reload),
        "1a0101016b0131013201016b0131013201016b",
    );
    let view = RelayConfigView {
        enabled: true,
        workers: 4,
        success_condition: "all_peers".into(),
        dial_timeout_ms: 10_000,
        ack_timeout_ms: 30_000,
        bandwidth: BandwidthView::default(),
        overrides: vec![key],
    };
    check(
        "relay config",
        &Response::RelayConfig(view),
        "18010409616c6c5f7065657273904eb0ea0100000000000000000000000001016b0176086275696c742d696e",
    );
    let peer = PeerView {
        peer_id: "b".into(),
        state: LinkState::Up,
        address: None,
        rtt_ms: None,
        waiting: 1,
        inflight: 2,
        acked: 3,
        deadletter: 4,
        oldest_age_seconds: None,
        last_error: None,
        waiting_on: vec![],
    };
    let lane = PeerLaneView {
        lane: "l".into(),
        depth,
        bytes: ByState::default(),
    };
    let detail = PeerDetail {
        peer,
        configured: true,
        addresses: vec!["h:1".into()],
        redial_at: Some(Moment(1)),
        busy_until: None,
        busy_why: Some("io".into()),
        bandwidth: BandwidthView::default(),
        windows: vec!["w".into()],
        unsettled: 3,
        lanes: vec![lane],
    };
    check(
        "peer",
        &Response::PeerDetail(detail),
        "16016202000001020304000000010103683a310101000102696f0000000000000000000000000101770301016c01020304050f000000000000",
    );
}
