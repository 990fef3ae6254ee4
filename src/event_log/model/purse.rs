//! A purse: the smallest aggregate in which money can be spent twice; and what is asked of it.

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Purse {
    pub balance: i64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The command, and which of its events this is.
    pub by: usize,
    pub part: usize,
    /// Negative where it was spent.
    pub amount: i64,
    pub balance: i64,
    /// Postgres refuses it.
    pub malformed: bool,
}

#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{balance} is less than {amount}")]
pub struct TooLittle {
    balance: i64,
    amount: i64,
}

/// What is asked of one purse, or of two.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Ask {
    Credit {
        to: &'static str,
        amount: i64,
    },
    /// As `Credit`, with a key: however often it is asked, it is done once.
    CreditOnce {
        to: &'static str,
        amount: i64,
        key: usize,
    },
    Spend {
        from: &'static str,
        amount: i64,
    },
    /// Two events in one stream.
    SpendInTwo {
        from: &'static str,
        amount: i64,
    },
    Transfer {
        from: &'static str,
        to: &'static str,
        amount: i64,
    },
    Nothing {
        of: &'static str,
    },
    NothingOnce {
        of: &'static str,
        key: usize,
    },
    /// An event that Postgres refuses.
    Malformed {
        to: &'static str,
    },
}

impl Ask {
    pub fn streams(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::Transfer { from, to, .. } => (from, Some(to)),
            Self::Spend { from, .. } | Self::SpendInTwo { from, .. } => (from, None),
            Self::Credit { to, .. } | Self::CreditOnce { to, .. } | Self::Malformed { to } => (to, None),
            Self::Nothing { of } | Self::NothingOnce { of, .. } => (of, None),
        }
    }

    pub fn key(self) -> Option<usize> {
        match self {
            Self::CreditOnce { key, .. } | Self::NothingOnce { key, .. } => Some(key),
            _ => None,
        }
    }

    pub fn decide(
        self,
        by: usize,
        first: &Purse,
        second: Option<&Purse>,
    ) -> Result<(Vec<Moved>, Vec<Moved>), TooLittle> {
        Ok(match self {
            Self::Credit { amount, .. } | Self::CreditOnce { amount, .. } => {
                (first.moved(by, &[amount])?, vec![])
            }
            Self::Spend { amount, .. } => (first.moved(by, &[-amount])?, vec![]),
            Self::SpendInTwo { amount, .. } => (first.moved(by, &[-amount, -amount])?, vec![]),
            Self::Transfer { amount, .. } => {
                let second = second.expect("a transfer is between two purses");
                let mut received = second.moved(by, &[amount])?;
                received.iter_mut().for_each(|moved| moved.part += 1);
                (first.moved(by, &[-amount])?, received)
            }
            Self::Nothing { .. } | Self::NothingOnce { .. } => (vec![], vec![]),
            Self::Malformed { .. } => {
                let mut moved = first.moved(by, &[1])?;
                moved[0].malformed = true;
                (moved, vec![])
            }
        })
    }
}

impl Purse {
    fn moved(&self, by: usize, amounts: &[i64]) -> Result<Vec<Moved>, TooLittle> {
        let mut balance = self.balance;
        let mut moved = vec![];
        for (part, amount) in amounts.iter().copied().enumerate() {
            if balance + amount < 0 {
                return Err(TooLittle { balance, amount: -amount });
            }
            balance += amount;
            moved.push(Moved { by, part, amount, balance, malformed: false });
        }
        Ok(moved)
    }
}

impl DomainEvent for Moved {
    fn event_type(&self) -> String {
        "purse.moved".into()
    }

    fn event_version(&self) -> String {
        "1".into()
    }
}

impl Aggregate for Purse {
    const TYPE: &'static str = "purse";
    type Command = (usize, i64);
    type Event = Moved;
    type Error = TooLittle;
    type Services = ();

    async fn handle(
        &mut self,
        (by, amount): Self::Command,
        _: &(),
        sink: &EventSink<Self>,
    ) -> Result<(), TooLittle> {
        for event in self.moved(by, &[amount])? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, moved: Moved) {
        self.balance = moved.balance;
    }
}
