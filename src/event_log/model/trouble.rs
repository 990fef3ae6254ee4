//! What can go wrong between the writer and Postgres, as listed or by chance.

use std::collections::VecDeque;

use shuttle::rand::{Rng, thread_rng};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    Away,
    Transient,
    /// A conflict that has gone before it can be looked for.
    SequenceWasTaken,
    KeyWasTaken,
    LostBeforeCommit,
    LostAfterCommit,
    /// The server process is still at work: it commits if nobody ends it first.
    LostAtWork,
}

const TROUBLES: [Trouble; 7] = [
    Trouble::Away,
    Trouble::Transient,
    Trouble::SequenceWasTaken,
    Trouble::KeyWasTaken,
    Trouble::LostBeforeCommit,
    Trouble::LostAfterCommit,
    Trouble::LostAtWork,
];

#[derive(Clone, Debug)]
pub enum Troubles {
    /// One a batch, in turn; no read fails, and this many look-ups do.
    Listed { batches: VecDeque<Trouble>, look_ups: u32 },
    /// At most so many, of batches, reads and look-ups together.
    ByChance { left: u32 },
}

impl Troubles {
    pub fn listed(batches: &[Trouble], look_ups: u32) -> Self {
        Self::Listed { batches: batches.iter().copied().collect(), look_ups }
    }

    pub fn of_batch(&mut self) -> Option<Trouble> {
        match self {
            Self::Listed { batches, .. } => batches.pop_front(),
            Self::ByChance { left } if *left > 0 && thread_rng().gen_ratio(1, 3) => {
                *left -= 1;
                Some(TROUBLES[thread_rng().gen_range(0..TROUBLES.len())])
            }
            Self::ByChance { .. } => None,
        }
    }

    pub fn of_read(&mut self) -> bool {
        match self {
            Self::Listed { .. } => false,
            Self::ByChance { left } => by_chance(left, 12),
        }
    }

    pub fn of_look_up(&mut self) -> bool {
        match self {
            Self::Listed { look_ups, .. } => {
                let fails = *look_ups > 0;
                *look_ups = look_ups.saturating_sub(1);
                fails
            }
            Self::ByChance { left } => by_chance(left, 4),
        }
    }
}

fn by_chance(left: &mut u32, one_in: u32) -> bool {
    let fails = *left > 0 && thread_rng().gen_ratio(1, one_in);
    *left -= u32::from(fails);
    fails
}
