//! An aggregate of any type, for tools that fold streams without knowing beforehand what is in them.

use cqrs_es::Aggregate;

use crate::account::Account;
use crate::auto_topup::AutoTopUp;
use crate::bonus::Bonuses;
use crate::cash::CashWallet;
use crate::catalog::Catalog;
use crate::event::AnyEvent;
use crate::gumroad::GumroadLicence;
use crate::log::LogSeals;
use crate::payment::Payment;
use crate::pricing::PriceBook;
use crate::referral::Referral;
use crate::routing::RoutingPolicy;
use crate::service::Service;
use crate::subscription::Subscription;
use crate::usage::TokenUsage;
use crate::wallet::Wallet;

#[derive(Clone, Debug, PartialEq)]
pub enum AnyAggregate {
    Account(Account),
    AutoTopUp(Box<AutoTopUp>),
    Bonus(Bonuses),
    Cash(CashWallet),
    Gumroad(GumroadLicence),
    Catalog(Catalog),
    Log(LogSeals),
    Payment(Box<Payment>),
    Pricing(PriceBook),
    Referral(Referral),
    Routing(Box<RoutingPolicy>),
    Service(Service),
    Subscription(Box<Subscription>),
    Usage(TokenUsage),
    Wallet(Box<Wallet>),
}

impl AnyAggregate {
    /// The state before a stream's first event; `None` where no aggregate is called so.
    pub fn new(aggregate_type: &str) -> Option<Self> {
        Some(match aggregate_type {
            Account::TYPE => Self::Account(Account::default()),
            AutoTopUp::TYPE => Self::AutoTopUp(Box::default()),
            Bonuses::TYPE => Self::Bonus(Bonuses::default()),
            CashWallet::TYPE => Self::Cash(CashWallet::default()),
            GumroadLicence::TYPE => Self::Gumroad(GumroadLicence::default()),
            Catalog::TYPE => Self::Catalog(Catalog::default()),
            LogSeals::TYPE => Self::Log(LogSeals::default()),
            Payment::TYPE => Self::Payment(Box::default()),
            PriceBook::TYPE => Self::Pricing(PriceBook::default()),
            Referral::TYPE => Self::Referral(Referral::default()),
            RoutingPolicy::TYPE => Self::Routing(Box::default()),
            Service::TYPE => Self::Service(Service::default()),
            Subscription::TYPE => Self::Subscription(Box::default()),
            TokenUsage::TYPE => Self::Usage(TokenUsage::default()),
            Wallet::TYPE => Self::Wallet(Box::default()),
            _ => return None,
        })
    }

    /// # Panics
    /// For an event of another aggregate: a stream has one type.
    pub fn apply(&mut self, event: AnyEvent) {
        match (self, event) {
            (Self::Account(state), AnyEvent::Account(event)) => state.apply(event),
            (Self::AutoTopUp(state), AnyEvent::AutoTopUp(event)) => state.apply(event),
            (Self::Bonus(state), AnyEvent::Bonus(event)) => state.apply(event),
            (Self::Cash(state), AnyEvent::Cash(event)) => state.apply(event),
            (Self::Gumroad(state), AnyEvent::Gumroad(event)) => state.apply(event),
            (Self::Catalog(state), AnyEvent::Catalog(event)) => state.apply(event),
            (Self::Log(state), AnyEvent::Log(event)) => state.apply(event),
            (Self::Payment(state), AnyEvent::Payment(event)) => state.apply(event),
            (Self::Pricing(state), AnyEvent::Pricing(event)) => state.apply(event),
            (Self::Referral(state), AnyEvent::Referral(event)) => state.apply(event),
            (Self::Routing(state), AnyEvent::Routing(event)) => state.apply(event),
            (Self::Service(state), AnyEvent::Service(event)) => state.apply(event),
            (Self::Subscription(state), AnyEvent::Subscription(event)) => state.apply(event),
            (Self::Usage(state), AnyEvent::Usage(event)) => state.apply(event),
            (Self::Wallet(state), AnyEvent::Wallet(event)) => state.apply(event),
            (_, event) => unreachable!("{event:?} in the stream of another aggregate"),
        }
    }

    pub fn to_json(&self) -> serde_json::Result<serde_json::Value> {
        match self {
            Self::Account(state) => serde_json::to_value(state),
            Self::AutoTopUp(state) => serde_json::to_value(state),
            Self::Bonus(state) => serde_json::to_value(state),
            Self::Cash(state) => serde_json::to_value(state),
            Self::Gumroad(state) => serde_json::to_value(state),
            Self::Catalog(state) => serde_json::to_value(state),
            Self::Log(state) => serde_json::to_value(state),
            Self::Payment(state) => serde_json::to_value(state),
            Self::Pricing(state) => serde_json::to_value(state),
            Self::Referral(state) => serde_json::to_value(state),
            Self::Routing(state) => serde_json::to_value(state),
            Self::Service(state) => serde_json::to_value(state),
            Self::Subscription(state) => serde_json::to_value(state),
            Self::Usage(state) => serde_json::to_value(state),
            Self::Wallet(state) => serde_json::to_value(state),
        }
    }
}
