//! The relay as a value: it hears something, asks for things to be done, and
//! says until when it can wait.
//!
//! Being built; see `docs/ARCHITECTURE.md`.

// words
pub mod change;
pub mod delivery;
pub mod event;
pub mod id;
pub mod limits;
pub mod pack;
pub mod segment;
pub mod time;
pub mod units;

// rules
pub mod wire;
