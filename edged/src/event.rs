//! What reaches the driver: an input for the core, and the bytes it names.

use relay_core::event::Input;
use relay_core::id::StagedId;
use tokio::sync::OwnedSemaphorePermit;

use crate::staging::Staged;

/// One thing that happened.
#[derive(Debug)]
pub struct Event {
    /// For the core.
    pub input: Input,
    /// The bytes it names, if it names any.
    pub staged: Option<(StagedId, Staged)>,
    /// Room held for those bytes until they are stored or dropped.
    pub room: Option<OwnedSemaphorePermit>,
}

impl From<Input> for Event {
    fn from(input: Input) -> Self {
        Self { input, staged: None, room: None }
    }
}
