//! The relay as a value: it hears something, asks for things to be done, and
//! says until when it can wait.
//!
//! Everything that decides lives here and runs without socket, disk or clock;
//! whoever holds a [`scheduler::Scheduler`] gives it the time, performs what it
//! asks for, and tells it what happened:
//!
//! | call | meaning |
//! |---|---|
//! | [`handle(now, input)`](scheduler::Scheduler::handle) | something happened; state moves; effects queue up |
//! | [`poll()`](scheduler::Scheduler::poll) | the next thing to do; drain it to the end before the next `handle` |
//! | [`deadline()`](scheduler::Scheduler::deadline) | if nothing happens, wake me then, and this is the reason |
//!
//! The map: *words* are plain data and import nothing but each other; *rules* are
//! pure and import words; the *machine* is [`scheduler`]; the *pillar* is
//! `ledger` (behind its feature), which imports words and is imported by nothing
//! here. Bytes stay in the shell; the core moves only their names.

// words
pub mod aim;
pub mod audit;
pub mod change;
pub mod delivery;
pub mod event;
pub mod id;
pub mod limits;
pub mod meter;
pub mod pack;
pub mod partial;
pub mod segment;
pub mod setting;
pub mod spool;
pub mod time;
pub mod units;
// rules
pub mod age;
pub mod backoff;
pub mod bandwidth;
pub mod breaker;
pub mod clones;
pub mod denials;
pub mod digest;
pub mod link;
pub mod names;
pub mod ordered;
pub mod peer;
pub mod poison;
pub mod queue;
pub mod quota;
pub mod repeats;
pub mod reserve;
pub mod route;
pub mod sink;
pub mod soonest;
pub mod success;
pub mod turn;
pub mod why;
pub mod window;
pub mod wire;
// the machine
pub mod scheduler;
// the pillar
#[cfg(feature = "ledger")]
pub mod ledger;
