//! Real nodes: processes, folders, links between them, and what their disks say.
//!
//! A [`Site`] is a folder in which `edged init` sets nodes up ([`Home`]); a
//! [`Node`] is one of them, running or not; a [`Pair`] is two that know each
//! other, each behind a [`Proxy`] of its own, so that the network between them can
//! be made bad and either may come back on another port. Everything waits on
//! events or on a condition, with a bound: nothing here counts on time.
//!
//! | file | what it is |
//! |---|---|
//! | `home` | folders, config, identity |
//! | `process` | one running daemon: start, signals, its words, its end |
//! | `witness` | what a stopped node's disk holds, bytes hashed anew |
//! | `rows` | raw rows of a ledger, read past everything the ledger does at start |
//! | `cuts` | cutting off a large segment, and seeing where it goes on |
//! | `lan` | two network namespaces, and a machine that moves |
//! | `load` | producers that outlive the daemon they put to |
//! | `intruder` | a peer with a certificate that says what it likes |
//! | `refuser` | a peer of the test's own making that refuses what it is told to |
//! | `command` | `edgectl`, as an operator types it |
//! | `trace`, `order` | a recording of system calls, and what must come before what |

mod command;
mod cuts;
mod home;
mod intruder;
mod lan;
mod load;
mod order;
mod process;
mod refuser;
mod rows;
mod trace;
mod witness;

use std::time::{Duration, Instant};

use edged_rpc::{BookView, Client, PutOptions, RelayStatus, StatusView};

pub use command::{Ctl, Said};
pub use cuts::{Cut, resumed_at};
pub use home::{Home, Site};
pub use intruder::{Intruder, bytes, hello};
pub use lan::Lan;
pub use load::{Fate, Journal, Producers, Shape};
pub use order::{Verdict, judge};
pub use process::Process;
pub use refuser::{Refuser, Rule};
pub use rows::{OpenAttempt, Rows};
pub use trace::{Call, Recording};
pub use witness::{Item, Witness};

use crate::proxy::Proxy;

/// Longer than anything here takes, shorter than anyone waits.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` gives something.
///
/// # Panics
/// When `patience` is over; `what` says what was waited for.
pub fn wait_for<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(
            begun.elapsed() < patience,
            "waited {patience:?} in vain for {what}"
        );
        // A pause between two looks; nothing is taken for done because of it.
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// One node: its home, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    /// Its folders.
    pub home: Home,
    program: &'static str,
    process: Option<Process>,
}

impl Node {
    /// A node that is not running; `program` is the binary of `edged`.
    #[must_use]
    pub const fn new(program: &'static str, home: Home) -> Self {
        Self {
            home,
            program,
            process: None,
        }
    }

    /// Starts it and waits until it says so.
    ///
    /// # Panics
    /// If it runs already or does not start.
    pub fn start(&mut self) -> &mut Self {
        self.start_under(&[])
    }

    /// The same, under another program such as a tracer.
    ///
    /// # Panics
    /// As [`Node::start`].
    pub fn start_under(&mut self, tracer: &[&str]) -> &mut Self {
        assert!(self.process.is_none(), "{} runs already", self.home.name());
        self.process = Some(Process::start(self.program, &self.home, tracer));
        self
    }

    /// Its process.
    ///
    /// # Panics
    /// If it does not run.
    #[must_use]
    pub const fn process(&self) -> &Process {
        self.process.as_ref().expect("the node runs")
    }

    /// Takes the process out, to end it in some way.
    ///
    /// # Panics
    /// If it does not run.
    pub const fn end(&mut self) -> Process {
        self.process.take().expect("the node runs")
    }

    /// A conversation with it.
    ///
    /// # Panics
    /// If it will not talk.
    #[must_use]
    pub fn client(&self) -> Client {
        match Client::connect(self.home.socket(), PATIENCE) {
            Ok(client) => client,
            Err(error) => panic!("{error}; {}", self.process().words()),
        }
    }

    /// Where it stands.
    ///
    /// # Panics
    /// If it does not say.
    #[must_use]
    pub fn status(&self) -> StatusView {
        self.client()
            .status(&RelayStatus::default())
            .expect("it says where it stands")
            .status
    }

    /// Its books as they are durable, added up over peers and lanes.
    ///
    /// # Panics
    /// If they do not hold, or it does not say.
    #[must_use]
    pub fn books(&self) -> BookView {
        let report = self.client().status(&RelayStatus { books: true });
        let books = report
            .expect("it says where it stands")
            .books
            .expect("they were asked for");
        let mut sum = BookView {
            holds: true,
            ..BookView::default()
        };
        for book in books {
            assert!(book.holds, "the books do not hold: {book:?}");
            sum.put += book.put;
            sum.acked += book.acked;
            sum.deadletter += book.deadletter;
            sum.waiting += book.waiting;
            sum.not_needed += book.not_needed;
            sum.purged += book.purged;
            sum.quarantined += book.quarantined;
        }
        sum
    }

    /// Waits until nothing of its deliveries waits any longer.
    ///
    /// # Panics
    /// When `patience` is over.
    #[must_use]
    pub fn wait_at_rest(&self, patience: Duration) -> BookView {
        let begun = Instant::now();
        loop {
            let books = self.books();
            if books.waiting == 0 {
                return books;
            }
            let why = || format!("{books:?}; {:?}; {}", self.status(), self.process().words());
            assert!(
                begun.elapsed() < patience,
                "not at rest after {patience:?}: {}",
                why()
            );
            // A pause between two looks; nothing is taken for done because of it.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Two nodes that know each other, each behind a proxy of its own.
///
/// Fields drop in order: the processes end before the folder goes.
#[derive(Debug)]
pub struct Pair {
    /// The one that puts.
    pub alpha: Node,
    /// The one that receives.
    pub beta: Node,
    /// Before beta: what alpha dials.
    pub to_beta: Proxy,
    /// Before alpha: what beta dials.
    pub to_alpha: Proxy,
    /// Where both live.
    pub site: Site,
}

impl Pair {
    /// Both set up, neither running; `seed` is the network's.
    #[must_use]
    pub fn new(program: &'static str, seed: u64) -> Self {
        let mut site = Site::new();
        let (to_beta, to_alpha) = (Proxy::new(seed), Proxy::new(seed ^ 1));
        let alpha = site.home("alpha", &[("beta", to_beta.address())]);
        let beta = site.home("beta", &[("alpha", to_alpha.address())]);
        let (alpha, beta) = (Node::new(program, alpha), Node::new(program, beta));
        Self {
            alpha,
            beta,
            to_beta,
            to_alpha,
            site,
        }
    }

    /// Adds TOML to the config of both.
    pub fn configure(&self, toml: &str) {
        self.alpha.home.configure("10-test", toml);
        self.beta.home.configure("10-test", toml);
    }

    /// Starts alpha, and tells the proxy where it is.
    pub fn start_alpha(&mut self) {
        self.alpha.start();
        self.to_alpha.aim(self.alpha.process().quic());
    }

    /// Starts beta, and tells the proxy where it is.
    pub fn start_beta(&mut self) {
        self.beta.start();
        self.to_beta.aim(self.beta.process().quic());
    }

    /// Makes the network between them so, both ways.
    pub fn weather(&self, weather: crate::proxy::Weather) {
        self.to_beta.set(weather);
        self.to_alpha.set(weather);
    }

    /// So much time passes for both, and each that runs has noticed.
    pub fn pass(&mut self, time: Duration) {
        let nodes = [&self.alpha, &self.beta];
        let running = nodes.map(|node| node.process.is_some());
        let clock = |node: &Node| node.status().queried_at.0;
        let before = [0, 1].map(|n| if running[n] { clock(nodes[n]) } else { 0 });
        self.site.pass(time);
        for (node, before) in [&self.alpha, &self.beta].into_iter().zip(before) {
            let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            wait_for("time to have passed", PATIENCE, || {
                (node.process.is_none() || clock(node) >= before + millis).then_some(())
            });
        }
    }

    /// Waits until alpha's link to beta is up.
    pub fn wait_for_link(&self) {
        wait_for("the link to beta", PATIENCE, || {
            let peers = self.alpha.status().peers;
            let up = |peer: &edged_rpc::PeerView| peer.state == edged_rpc::LinkState::Up;
            peers
                .iter()
                .any(|peer| peer.peer_id == "beta" && up(peer))
                .then_some(())
        });
    }
}

/// A put from alpha to beta, everything else as set.
#[must_use]
pub fn to_beta() -> PutOptions {
    PutOptions::to_peer("beta")
}
