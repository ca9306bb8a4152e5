//! The two faults: the link is cut, the sender is killed.
//!
//! Both are paced so that they find deliveries in flight whatever the input:
//! what is put while a cut link is still believed up is in flight at once, and a
//! slow link keeps what it carries in flight for a round trip.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::stage::Stage;
use super::watch::Watch;

/// How long each datagram takes on the slow link, one way: a round trip is far
/// longer than it takes to see an open attempt and kill its owner.
const SLOW: Duration = Duration::from_millis(250);
/// A link comes and goes within this.
const LINK: Duration = Duration::from_secs(30);
/// A quarter of the input is put within this; it takes as long as the disk does.
const PUTS: Duration = Duration::from_secs(900);

/// What the faults met.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Met {
    /// Deliveries in flight when the link was cut.
    pub(super) at_cut: u64,
    /// Deliveries in flight when the sender was killed.
    pub(super) at_kill: u64,
    /// Of those, what the sender found in its ledger when it was back.
    pub(super) rescued: u64,
}

impl Met {
    /// The first fault that met nothing and so has shown nothing.
    #[must_use]
    pub(super) const fn nothing(&self) -> Option<&'static str> {
        if self.at_cut == 0 {
            Some("the link was cut with nothing in flight")
        } else if self.at_kill == 0 {
            Some("the sender was killed with nothing in flight")
        } else if self.rescued == 0 {
            Some("the sender was killed and found no open attempt in its ledger")
        } else {
            None
        }
    }
}

/// Carries half of `total` items, cuts the link, restores it, kills the sender and
/// starts it again. What is left is the caller's to carry.
///
/// # Errors
/// A node, the load or a wait fails.
pub(super) fn strike(stage: &mut Stage, total: usize, watch: &mut Watch<'_>) -> Result<Met> {
    let half = total / 2;
    // Half of the rest, so that something is left to put at the kill.
    let more = (half + (total - half) / 2).max(half + 1);
    watch.doing("acked");
    watch.until("alpha's link to beta", LINK, || {
        Ok(stage.is_up()?.then_some(()))
    })?;
    stage.carry(half, watch)?;

    let at_cut = cut(stage, more, watch)?;
    watch.say(&format!("Link cut with {at_cut} in flight"));
    let since = Instant::now();
    watch.until("alpha to notice the cut", LINK, || {
        Ok((!stage.is_up()?).then_some(()))
    })?;
    stage.link()?.restore(SLOW);
    watch.say(&format!(
        "Link restored after {:.1} s",
        since.elapsed().as_secs_f64()
    ));

    let at_kill = kill(stage, more, total, watch)?;
    stage.link()?.restore(Duration::ZERO);
    let rescued = stage.start_alpha(watch)?;
    watch.say(&format!(
        "Sender killed with {at_kill} in flight, started again, {rescued} rescued"
    ));
    Ok(Met {
        at_cut,
        at_kill,
        rescued,
    })
}

/// Cuts the link under what is on its way, and counts what is in flight. The last
/// of the first `more` items is put on the dead link, which alpha still believes
/// in: where the others were too quick for us, that one is in flight. Zero if
/// alpha noticed first.
fn cut(stage: &mut Stage, more: usize, watch: &Watch<'_>) -> Result<u64> {
    let before = more - 1;
    stage.load()?.open(before);
    watch.until("deliveries on their way", PUTS, || {
        let all_put = stage.load()?.has_put(before)?.is_some();
        let on_its_way = stage.inflight()? > 0;
        let all_gone = all_put && stage.progress()?.waiting == 0;
        Ok((on_its_way || all_gone).then_some(()))
    })?;
    stage.link()?.cut();
    watch.doing("acked, link cut");
    stage.load()?.open(more);
    watch.until("deliveries in flight, or the end of the link", LINK, || {
        // Nobody waits for these puts; only a refusal of one counts.
        stage.load()?.has_put(more)?;
        let found = stage.inflight()?;
        Ok((found > 0 || !stage.is_up()?).then_some(found))
    })
}

/// Waits until alpha's ledger shows an open attempt on the slow link, then kills
/// alpha, in the middle of a put if that can be made again. How many were open.
fn kill(stage: &mut Stage, more: usize, total: usize, watch: &Watch<'_>) -> Result<u64> {
    watch.doing("acked, link slow");
    if stage.load()?.survives_a_kill() {
        stage.load()?.open(total);
    } else {
        watch.until("the batches under way", PUTS, || {
            stage.load()?.has_put(more)
        })?;
    }
    let found = watch.until("an open attempt in alpha's ledger", LINK, || {
        stage.load()?.has_put(total)?;
        let up = stage.is_up()?;
        let found = stage.inflight()?;
        Ok((up && found > 0).then_some(found))
    })?;
    stage.kill_alpha()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_that_met_nothing_is_named() {
        let met = Met {
            at_cut: 3,
            at_kill: 2,
            rescued: 2,
        };
        let word = |met: Met| met.nothing().unwrap_or("all met something");

        assert_eq!(word(met), "all met something");
        assert!(word(Met { at_cut: 0, ..met }).contains("cut"));
        assert!(word(Met { at_kill: 0, ..met }).contains("killed with nothing"));
        assert!(word(Met { rescued: 0, ..met }).contains("no open attempt"));
    }
}
