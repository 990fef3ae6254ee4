//! Cash, referrals, and people from Gumroad: whatever their rules allow.

use codexapi_aggregates::cash::{CashAction, CashCommand, CashEvent, TokenOrder};
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::gumroad::{self, DenialReason, DoubtReason, GumroadLicence, SignUp, Verdict};
use codexapi_aggregates::ids::{AccountId, CommissionId, GrantId};
use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::referral::{
    self, ReferralAction, ReferralCommand, ReferralEvent, RejectionReason, Review,
};
use codexapi_aggregates::wallet::{Wallet, WalletTerms};
use cqrs_es::Aggregate;
use uuid::Uuid;

use super::{History, account};

impl History {
    /// Whatever the Cash Wallet allows of it.
    pub(super) fn move_cash(&mut self, number: u8, amount: u16) {
        let (id, now) = (Uuid::from_u128(self.id()), self.now());
        let amount_micro = MicroUsd(i64::from(amount) + 1);
        let paid = self.cash_payments.iter().rev().find(|(of, _)| *of == number).map(|(_, id)| *id);
        let action = match (amount % 5, paid) {
            (0, Some(payment_id)) => CashAction::TakeBack { payment_id, amount_micro },
            (1, Some(payment_id)) => CashAction::Reinstate { payment_id, amount_micro },
            (2, _) => CashAction::PayCommission { commission_id: CommissionId(id), amount_micro },
            (3, _) => CashAction::BuyTokens(TokenOrder {
                purchase_id: GrantId(id),
                plan_id: "pack".into(),
                quantity: 2,
                price_micro: amount_micro,
                credit_micro: amount_micro,
            }),
            _ => CashAction::TopUp { payment_id: GrantId(id), amount_micro },
        };
        if let CashAction::TopUp { payment_id, .. } = &action {
            self.cash_payments.push((number, *payment_id));
        }
        let cash = &mut self.cash[usize::from(number)];
        let Ok(events) = cash.decide(CashCommand { action, now }) else { return };
        events.iter().for_each(|event| cash.apply(event.clone()));
        for event in events {
            self.push(&account(number).to_string(), AnyEvent::Cash(event));
        }
    }

    /// A purchase of somebody this account referred, then what becomes of its commission.
    pub(super) fn refer(&mut self, number: u8, amount: u16) {
        let (payment_id, now) = (GrantId(Uuid::from_u128(self.id())), self.now());
        let of = usize::from(number);
        let earn = ReferralAction::Earn {
            payment_id,
            referred_id: account(number + 1),
            purchase_micro: MicroUsd(i64::from(amount) + 100),
            basis_points: 1_000,
        };
        let earned = self.referrals[of].decide(ReferralCommand { action: earn, now }).expect("few wait");
        self.referred(number, earned, vec![]);
        let commission_id = CommissionId(payment_id.0);
        let what = match amount % 3 {
            0 => Review::Approve,
            1 => Review::Reject(RejectionReason::Abuse),
            _ => return,
        };
        let (referral, cash) = (&self.referrals[of], &self.cash[of]);
        let reviewed = referral::review(referral, cash, commission_id, what, now).expect("it waits");
        self.referred(number, reviewed.0, reviewed.1);
        let (referral, cash) = (&self.referrals[of], &self.cash[of]);
        let reversed = MicroUsd(i64::from(amount) / 2);
        let adjusted = referral::adjust(referral, cash, commission_id, reversed, now).expect("it is known");
        self.referred(number, adjusted.0, adjusted.1);
    }

    fn referred(&mut self, number: u8, referral_events: Vec<ReferralEvent>, cash_events: Vec<CashEvent>) {
        let stream = account(number).to_string();
        for event in referral_events {
            self.referrals[usize::from(number)].apply(event.clone());
            self.push(&stream, AnyEvent::Referral(event));
        }
        for event in cash_events {
            self.cash[usize::from(number)].apply(event.clone());
            self.push(&stream, AnyEvent::Cash(event));
        }
    }

    /// Somebody from Gumroad, and what an operator decides about them.
    pub(super) fn sign_up(&mut self, number: u8, amount: u16) {
        let (id, now) = (Uuid::from_u128(self.id()), self.now());
        let ask = SignUp {
            account_id: AccountId(id),
            has_licence: amount.is_multiple_of(2),
            verified: amount.is_multiple_of(4),
            doubts: if number == 0 { vec![DoubtReason::RepeatedNetwork] } else { vec![] },
            amount_micro: MicroUsd::dollars(200),
            grant_id: GrantId(id),
        };
        let (wallet, terms, stream) = (Wallet::default(), WalletTerms::default(), format!("account-{id}"));
        let mut licence = GumroadLicence::default();
        let (events, _, _) = gumroad::sign_up(&licence, &wallet, &ask, &terms, now).expect("a new licence");
        events.iter().for_each(|event| licence.apply(event.clone()));
        let verdict = match amount % 5 {
            0 => Verdict::Grant { grant_id: GrantId(id) },
            _ => Verdict::Deny(DenialReason::Duplicate),
        };
        let reviewed = gumroad::review(&licence, &wallet, (AccountId(id), verdict), &terms, now);
        let reviewed = reviewed.map(|(events, _, _)| events).unwrap_or_default();
        for event in events.into_iter().chain(reviewed) {
            self.push(&stream, AnyEvent::Gumroad(event));
        }
    }
}
