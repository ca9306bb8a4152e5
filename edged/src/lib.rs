//! The daemon: everything that touches the world, and decides nothing.
//!
//! A segment's way through it: [`socket`] takes a put and stages its bytes,
//! [`driver`] tells the core, [`journal`] makes it durable, [`transport`] sends
//! it, and on the other node the same parts in reverse. [`daemon`] raises and
//! lowers them all. What to do, and when, is `relay-core`'s.
//!
//! | module | is |
//! |---|---|
//! | [`config`], [`running`], [`reload`] | as written → as meant; as it holds, and how it changes |
//! | [`daemon`] | the parts, raised in order |
//! | [`driver`] | the loop around the scheduler |
//! | [`journal`], [`readers`] | the ledger's threads |
//! | [`payloads`], [`staging`] | bytes on their way out and in |
//! | [`transport`] | QUIC |
//! | [`socket`], [`desk`] | local clients |
//! | `spool`, `sink`, `folder` | files in from folders; arrivals out to folders and programs |
//! | `single` | a put of one segment |
//! | [`touch`], [`last_panic`] | what is in hand, and what earlier runs died of |
//! | [`init`], [`cli`], [`lock`], [`clock`], [`signals`], [`telemetry`] | the rest of a daemon |

pub mod chronicle;
pub mod cli;
pub mod clock;
pub mod command;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod desk;
pub mod driver;
pub mod event;
mod folder;
mod fsck;
pub mod init;
pub mod journal;
pub mod last_panic;
pub mod lock;
pub mod offline;
pub mod payloads;
pub mod readers;
pub mod reload;
pub mod running;
pub mod signals;
mod single;
mod sink;
pub mod socket;
mod spool;
pub mod staging;
pub mod telemetry;
pub mod touch;
pub mod transport;
mod ways;

pub use daemon::run;
