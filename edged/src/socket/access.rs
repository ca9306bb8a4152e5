//! From a uid to what it may do.
//!
//! Root, the daemon's own user and members of the operators' group may do all; members
//! of the socket's group may read, put, take and confirm. Groups are looked up by uid,
//! not taken from the caller's process alone, so that leaving a group counts from the
//! next connection on. A group this host does not have has no members.

use std::ffi::CString;

use edged_rpc::{AuditAsk, Request};
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tracing::warn;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Nothing.
    None,
    /// Read, put, take, confirm.
    Member,
    /// Everything.
    Operator,
}

impl Rights {
    /// Whether everything is allowed.
    pub(super) const fn operates(self) -> bool {
        matches!(self, Self::Operator)
    }

    /// Whether this may be asked.
    pub(super) const fn allow(self, request: &Request) -> bool {
        match self {
            Self::None => false,
            Self::Member => !is_order(request),
            Self::Operator => true,
        }
    }
}

/// Whether only operators may ask this: all that changes more than the caller's own
/// segments and arrivals.
const fn is_order(request: &Request) -> bool {
    match request {
        Request::RelayBandwidth(_)
        | Request::LaneBudget(_)
        | Request::RelayPause(_)
        | Request::RelayResume(_)
        | Request::RelayAct(_)
        | Request::PeerKick(_)
        | Request::PeerDrop(_)
        | Request::ConfigCheck(_)
        | Request::ConfigReload
        | Request::Audit(_)
        | Request::AuditPrune(_) => true,
        Request::Put(_)
        | Request::PutBatch(_)
        | Request::SegmentList(_)
        | Request::SegmentInspect(_)
        | Request::SegmentGet(_)
        | Request::InboxList(_)
        | Request::InboxGet(_)
        | Request::InboxTake(_)
        | Request::InboxConfirm(_)
        | Request::InboxWait(_)
        | Request::InboxRefuse(_)
        | Request::RelayStatus(_)
        | Request::RelayList(_)
        | Request::RelayWhy(_)
        | Request::RelayWhyAll
        | Request::QuarantineList(_)
        | Request::RelayConfig
        | Request::DeadletterInspect(_)
        | Request::PeerList(_)
        | Request::PeerInspect(_)
        | Request::LaneList(_)
        | Request::ConfigShow(_)
        | Request::Version
        | Request::Counters => false,
    }
}

/// What the audit calls a request, as people type it.
pub(super) const fn verb(request: &Request) -> &'static str {
    match request {
        Request::Put(_) | Request::PutBatch(_) => "segment put",
        Request::SegmentList(_) => "segment list",
        Request::SegmentInspect(_) => "segment inspect",
        Request::SegmentGet(_) => "segment get",
        Request::InboxList(_) => "inbox list",
        Request::InboxGet(_) => "inbox get",
        Request::InboxTake(_) => "inbox take",
        Request::InboxConfirm(_) => "inbox confirm",
        Request::InboxWait(_) | Request::InboxRefuse(_) => "inbox follow",
        Request::RelayStatus(_) => "relay status",
        Request::RelayList(_) => "relay list",
        Request::RelayWhy(_) | Request::RelayWhyAll => "relay why",
        Request::QuarantineList(_) => "relay quarantine list",
        Request::RelayConfig => "relay config get",
        Request::RelayBandwidth(_) => "relay config set-bandwidth",
        Request::RelayPause(_) => "relay pause",
        Request::RelayResume(_) => "relay resume",
        Request::RelayAct(act) => match act.verb {
            edged_rpc::Verb::Hold => "relay hold",
            edged_rpc::Verb::Release => "relay release",
            edged_rpc::Verb::Cancel => "segment cancel",
            edged_rpc::Verb::Force => "relay deadletter force",
            edged_rpc::Verb::Retry { .. } => "relay deadletter retry",
            edged_rpc::Verb::Purge => "relay deadletter purge",
        },
        Request::DeadletterInspect(_) => "relay deadletter inspect",
        Request::PeerList(_) => "peer list",
        Request::PeerInspect(_) => "peer inspect",
        Request::PeerKick(_) => "peer kick",
        Request::PeerDrop(_) => "peer drop",
        Request::LaneList(_) => "lane list",
        Request::LaneBudget(_) => "lane set-budget",
        Request::ConfigShow(_) => "config show",
        Request::ConfigCheck(_) => "config check",
        Request::ConfigReload => "config reload",
        Request::Audit(AuditAsk::Query(_)) => "audit query",
        Request::Audit(AuditAsk::Export(_)) => "audit export",
        Request::Audit(AuditAsk::Summary(_)) => "audit summary",
        Request::Audit(AuditAsk::Verify) => "audit verify",
        Request::AuditPrune(_) => "audit prune",
        Request::Version => "version",
        Request::Counters => "counters",
    }
}

/// Who may do what on this host.
#[derive(Clone, Debug)]
pub(super) struct Access {
    group: String,
    operators: String,
    own: Uid,
}

impl Access {
    /// Rules for these two groups, either of which may be empty or missing.
    pub(super) fn new(group: &str, operators: &str) -> Self {
        Self {
            group: group.to_owned(),
            operators: operators.to_owned(),
            own: Uid::effective(),
        }
    }

    /// What `uid` may do, whose process has the primary group `gid`. The directory of
    /// users may be slow: it is asked off the async threads.
    pub(super) async fn rights(&self, uid: u32, gid: u32) -> Rights {
        let uid = Uid::from_raw(uid);
        if uid.is_root() || uid == self.own {
            return Rights::Operator;
        }
        let rules = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let groups = groups_of(uid, Gid::from_raw(gid));
            judge(&groups, named(&rules.group), named(&rules.operators))
        });
        // Only a runtime that shuts down cancels it.
        asked.await.unwrap_or(Rights::None)
    }
}

fn judge(groups: &[Gid], group: Option<Gid>, operators: Option<Gid>) -> Rights {
    let in_group = |wanted: Option<Gid>| wanted.is_some_and(|gid| groups.contains(&gid));
    if in_group(operators) {
        Rights::Operator
    } else if in_group(group) {
        Rights::Member
    } else {
        Rights::None
    }
}

fn named(group: &str) -> Option<Gid> {
    if group.is_empty() {
        return None;
    }
    match Group::from_name(group) {
        Ok(found) => found.map(|group| group.gid),
        Err(error) => {
            warn!(group, %error, "The group cannot be looked up");
            None
        }
    }
}

/// The groups of a user; a uid without a user has the one its process runs with.
fn groups_of(uid: Uid, gid: Gid) -> Vec<Gid> {
    let known = User::from_uid(uid).and_then(|user| {
        let Some(user) = user else {
            return Ok(vec![gid]);
        };
        let name = CString::new(user.name).map_err(|_| nix::errno::Errno::EINVAL)?;
        getgrouplist(&name, user.gid)
    });
    known.unwrap_or_else(|error| {
        warn!(%uid, %error, "The groups of a caller cannot be looked up");
        vec![gid]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EDGED: Gid = Gid::from_raw(70);
    const ADMIN: Gid = Gid::from_raw(71);

    #[test]
    fn rights_follow_the_groups_of_the_caller() {
        let rights = |groups: &[Gid]| judge(groups, Some(EDGED), Some(ADMIN));

        assert_eq!(rights(&[Gid::from_raw(5), EDGED]), Rights::Member);
        assert_eq!(rights(&[EDGED, ADMIN]), Rights::Operator);
        assert_eq!(rights(&[Gid::from_raw(5)]), Rights::None);
        assert_eq!(rights(&[]), Rights::None);
    }

    #[test]
    fn a_group_that_is_not_there_has_no_members() {
        assert_eq!(judge(&[EDGED], None, None), Rights::None);
        assert_eq!(named(""), None);
        assert_eq!(named("no-such-group-of-edged"), None);
    }

    #[tokio::test]
    async fn root_and_the_daemons_own_user_may_do_all() {
        let access = Access::new("", "");

        assert_eq!(access.rights(0, 0).await, Rights::Operator);
        assert_eq!(
            access.rights(Uid::effective().as_raw(), 9).await,
            Rights::Operator
        );
        // 4294967294 is nobody's uid on any host we know.
        assert_eq!(access.rights(u32::MAX - 1, 9).await, Rights::None);
    }
}
