//! What stands between the tests and what they test.
//!
//! The simulator: [`seeds`] plays many numbers, [`scenario`] draws what each
//! number means, [`world`] runs it on a virtual clock, [`node`] is one scheduler
//! in a model of its shell, [`wire`] a model of the network, [`disk`] a model of
//! the ledger, and [`oracle`] judges. Real nodes: [`daemon`] runs processes and reads
//! their disks, [`proxy`] is the network between them, [`files`] what is put. [`power`] is
//! what a power cut leaves of files, [`small_disk`] a disk that fills up, [`workload`] who works on a ledger and holds it to
//! its word.
//! `docs/TESTING.md` tells how the suite is organised and what each part has been
//! seen to catch.

pub mod daemon;
pub mod disk;
pub mod earlier;
pub mod files;
pub mod kills;
pub mod node;
pub mod oracle;
pub mod power;
pub mod proxy;
pub mod scenario;
pub mod seeds;
pub mod small_disk;
pub mod wire;
pub mod workload;
pub mod world;
