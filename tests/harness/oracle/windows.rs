//! Each window: in every stretch of time, no more bytes than burst, rate and
//! one chunk allow.
//!
//! A level that leaks at the rate and rises with each byte is the greatest
//! excess over all windows that end here, so one number watches them all.

use relay_core::units::Rate;

/// All windows of one rate.
#[derive(Debug, Default)]
pub(super) struct Window {
    rate: u64,
    /// Millionths of a byte above what the rate earned.
    level: u128,
    at: u64,
}

impl Window {
    pub(super) const fn new(rate: Rate, now: u64) -> Self {
        Self {
            rate: rate.0,
            level: 0,
            at: now,
        }
    }

    /// `bytes` were sent; answers by how many bytes the worst window is over
    /// its bound, or `Ok` with whether the rate was nearly reached.
    pub(super) fn send(&mut self, now: u64, bytes: u64) -> Result<bool, u64> {
        if self.rate == 0 {
            return Ok(false);
        }
        let earned = u128::from(self.rate) * u128::from(now - self.at);
        self.at = now;
        self.level = self.level.saturating_sub(earned) + u128::from(bytes) * 1_000_000;
        // A byte of rounding for each window.
        let bound = self.rate + chunk(self.rate) + 1;
        let level = (self.level / 1_000_000) as u64;
        if level > bound {
            Err(level - bound)
        } else {
            Ok(level * 10 > self.rate * 9)
        }
    }
}

/// A tenth of a second, between 1 KiB (or the rate, if less) and 64 KiB.
fn chunk(rate: u64) -> u64 {
    (rate / 10).clamp(rate.min(1 << 10), 64 << 10)
}
