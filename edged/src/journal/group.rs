//! What others wait for: where a group's bytes went, whether anything arrived, and what
//! became of what clients asked the ledger alone.

use relay_core::change::Change;
use relay_core::id::{NodeNo, PackNo, StagedId, Ticket};
use relay_core::ledger::LedgerError;
use relay_core::time::Unix;
use tokio::sync::oneshot;

pub(super) type Answer<T> = oneshot::Sender<Result<T, String>>;

/// What becomes of an inbox segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is processed: its bytes may go.
    Confirm,
    /// Nobody here can use it: it stays, and is not taken again.
    Refuse,
    /// Whoever holds it does so until then.
    Lease(Unix),
}

/// Whether a change may have brought something into the inbox.
pub(super) fn is_arrival(change: &Change) -> bool {
    matches!(change, Change::Owed(row) if row.due.peer == NodeNo::LOCAL)
}

/// Where the staged bytes of a group went.
pub(super) fn placed(
    items: &[(Ticket, Vec<Change>)],
    refused: &[Ticket],
) -> Vec<(StagedId, PackNo)> {
    let stored = items.iter().filter(|(ticket, _)| !refused.contains(ticket));
    let packs = stored
        .flat_map(|(_, changes)| changes)
        .filter_map(|change| match change {
            Change::Pack { no, staged, .. } => Some((*staged, *no)),
            Change::Node(..)
            | Change::Lane(..)
            | Change::Owed(_)
            | Change::Gone(_)
            | Change::Attempt(_)
            | Change::Book { .. }
            | Change::Heard(..)
            | Change::Receipt(_)
            | Change::Settled(..)
            | Change::Key(_)
            | Change::Partial(_)
            | Change::PartialGone(_)
            | Change::Set(..)
            | Change::Metered(_)
            | Change::Audit(_)
            | Change::PruneAudit(_)
            | Change::Spooled(_)
            | Change::Unspooled(_) => None,
        });
    packs.collect()
}

/// Answers the client, and passes on what must end the daemon; without a value the disk is
/// full.
pub(super) fn answer_with<T>(
    answer: Answer<T>,
    result: Result<Option<T>, LedgerError>,
) -> Result<(), LedgerError> {
    match result {
        Ok(value) => {
            let full = "the disk itself is full; try again once it has room";
            // A client that hung up wants no answer.
            let _ = answer.send(value.ok_or_else(|| full.to_owned()));
            Ok(())
        }
        Err(error) => {
            let _ = answer.send(Err(error.to_string()));
            Err(error)
        }
    }
}
