//! Cutting off a large segment on its way, and seeing where it goes on.
//!
//! What the receiver has is looked at on its disk; where it goes on it says itself,
//! when it resumes.

use super::{Home, PATIENCE, Pair, Process, wait_for};
use crate::proxy::Weather;

/// What interrupts a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing passes until both have noticed.
    Link,
    /// The sender is killed.
    Sender,
    /// The receiver is killed.
    Receiver,
}

impl Cut {
    /// Bytes that may be sent twice because of it.
    #[must_use]
    pub const fn may_repeat(self) -> u64 {
        match self {
            // The receiver lives on, with all it has.
            Self::Link | Self::Sender => 64 << 10,
            Self::Receiver => 1 << 20,
        }
    }
}

impl Home {
    /// The partial files of this node and their lengths.
    ///
    /// # Panics
    /// If its payload folder cannot be read.
    #[must_use]
    pub fn partials(&self) -> Vec<(String, u64)> {
        let Ok(folder) = std::fs::read_dir(self.state().join("payload")) else {
            return Vec::new();
        };
        let files = folder.filter_map(|entry| {
            let entry = entry.expect("a folder can be read");
            let name = entry.file_name().into_string().ok()?;
            let length = entry.metadata().ok()?.len();
            name.ends_with(".part").then_some((name, length))
        });
        files.collect()
    }
}

/// Where this run of a node took up what was cut off, in order.
#[must_use]
pub fn resumed_at(process: &Process) -> Vec<u64> {
    let words = process.words();
    let lines = words.lines().filter(|line| line.contains("goes on"));
    let from = |line: &str| {
        let (_, rest) = line.split_once("from=")?;
        rest.split_whitespace().next()?.parse().ok()
    };
    lines.filter_map(from).collect()
}

impl Pair {
    /// A link without a word is given up after two seconds.
    pub fn notice_cuts_soon(&self) {
        let soon = "keep_alive = \"500ms\"\nidle_timeout = \"2s\"";
        self.alpha.home.configure_peers(soon);
        self.beta.home.configure_peers(soon);
    }

    /// Cuts the one segment under way off once beta has `place` bytes of it, and mends
    /// what was cut. Answers how much beta had and where it went on.
    ///
    /// # Panics
    /// If it does not get that far, or does not go on.
    pub fn cut_off(&mut self, cut: Cut, place: u64) -> (u64, u64) {
        wait_for("enough of the segment to be there", 2 * PATIENCE, || {
            (self.has() >= place).then_some(())
        });
        let before = match cut {
            Cut::Link | Cut::Sender => resumed_at(self.beta.process()).len(),
            Cut::Receiver => 0,
        };
        let had = match cut {
            Cut::Link => {
                self.weather(Weather {
                    cut: true,
                    ..Weather::default()
                });
                self.wait_until_beta_is_alone();
                let had = self.has();
                self.weather(Weather::default());
                had
            }
            Cut::Sender => {
                self.alpha.end().kill9();
                self.wait_until_beta_is_alone();
                let had = self.has();
                self.start_alpha();
                had
            }
            Cut::Receiver => {
                self.beta.end().kill9();
                let had = self.has();
                self.start_beta();
                had
            }
        };
        let from = wait_for("the segment to go on", 2 * PATIENCE, || {
            resumed_at(self.beta.process()).get(before).copied()
        });
        (had, from)
    }

    /// Bytes that beta has of the one segment on its way.
    fn has(&self) -> u64 {
        let partials = self.beta.home.partials();
        assert!(
            partials.len() <= 1,
            "one segment is on its way: {partials:?}"
        );
        partials.first().map_or(0, |(_, length)| *length)
    }

    /// Its link is down for beta: nothing is written to the file any more.
    fn wait_until_beta_is_alone(&self) {
        wait_for("beta's link to be down", PATIENCE, || {
            let peers = self.beta.status().peers;
            let up = |peer: &edged_rpc::PeerView| peer.state == edged_rpc::LinkState::Up;
            (!peers.iter().any(up)).then_some(())
        });
    }
}
