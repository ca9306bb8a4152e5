//! What a seed draws beside its plan, from dice of its own: features that worlds
//! have or have not, so that a world without them is the world it was before.

use std::num::NonZeroU16;

use relay_core::aim::Success;

use crate::seeds::Dice;

/// Keeps these dice apart from those of the plan.
pub const SALT: u64 = 0x726f_7574_6573;

/// What else a world has.
#[derive(Debug)]
pub struct Extra {
    /// When a put that says nothing is done.
    pub success: Success,
    /// How many puts in a thousand say when they are done.
    pub conditions: u64,
}

impl Extra {
    /// What these dice draw.
    #[must_use]
    pub fn drawn(dice: &mut Dice) -> Self {
        let has = dice.chance(350);
        Self {
            success: if has && dice.chance(300) {
                success(dice)
            } else {
                Success::AllPeers
            },
            conditions: if has { dice.spread(100, 1_000) } else { 0 },
        }
    }

    /// What a put says, if it says anything.
    pub fn condition(&self, dice: &mut Dice) -> Option<Success> {
        dice.chance(self.conditions).then(|| success(dice))
    }
}

fn success(dice: &mut Dice) -> Success {
    match dice.between(0, 5) {
        0 => Success::AllPeers,
        1..=3 => Success::OnePeer,
        n => Success::Count(NonZeroU16::new(n as u16 - 2).expect("2 or 3")),
    }
}
