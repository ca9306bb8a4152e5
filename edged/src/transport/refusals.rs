//! What was refused at the door, by whom, and how to say so.
//!
//! The refusing side knows its gate, counts it and logs it. The refused side hears an
//! alert or a code, and says the gate or the set of gates it may stand for.

use std::collections::BTreeMap;

use certs::{Gate, Refusal, UnixTime, Validity};
use quinn::ConnectionError;
use relay_core::wire::Goodbye;
use tracing::warn;

/// Names kept with the last text about them: more than a fleet's peers, and a bound on
/// what strangers can fill.
const NAMES: usize = 1024;
/// Characters of a reason that a peer wrote.
const REASON: usize = 200;

/// Handshakes refused since the start of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// How many we refused at each gate.
    pub counts: BTreeMap<Gate, u64>,
    /// The last refusal, ours or theirs, by peer, or by address where no name is proven.
    pub last: BTreeMap<String, String>,
}

impl Refusals {
    /// Counts, keeps and logs a refusal of ours.
    pub(crate) fn refuse(&mut self, who: &str, gate: Gate, why: &str) {
        warn!(peer = who, %gate, why, "Handshake refused");
        *self.counts.entry(gate).or_default() += 1;
        self.note(who, format!("refused here: {gate}: {why}"));
    }

    /// Keeps what is known of a failed handshake.
    pub(crate) fn note(&mut self, who: &str, text: String) {
        if self.last.len() >= NAMES && !self.last.contains_key(who) {
            self.last.pop_first();
        }
        self.last.insert(who.to_owned(), text);
    }
}

/// The gate at which *we* refused a handshake that ended with `error`, if we did.
pub(crate) fn our_gate(refusal: &Refusal, error: &ConnectionError) -> Option<Gate> {
    match error {
        ConnectionError::TransportError(error) => refusal.gate().or_else(|| {
            let gates = Gate::from_quic_code(u64::from(error.code))?;
            gates.as_slice().first().copied()
        }),
        ConnectionError::VersionMismatch
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => None,
    }
}

/// Why a connection ended, in words; a gate where there was one. `ours` is the life of
/// our own certificate, which with `now` narrows what an alert may mean.
pub(crate) fn explain(error: &ConnectionError, ours: Validity, now: Option<UnixTime>) -> String {
    match error {
        ConnectionError::ConnectionClosed(close) => {
            match Gate::from_quic_code(u64::from(close.error_code)) {
                Some(gates) => {
                    let gates = now.map_or(gates, |now| gates.narrow(ours, now));
                    format!("refused by the peer: {gates}")
                }
                None if close.reason.is_empty() => {
                    format!("aborted by the peer: {}", close.error_code)
                }
                None => format!("aborted by the peer: {}", escaped(&close.reason)),
            }
        }
        ConnectionError::ApplicationClosed(close) => {
            let code = u64::from(close.error_code);
            let word = Goodbye::from_code(code).map_or("unknown code", Goodbye::as_str);
            format!("closed by the peer: {word}: {}", escaped(&close.reason))
        }
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// What a peer wrote, fit to be shown.
fn escaped(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    text.chars()
        .take(REASON)
        .flat_map(char::escape_debug)
        .collect()
}
