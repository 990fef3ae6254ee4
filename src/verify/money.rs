//! Which money rules a stream's events are held to.

use codexapi_aggregates::any::AnyAggregate;
use codexapi_aggregates::event::{AnyEvent, RecordedEvent};

use super::cash::CashAudit;
use super::difference::EventName;
use super::payments::PaymentAudit;
use super::wallets::WalletAudit;
use super::{Difference, HoldTerms, Report, holds, rating};

/// The running audit of one stream.
pub(super) enum Audit {
    Cash(Box<CashAudit>),
    Wallet(Box<WalletAudit>),
    Payment(Box<PaymentAudit>),
    Usage {
        generations: u64,
    },
    /// No money moves there.
    Nothing,
}

impl Audit {
    pub fn of(aggregate_type: &str) -> Self {
        match aggregate_type {
            "cash_wallet" => Self::Cash(Box::default()),
            "wallet" => Self::Wallet(Box::default()),
            "payment" => Self::Payment(Box::default()),
            "usage" => Self::Usage { generations: 0 },
            _ => Self::Nothing,
        }
    }

    pub fn check(&mut self, event: &RecordedEvent, name: impl Fn() -> EventName) -> Result<(), Difference> {
        match (self, &event.event) {
            (Self::Cash(audit), AnyEvent::Cash(cash_event)) => audit.check(cash_event, name),
            (Self::Wallet(audit), AnyEvent::Wallet(wallet_event)) => {
                audit.check(wallet_event, event.position, name)
            }
            (Self::Payment(audit), AnyEvent::Payment(payment_event)) => audit.check(payment_event, name),
            (Self::Usage { generations }, AnyEvent::Usage(usage_event)) => {
                *generations += rating::check(usage_event, name)?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What can only be said of the whole stream.
    pub fn finish(
        &self,
        stream: &str,
        fold: &AnyAggregate,
        terms: &HoldTerms,
        report: &mut Report,
    ) -> Result<(), Difference> {
        match (self, fold) {
            (Self::Cash(audit), AnyAggregate::Cash(wallet)) => {
                report.cash_wallets += 1;
                audit.adds_up(stream, wallet)
            }
            (Self::Wallet(audit), AnyAggregate::Wallet(wallet)) => {
                report.wallets += 1;
                audit.adds_up(stream, wallet)?;
                report.open_holds += audit.open_holds().len() as u64;
                holds::check(stream, audit, wallet, terms)
            }
            (Self::Payment(_), _) => {
                report.payments += 1;
                Ok(())
            }
            (Self::Usage { generations }, _) => {
                report.generations += generations;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
