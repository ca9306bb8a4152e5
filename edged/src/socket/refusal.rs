//! How the daemon says no: what was found, a code for programs, what to try next.

use edged_rpc::{ErrorKind, RpcError};
use relay_core::delivery::Cause;
use relay_core::event::{OrderRefused, Refusal, Space};
use relay_core::scheduler::Rung;
use relay_core::units::ByteCount;

/// The core's refusal of a put.
pub(crate) fn refused(why: Refusal) -> RpcError {
    match why {
        Refusal::UnknownPeer(name) => RpcError::new(
            ErrorKind::NotFound,
            "unknown_peer",
            format!("no peer {:?} in the config", name.as_str()),
        )
        .with_hint("edgectl peer list shows the peers; [[peers]] in the config adds one"),
        Refusal::UnknownLane(name) => RpcError::new(
            ErrorKind::NotFound,
            "unknown_lane",
            format!("no lane {:?} in the config", name.as_str()),
        )
        .with_hint("alarm, default and bulk are built in; [lanes.NAME] in the config adds one"),
        Refusal::ReservedLane(name) => RpcError::new(
            ErrorKind::Refused,
            "lane_reserved",
            format!(
                "lane {:?} carries the daemon's own words alone",
                name.as_str()
            ),
        )
        .with_hint("use alarm for what is urgent"),
        Refusal::NoPeer => RpcError::new(ErrorKind::Invalid, "no_peer", "the put names no peer")
            .with_hint("name one with --peer"),
        Refusal::UnknownRoute(name) => RpcError::new(
            ErrorKind::NotFound,
            "unknown_route",
            format!("no route {name:?} in the config"),
        )
        .with_hint("edgectl config show lists [[routes]]"),
        Refusal::NoRoute { topic, lane } => RpcError::new(
            ErrorKind::Refused,
            "no_route",
            match topic {
                Some(topic) => format!("no route takes topic {:?} in lane {lane}", topic.as_str()),
                None => format!("no route takes a segment without a topic in lane {lane}"),
            },
        )
        .with_hint("name peers with --peer, or add a [[routes]] that matches"),
        Refusal::TooFewPeers { wanted, named } => invalid(
            "bad_success",
            format!("success when {wanted} peers have it, but {named} are named"),
        ),
        Refusal::TooLarge { length, max } => too_large(length, max),
        Refusal::StorageFull(space) => storage_full(&space),
        Refusal::KeyConflict { first } => RpcError::new(
            ErrorKind::Refused,
            "key_conflict",
            format!("the key was used for {first}, which has another digest or other peers"),
        )
        .with_hint("use a new key for a new segment"),
        Refusal::TooManyNames => RpcError::new(
            ErrorKind::Refused,
            "too_many_names",
            "the ledger's table of lane names is full",
        )
        .with_hint("use a lane that was used before"),
        Refusal::Unreadable => RpcError::new(
            ErrorKind::Failed,
            "unreadable",
            "the ledger cannot be read just now, so whether the key is taken is not known",
        )
        .with_hint("nothing was stored; try again with the same key"),
        Refusal::Draining => draining(),
    }
}

/// Longer than this node takes.
pub(super) fn too_large(length: u64, max: u64) -> RpcError {
    let (found, most) = (ByteCount(length), ByteCount(max));
    RpcError::new(
        ErrorKind::Refused,
        "too_large",
        format!("segment of {found} ({length} B), this node takes at most {most} ({max} B)"),
    )
    .with_hint("split it, or raise [storage] max_bytes: a quarter of it is the limit")
}

fn disk_full() -> RpcError {
    let found = "the disk itself is full";
    RpcError::new(ErrorKind::Refused, "storage_full", found)
        .with_hint("free space on the file system of state_dir")
}

fn storage_full(space: &Space) -> RpcError {
    if space.disk_full {
        return disk_full();
    }
    let (used, ceiling) = (ByteCount(space.used), ByteCount(space.ceiling));
    let stops = match Rung::of(space) {
        Rung::BulkRefused => "puts of class 6 and 7 stop at 80%, the others at 90%",
        Rung::PutsRefused | Rung::Full => "puts stop at 90%",
        Rung::Open => {
            "this put would pass 90%, or leave no room for an arrival as long as the longest \
             segment kept here"
        }
    };
    RpcError::new(
        ErrorKind::Refused,
        "storage_full",
        format!("{used} of {ceiling} hold what may not go; {stops}"),
    )
    .with_hint(
        "acks from peers, confirmed inbox items and purged deadletters free room; \
         [storage] max_bytes gives more",
    )
}

/// The daemon goes down and takes nothing more; nothing of this was stored.
pub(super) fn draining() -> RpcError {
    RpcError::new(
        ErrorKind::Refused,
        "draining",
        "the daemon is going down and takes nothing more",
    )
    .with_hint("nothing was stored; try again when it is back")
}

/// The daemon ended between taking a put and answering it.
pub(super) fn unknown() -> RpcError {
    RpcError::new(
        ErrorKind::Failed,
        "unknown",
        "outcome unknown: the daemon ended before the put was answered",
    )
    .with_hint("ask again with the same key")
}

/// The uid asks too fast.
pub(super) fn too_many() -> RpcError {
    RpcError::new(
        ErrorKind::Refused,
        "too_many_requests",
        "this user asks more than 20000 times a second",
    )
    .with_hint("put in batches, or ask less often")
}

/// The uid connects too fast.
pub(super) fn too_many_calls() -> RpcError {
    RpcError::new(
        ErrorKind::Refused,
        "too_many_connections",
        "this user connects more than 1000 times a second",
    )
    .with_hint("keep a connection, and ask more than one thing over it")
}

/// All places are taken.
pub(super) fn too_many_connections() -> RpcError {
    RpcError::new(
        ErrorKind::Refused,
        "too_many_connections",
        "as many clients are connected as [rpc] max_connections allows, in all or of one user (half of them)",
    )
    .with_hint("close idle connections, or raise it")
}

/// Only operators may.
pub(super) fn not_an_operator(uid: u32, verb: &str) -> RpcError {
    RpcError::new(
        ErrorKind::Permission,
        "permission_denied",
        format!("permission denied: uid {uid} may not {verb}"),
    )
    .with_hint("root, the daemon's own user and members of [rpc] operators may")
}

/// The core's refusal of an order, or of one of its targets.
pub(super) fn order(why: &OrderRefused) -> RpcError {
    let (kind, code) = match why {
        OrderRefused::UnknownPeer(_) => (ErrorKind::NotFound, "unknown_peer"),
        OrderRefused::UnknownLane(_) => (ErrorKind::NotFound, "unknown_lane"),
        OrderRefused::NotFound => (ErrorKind::NotFound, "no_such_delivery"),
        OrderRefused::WrongState(_) => (ErrorKind::Refused, "wrong_state"),
        OrderRefused::Cause(_) => (ErrorKind::Refused, "wrong_cause"),
        OrderRefused::Evicted => (ErrorKind::Refused, "evicted"),
        OrderRefused::Unreadable => (ErrorKind::Failed, "unreadable"),
        OrderRefused::StillConfigured(_) => (ErrorKind::Refused, "still_configured"),
        OrderRefused::Malformed(_) => (ErrorKind::Invalid, "malformed"),
        OrderRefused::Draining => return draining(),
    };
    let hint = match why {
        OrderRefused::Cause(Cause::Expired) => "give it new time with --ttl",
        OrderRefused::NotFound => "edgectl segment inspect shows to whom a segment goes",
        OrderRefused::Evicted => "only its record is left: purge it",
        OrderRefused::WrongState(_) => "edgectl relay why says where it stands",
        OrderRefused::Unreadable => "edgectl relay why says what the disk said; try again",
        OrderRefused::UnknownPeer(_)
        | OrderRefused::UnknownLane(_)
        | OrderRefused::Cause(_)
        | OrderRefused::StillConfigured(_)
        | OrderRefused::Malformed(_)
        | OrderRefused::Draining => "",
    };
    RpcError::new(kind, code, why.to_string()).with_hint(hint)
}

/// The request breaks a rule of its own.
pub(super) fn invalid(code: &str, found: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Invalid, code, found)
}

/// Our own disk or ledger is in trouble.
pub(super) fn failed(code: &str, found: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Failed, code, found).with_hint("the daemon's log says more")
}

/// What the file system said while a put was staged.
pub(crate) fn staging(error: &std::io::Error) -> RpcError {
    use std::io::ErrorKind as Io;
    if error.kind() == Io::QuotaExceeded {
        let why = format!("the segment cannot be kept: {error}");
        return RpcError::new(ErrorKind::Refused, "storage_full", why)
            .with_hint("wait for acks, or raise storage.max_bytes");
    }
    if error.kind() == Io::StorageFull {
        return disk_full();
    }
    failed("io", format!("the segment cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use relay_core::id::SegmentId;

    #[test]
    fn a_refusal_names_what_was_found_and_what_to_try() {
        let first = SegmentId::v7(1, 2);
        let all = [
            Refusal::UnknownPeer("beta".parse().expect("a node")),
            Refusal::UnknownLane("slow".parse().expect("a lane")),
            Refusal::ReservedLane("control".parse().expect("a lane")),
            Refusal::NoPeer,
            Refusal::TooLarge { length: 9, max: 8 },
            Refusal::StorageFull(Space::default()),
            Refusal::KeyConflict { first },
            Refusal::TooManyNames,
            Refusal::Unreadable,
            Refusal::Draining,
        ];

        for why in all {
            let error = refused(why);

            assert!(!error.hint.is_empty(), "{error}");
            assert!(!error.message.ends_with('.'), "{error}");
        }
        let conflict = refused(Refusal::KeyConflict { first });
        assert!(conflict.message.contains(&first.to_string()), "{conflict}");
    }
}
