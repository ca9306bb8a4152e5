//! What the audit keeps of one event: plain words, before they are chained.
//!
//! The core says what happened; the ledger gives each record its number and its
//! place in the hash chain, in the transaction of the change it records (surface
//! 7, INV-AUDIT-01).

mod chain;
mod entry;

pub use chain::{Chain, Fault, LAST_HASH, UPTO, Verdict};
pub use entry::AuditEntry;

use crate::event::Caller;
use crate::segment::Digest;
use crate::time::Unix;

/// What happened, by the names of surface 7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditEvent {
    /// A rate or quota was set, or reset.
    BandwidthConfigured,
    /// A pause began.
    Paused,
    /// A pause ended.
    Resumed,
    /// A deadletter entry was looked at.
    DeadletterInspected,
    /// Deadlettered deliveries went back to work.
    DeadletterRetried,
    /// Deadlettered deliveries were removed.
    DeadletterPurged,
    /// Deliveries were parked by hand.
    DeadletterForced,
    /// Deliveries are held.
    Held,
    /// Held deliveries may go again.
    Released,
    /// Deliveries were called back.
    SegmentCancelled,
    /// A start found attempts open.
    RecoveryCompleted,
    /// The storage ladder moved a step.
    StorageLadder,
    /// A lane's budget was set.
    LaneBudgetConfigured,
    /// The config was read again.
    ConfigReloaded,
    /// A caller was refused.
    AccessDenied,
    /// A link was ended by hand.
    PeerKicked,
    /// All that was owed to a removed peer was parked.
    PeerDropped,
    /// Old records were removed.
    AuditPruned,
    /// The daemon started.
    SystemStarted,
    /// The daemon stopped.
    SystemStopped,
    /// An earlier run ended by a panic.
    SystemPanicked,
    /// A delivery was parked as poison.
    PoisonIsolated,
    /// The ledger or a payload could not be read.
    StorageUnreadable,
    /// Damaged rows were taken out of the way of the rest.
    StorageQuarantined,
    /// A damaged database was set aside, and rebuilt from what could be read.
    StorageSalvaged,
    /// A database of an earlier release was taken to our schema.
    StorageMigrated,
}

impl AuditEvent {
    /// Every event.
    pub const ALL: [Self; 26] = [
        Self::BandwidthConfigured,
        Self::Paused,
        Self::Resumed,
        Self::DeadletterInspected,
        Self::DeadletterRetried,
        Self::DeadletterPurged,
        Self::DeadletterForced,
        Self::Held,
        Self::Released,
        Self::SegmentCancelled,
        Self::RecoveryCompleted,
        Self::StorageLadder,
        Self::LaneBudgetConfigured,
        Self::ConfigReloaded,
        Self::AccessDenied,
        Self::PeerKicked,
        Self::PeerDropped,
        Self::AuditPruned,
        Self::SystemStarted,
        Self::SystemStopped,
        Self::SystemPanicked,
        Self::PoisonIsolated,
        Self::StorageUnreadable,
        Self::StorageQuarantined,
        Self::StorageSalvaged,
        Self::StorageMigrated,
    ];

    /// The name in records, queries and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BandwidthConfigured => "relay.bandwidth.configured",
            Self::Paused => "relay.paused",
            Self::Resumed => "relay.resumed",
            Self::DeadletterInspected => "relay.deadletter.inspected",
            Self::DeadletterRetried => "relay.deadletter.retried",
            Self::DeadletterPurged => "relay.deadletter.purged",
            Self::DeadletterForced => "relay.deadletter.forced",
            Self::Held => "relay.held",
            Self::Released => "relay.released",
            Self::SegmentCancelled => "relay.segment.cancelled",
            Self::RecoveryCompleted => "relay.recovery.completed",
            Self::StorageLadder => "relay.storage.ladder",
            Self::LaneBudgetConfigured => "lane.budget.configured",
            Self::ConfigReloaded => "config.reloaded",
            Self::AccessDenied => "auth.access.denied",
            Self::PeerKicked => "peer.kicked",
            Self::PeerDropped => "peer.dropped",
            Self::AuditPruned => "audit.pruned",
            Self::SystemStarted => "system.started",
            Self::SystemStopped => "system.stopped",
            Self::SystemPanicked => "system.panicked",
            Self::PoisonIsolated => "relay.poison.isolated",
            Self::StorageUnreadable => "relay.storage.unreadable",
            Self::StorageQuarantined => "relay.storage.quarantined",
            Self::StorageSalvaged => "relay.storage.salvaged",
            Self::StorageMigrated => "relay.storage.migrated",
        }
    }

    /// `rollout`, `ha`, `relay`, `cert`, `auth`, `system` or `rollback`.
    #[must_use]
    pub const fn category(self) -> &'static str {
        match self {
            Self::BandwidthConfigured
            | Self::Paused
            | Self::Resumed
            | Self::DeadletterInspected
            | Self::DeadletterRetried
            | Self::DeadletterPurged
            | Self::DeadletterForced
            | Self::Held
            | Self::Released
            | Self::SegmentCancelled
            | Self::RecoveryCompleted
            | Self::StorageLadder
            | Self::LaneBudgetConfigured
            | Self::PeerKicked
            | Self::PeerDropped
            | Self::PoisonIsolated
            | Self::StorageUnreadable
            | Self::StorageQuarantined
            | Self::StorageSalvaged
            | Self::StorageMigrated => "relay",
            Self::AccessDenied => "auth",
            Self::ConfigReloaded
            | Self::AuditPruned
            | Self::SystemStarted
            | Self::SystemStopped
            | Self::SystemPanicked => "system",
        }
    }
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditOutcome {
    /// Done.
    Success,
    /// Tried, and it did not work.
    Failure,
    /// Not allowed.
    Denied,
    /// Begun; a later record says how it ended.
    Pending,
}

impl AuditOutcome {
    /// The name in records, queries and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
            Self::Pending => "pending",
        }
    }
}

/// Who moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AuditSource {
    /// An upstream node.
    Orchestrator,
    /// The daemon itself.
    Edge,
    /// A local caller.
    Cli,
}

impl AuditSource {
    /// The name in records, queries and exports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Edge => "edge",
            Self::Cli => "cli",
        }
    }
}

/// One record, not yet numbered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// When, as the wall clock said.
    pub at: Unix,
    /// What.
    pub event: AuditEvent,
    /// How it went.
    pub outcome: AuditOutcome,
    /// Who moved.
    pub source: AuditSource,
    /// The operator's label.
    pub actor: Option<String>,
    /// The uid the kernel proved.
    pub uid: Option<u32>,
    /// What kind of thing it was done to: `relay`, `peer`, `lane`, `segment`, …
    pub resource_type: &'static str,
    /// Which one.
    pub resource: String,
    /// The operator's own words.
    pub reason: Option<String>,
    /// Anything more, by name, ascending.
    pub fields: Vec<(&'static str, String)>,
}

impl AuditRecord {
    /// Something `caller` did to `resource`, with success.
    #[must_use]
    pub fn by(
        caller: &Caller,
        at: Unix,
        event: AuditEvent,
        resource_type: &'static str,
        resource: String,
    ) -> Self {
        Self {
            at,
            event,
            outcome: AuditOutcome::Success,
            source: AuditSource::Cli,
            actor: caller.operator.clone(),
            uid: Some(caller.uid),
            resource_type,
            resource,
            reason: caller.reason.clone(),
            fields: Vec::new(),
        }
    }

    /// The oldest entries, up to `upto`, were removed: what a walk over the chain
    /// looks for before its first entry.
    #[must_use]
    pub fn pruned(caller: &Caller, at: Unix, upto: u64, count: u64, last_hash: Digest) -> Self {
        Self::by(
            caller,
            at,
            AuditEvent::AuditPruned,
            "audit",
            "chain".to_owned(),
        )
        .with("count", count)
        .with(LAST_HASH, last_hash)
        .with(UPTO, upto)
    }

    /// Something the daemon did itself.
    #[must_use]
    pub const fn own(
        at: Unix,
        event: AuditEvent,
        resource_type: &'static str,
        resource: String,
    ) -> Self {
        Self {
            at,
            event,
            outcome: AuditOutcome::Success,
            source: AuditSource::Edge,
            actor: None,
            uid: None,
            resource_type,
            resource,
            reason: None,
            fields: Vec::new(),
        }
    }

    /// With one field more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.fields.push((name, value.to_string()));
        self.fields.sort();
        self
    }
}
