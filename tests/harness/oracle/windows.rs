//! Each window: in every stretch of time, no more bytes than burst, rate and
//! one chunk allow, whatever the rate was changed to meanwhile.
//!
//! A stretch may pass the burst of the rate it began under, what each rate earned
//! while it held, and one chunk of the largest of them. One number watches all
//! stretches that end here: the greatest excess over any of them. It falls as the
//! rate earns, rises with each byte, and never falls below a whole burst unused,
//! which is what a stretch that begins here has.

use relay_core::units::Rate;

/// All windows of one rate, which may change.
#[derive(Debug, Default)]
pub(super) struct Window {
    rate: u64,
    /// Millionths of a byte beyond burst and earnings, in the worst stretch.
    excess: i128,
    at: u64,
    /// The largest chunk of any rate so far.
    chunk: u64,
}

impl Window {
    pub(super) fn new(rate: Rate, now: u64) -> Self {
        Self {
            rate: rate.0,
            excess: -i128::from(rate.0) * 1_000_000,
            at: now,
            chunk: chunk(rate.0),
        }
    }

    /// From here on this rate holds.
    pub(super) fn set(&mut self, rate: Rate, now: u64) {
        if self.rate == 0 || rate.is_unlimited() {
            // Nothing that ends in a time without a rate is too much.
            *self = Self::new(rate, now);
            return;
        }
        self.earn(now);
        self.rate = rate.0;
        self.chunk = self.chunk.max(chunk(rate.0));
        self.excess = self.excess.max(self.unused());
    }

    /// `bytes` were sent; answers by how many bytes the worst window is over
    /// its bound, or `Ok` with whether the rate was nearly reached.
    pub(super) fn send(&mut self, now: u64, bytes: u64) -> Result<bool, u64> {
        if self.rate == 0 {
            return Ok(false);
        }
        self.earn(now);
        self.excess += i128::from(bytes) * 1_000_000;
        // A byte of rounding for each window.
        let over = self.excess / 1_000_000 - i128::from(self.chunk) - 1;
        if over > 0 {
            Err(u64::try_from(over).unwrap_or(u64::MAX))
        } else {
            Ok(self.excess * 10 > self.unused())
        }
    }

    /// `amount` was taken, whatever that makes of it.
    pub(super) fn add(&mut self, now: u64, amount: u64) {
        if self.rate > 0 {
            self.earn(now);
            self.excess += i128::from(amount) * 1_000_000;
        }
    }

    /// `amount` of what was taken did not come.
    pub(super) fn give_back(&mut self, now: u64, amount: u64) {
        if self.rate > 0 {
            self.earn(now);
            self.excess -= i128::from(amount) * 1_000_000;
            self.excess = self.excess.max(self.unused());
        }
    }

    /// When no stretch has used up burst and earnings: now, or later.
    pub(super) fn opens(&mut self, now: u64) -> u64 {
        if self.rate == 0 {
            return now;
        }
        self.earn(now);
        if self.excess < 0 {
            return now;
        }
        let rate = i128::from(self.rate);
        let wait = (self.excess + 1 + rate - 1) / rate;
        now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    fn earn(&mut self, now: u64) {
        let now = now.max(self.at);
        self.excess -= i128::from(self.rate) * i128::from(now - self.at);
        self.excess = self.excess.max(self.unused());
        self.at = now;
    }

    fn unused(&self) -> i128 {
        -i128::from(self.rate) * 1_000_000
    }
}

/// A tenth of a second, between 1 KiB (or the rate, if less) and 64 KiB.
fn chunk(rate: u64) -> u64 {
    (rate / 10).clamp(rate.min(1 << 10), 64 << 10)
}
