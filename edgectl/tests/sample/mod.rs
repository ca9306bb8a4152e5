//! Pictures with full defaults, and a way to run `edgectl` on a socket.

#![allow(unreachable_pub, dead_code)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use edgectl::Exit;
use edged_rpc::*;

/// What a command said and how it ended.
#[derive(Debug)]
pub struct Said {
    pub exit: Exit,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn is(&self, exit: Exit, out: &str, err: &str) {
        assert_eq!(self.out, out, "{}", self.err);
        assert_eq!(self.err, err);
        assert_eq!(self.exit, exit);
    }

    #[track_caller]
    pub fn has(&self, piece: &str) {
        assert!(
            self.out.contains(piece),
            "{piece}\nis not in\n{}\n{}",
            self.out,
            self.err
        );
        assert_eq!(self.exit, Exit::Done);
    }

    #[track_caller]
    pub fn errs(&self, start: &str) {
        assert!(self.err.starts_with(start), "{}", self.err);
    }
}

pub fn edgectl_at(socket: &Path, args: &[&str], stdin: &[u8]) -> Said {
    let mut all: Vec<OsString> = vec!["edgectl".into(), "--socket".into(), socket.into()];
    all.extend(args.iter().map(OsString::from));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = edgectl::run(all, &mut &*stdin, &mut out, &mut err);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said {
        exit,
        out: text(out),
        err: text(err),
    }
}

pub fn id() -> Id {
    Id([1; 16])
}

pub fn accepted() -> Accepted {
    let (durability, digest) = (Durability::Synced, Digest([2; 32]));
    Accepted {
        segment_id: id(),
        durability,
        digest,
        known: false,
    }
}

pub fn segment() -> SegmentView {
    SegmentView {
        segment_id: id(),
        origin: "alpha".into(),
        lane: "default".into(),
        topic: Some("a/b".into()),
        labels: BTreeMap::from([("k".into(), "v".into())]),
        len: 3_250_586,
        digest: Digest([2; 32]),
        queued_at: Moment(1_000),
        expires_at: None,
        payload_kept: true,
        success_condition: "all_peers".into(),
        peers: vec![PeerStateView {
            peer_id: "beta".into(),
            state: State::Acked,
        }],
    }
}

pub fn delivery() -> DeliveryView {
    DeliveryView {
        segment_id: id(),
        peer_id: "beta".into(),
        origin: "alpha".into(),
        lane: "default".into(),
        topic: None,
        state: State::Failed,
        cause: None,
        waiting_on: vec!["backoff".into()],
        waiting_until: Some(Moment(3_000)),
        attempt_count: 1,
        len: 3_250_586,
        first_queued: Moment(1_000),
        last_updated: Moment(2_000),
        rescued: true,
    }
}

pub fn delivery_detail() -> DeliveryDetail {
    let attempt = |number: u32, outcome, error: Option<&str>| AttemptView {
        number,
        boot_epoch: 6,
        started_at: Moment(u64::from(number) * 2_000 - 1_000),
        completed_at: Some(Moment(u64::from(number) * 2_000)),
        outcome: Some(outcome),
        error: error.map(str::to_owned),
        bytes_sent: 9,
    };
    let attempts = vec![
        attempt(1, Outcome::Abandoned, None),
        attempt(2, Outcome::Failed, Some("no\x1b[31m")),
    ];
    DeliveryDetail {
        delivery: delivery(),
        attempts,
    }
}

pub fn item() -> InboxView {
    InboxView {
        segment_id: id(),
        origin: "beta".into(),
        via: "beta".into(),
        lane: "default".into(),
        lane_sequence: 5,
        topic: None,
        labels: BTreeMap::new(),
        len: 3,
        digest: Digest([2; 32]),
        received_at: Moment(1_000),
        state: LeaseState::Ready,
        leased_until: None,
        takes: 0,
    }
}

pub fn peer() -> PeerView {
    PeerView {
        peer_id: "beta".into(),
        state: LinkState::Up,
        address: Some("h:7443".into()),
        rtt_ms: Some(1.2),
        waiting: 12,
        inflight: 2,
        acked: 847,
        deadletter: 5,
        oldest_age_seconds: Some(41),
        last_error: None,
        waiting_on: vec!["turn".into()],
    }
}

pub fn book() -> BookView {
    BookView {
        peer_id: "beta".into(),
        lane: "default".into(),
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

pub fn limits() -> BandwidthView {
    BandwidthView {
        unlimited: false,
        bytes_per_second: 1_048_576,
        burst_bytes: 1_048_576,
        available_tokens: Some(524_288),
        daily_quota_bytes: 10_737_418_240,
        daily_used_bytes: 3_221_225_472,
        quota_opens_at: None,
        throttle_count: 14,
        quota_drops: 0,
        rate_set_by: "ledger".into(),
        quota_set_by: "config".into(),
        since: None,
    }
}

pub fn status() -> StatusView {
    StatusView {
        enabled: true,
        node: "alpha".into(),
        boot_epoch: 7,
        workers: 4,
        success_condition: "all_peers".into(),
        durability: Durability::Synced,
        queue_depth: ByState {
            scheduled: 12,
            inflight: 2,
            acked: 847,
            failed: 3,
            deadletter: 5,
            total: 869,
        },
        queue_bytes: ByState {
            scheduled: 3_250_586,
            ..ByState::default()
        },
        oldest_age_seconds: Some(41),
        rescued_at_start: 2,
        bandwidth: BandwidthView {
            unlimited: true,
            ..BandwidthView::default()
        },
        peers: vec![peer()],
        paused: false,
        pauses: vec![],
        storage: StorageView::default(),
        queried_at: Moment(1_000),
    }
}

pub fn version() -> VersionView {
    VersionView {
        version: "0.0.9".into(),
        rpc_version: 1,
        node: "alpha".into(),
        boot_epoch: 7,
        started_at: Moment(1_000),
    }
}
