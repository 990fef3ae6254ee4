//! What becomes of accounts and their keys.

use codexapi_aggregates::account::{AccountEvent, KeyKind, KeyLimits, RevocationReason, SuspensionReason};
use codexapi_aggregates::event::AnyEvent;
use codexapi_aggregates::ids::{KeyId, PersonId};
use uuid::Uuid;

use super::{History, account};

impl History {
    pub(super) fn register(&mut self, number: u8) {
        let (at, id) = (self.now(), self.id());
        let stream = account(number).to_string();
        let event = AccountEvent::CustomerRegistered {
            account_id: account(number),
            person_id: PersonId(Uuid::from_u128(id)),
            at,
        };
        self.push(&stream, AnyEvent::Account(event));
        let key_id = KeyId(Uuid::from_u128(self.id()));
        self.keys.push(key_id);
        let issued = AccountEvent::KeyIssued {
            key_id,
            kind: KeyKind::SystemToken,
            digest: format!("digest-{number}"),
            prefix: "g2g-".into(),
            at,
        };
        self.push(&stream, AnyEvent::Account(issued));
        if number == 0 {
            let event = AccountEvent::KeyRevoked { key_id, reason: RevocationReason::Rotated, at };
            self.push(&stream, AnyEvent::Account(event));
        }
    }

    /// What an operator does about an account and its key now and then.
    pub(super) fn govern(&mut self, number: u8, amount: u16) {
        match amount % 4 {
            0 => self.suspend(number),
            1 => self.reinstate(number),
            2 => {
                let expires_at = (amount > 100).then(|| self.now().plus_secs(60));
                let requests_per_minute = Some(u32::from(amount));
                self.set_limits(
                    number,
                    KeyLimits { requests_per_minute, expires_at, ..KeyLimits::default() },
                );
            }
            _ => {}
        }
    }

    pub fn suspend(&mut self, number: u8) {
        let event = AccountEvent::AccountSuspended { reason: SuspensionReason::Abuse, at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }

    pub fn reinstate(&mut self, number: u8) {
        let event = AccountEvent::AccountReinstated { at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }

    pub fn set_limits(&mut self, number: u8, limits: KeyLimits) {
        let (key_id, limits) = (self.keys[usize::from(number)], Box::new(limits));
        let event = AccountEvent::KeyLimitsSet { key_id, limits, at: self.now() };
        self.push(&account(number).to_string(), AnyEvent::Account(event));
    }
}
