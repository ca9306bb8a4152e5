//! What the demo says in the end: two lines for people, or one JSON document.
//!
//! Names and order of the fields are a contract (surface 2).

use std::fmt;
use std::time::Duration;

use relay_core::units::ByteCount;
use serde::Serialize;

use super::reconcile::Findings;
use super::stage::Progress;

/// The document `demo/1`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    schema: &'static str,
    seeded: u64,
    acked: u64,
    deadletter: u64,
    waiting: u64,
    lost: u64,
    duplicates: u64,
    bytes: u64,
    digests_verified: u64,
    rescued: u64,
    elapsed_seconds: f64,
    acked_per_second: f64,
    mb_per_second: f64,
    peak_rss_bytes: PeakRss,
}

/// The most memory each node held, in bytes (`VmHWM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct PeakRss {
    /// The sender, in any of its lives.
    pub(super) alpha: u64,
    /// The receiver.
    pub(super) beta: u64,
}

/// What was relayed, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    /// Segments put and answered.
    pub(super) seeded: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Where alpha's ledger stands in the end.
    pub(super) progress: Progress,
    /// Attempts that alpha found open after the kill.
    pub(super) rescued: u64,
    /// From the first put to the last ack durable at alpha.
    pub(super) elapsed: Duration,
    /// What it took.
    pub(super) peak_rss: PeakRss,
}

impl Report {
    /// The report of `run`, whose reconciliation found `findings`.
    #[must_use]
    pub(super) fn new(run: &Run, findings: &Findings) -> Self {
        let seconds = run.elapsed.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a figure for people, three digits of it count"
        )]
        let per_second = |amount: u64| thousandths(amount as f64 / seconds.max(1e-6));
        Self {
            schema: "demo/1",
            seeded: run.seeded,
            acked: run.progress.acked,
            deadletter: run.progress.deadletter,
            waiting: run.progress.waiting,
            lost: findings.lost.len() as u64,
            duplicates: findings.duplicates.len() as u64,
            bytes: run.bytes,
            digests_verified: findings.verified,
            rescued: run.rescued,
            elapsed_seconds: thousandths(seconds),
            acked_per_second: per_second(run.progress.acked),
            mb_per_second: thousandths(per_second(run.bytes) / 1e6),
            peak_rss_bytes: run.peak_rss,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seeded {}  acked {}  deadletter {}  waiting {}  lost {}  duplicates {}",
            self.seeded, self.acked, self.deadletter, self.waiting, self.lost, self.duplicates
        )?;
        write!(
            f,
            "bytes {}  digests verified {}/{}  abandoned and rescued {}  elapsed {:.1} s",
            ByteCount(self.bytes),
            self.digests_verified,
            self.seeded,
            self.rescued,
            self.elapsed_seconds
        )
    }
}

fn thousandths(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_two_lines() {
        assert_eq!(
            report().to_string(),
            "seeded 412  acked 412  deadletter 0  waiting 0  lost 0  duplicates 0\n\
             bytes 18.4 MiB  digests verified 412/412  abandoned and rescued 7  elapsed 3.2 s"
        );
    }

    #[test]
    fn programs_read_the_fields_of_the_contract() {
        let document = serde_json::to_string(&report()).expect("plain data");

        assert_eq!(
            document,
            "{\"schema\":\"demo/1\",\"seeded\":412,\"acked\":412,\"deadletter\":0,\"waiting\":0,\
             \"lost\":0,\"duplicates\":0,\"bytes\":19293799,\"digests_verified\":412,\"rescued\":7,\
             \"elapsed_seconds\":3.2,\"acked_per_second\":128.75,\"mb_per_second\":6.029,\
             \"peak_rss_bytes\":{\"alpha\":1,\"beta\":2}}"
        );
    }

    fn report() -> Report {
        let run = Run {
            seeded: 412,
            bytes: 19_293_799,
            progress: Progress {
                acked: 412,
                deadletter: 0,
                waiting: 0,
            },
            rescued: 7,
            elapsed: Duration::from_millis(3200),
            peak_rss: PeakRss { alpha: 1, beta: 2 },
        };
        Report::new(
            &run,
            &Findings {
                verified: 412,
                ..Findings::default()
            },
        )
    }
}
