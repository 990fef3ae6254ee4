//! Payments: each event's sums done again from the events before it, and each credited payment compared with what
//! its payer's wallet was granted and what was taken back for it.

use std::collections::BTreeMap;

use codexapi_aggregates::money::MicroUsd;
use codexapi_aggregates::payment::{DisputeStatus, PaymentEvent, Purpose, RefundStatus};

use super::difference::EventName;
use super::snapshot::Snapshot;
use super::{Difference, Report, Stop};

/// Sums over a payment's events, without the payment's rules.
#[derive(Default)]
pub(super) struct PaymentAudit {
    price: MicroUsd,
    granted: MicroUsd,
    credited: bool,
    refunds: BTreeMap<String, (MicroUsd, RefundStatus)>,
    disputes: BTreeMap<String, (MicroUsd, DisputeStatus)>,
}

impl PaymentAudit {
    /// Takes an event in; what it says must follow from the ones before it.
    pub fn check(&mut self, event: &PaymentEvent, name: impl Fn() -> EventName) -> Result<(), Difference> {
        let rule = |what: &str| Difference::Rule { event: name(), what: what.into() };
        let amount = |what: &str, expected, found| Difference::Amount {
            event: name(),
            what: what.into(),
            expected,
            found,
        };
        let (reversed, remaining) = match event {
            PaymentEvent::PaymentStarted { price_micro, purpose, .. } => {
                if self.price.is_positive() {
                    return Err(rule("it was started before"));
                }
                self.price = *price_micro;
                self.granted = match purpose {
                    Purpose::TokenCredit { credit_micro } => *credit_micro,
                    Purpose::CashTopUp => *price_micro,
                    Purpose::Entitlement { .. } => MicroUsd::ZERO,
                };
                return Ok(());
            }
            PaymentEvent::CheckoutOpened { .. }
            | PaymentEvent::PaymentFailed { .. }
            | PaymentEvent::PaymentExpired { .. } => return Ok(()),
            PaymentEvent::PaymentCredited { paid_micro, granted_micro, remaining_micro, .. } => {
                if std::mem::replace(&mut self.credited, true) {
                    return Err(rule("it was credited before"));
                }
                if *paid_micro != self.price {
                    return Err(amount("what was paid", self.price, *paid_micro));
                }
                if *granted_micro != self.granted {
                    return Err(amount("what was granted", self.granted, *granted_micro));
                }
                (self.reversed(), *remaining_micro)
            }
            PaymentEvent::RefundRecorded {
                refund_id,
                amount_micro,
                status,
                reversed_micro,
                remaining_micro,
                ..
            } => {
                self.refunds.insert(refund_id.clone(), (*amount_micro, *status));
                (*reversed_micro, *remaining_micro)
            }
            PaymentEvent::DisputeRecorded {
                dispute_id,
                amount_micro,
                status,
                reversed_micro,
                remaining_micro,
                ..
            } => {
                self.disputes.insert(dispute_id.clone(), (*amount_micro, *status));
                (*reversed_micro, *remaining_micro)
            }
        };
        if !self.price.is_positive() {
            return Err(rule("it was never started"));
        }
        if reversed != self.reversed() {
            return Err(amount("what was reversed", self.reversed(), reversed));
        }
        if remaining != self.remaining() {
            return Err(amount("what should remain of the credit", self.remaining(), remaining));
        }
        Ok(())
    }

    fn reversed(&self) -> MicroUsd {
        let refunds = self.refunds.values().filter(|(_, status)| *status == RefundStatus::Made);
        let disputes = self
            .disputes
            .values()
            .filter(|(_, status)| matches!(status, DisputeStatus::Open | DisputeStatus::Lost));
        refunds.map(|(amount, _)| *amount).chain(disputes.map(|(amount, _)| *amount)).sum()
    }

    /// ⌊granted × (paid − reversed) ⁄ paid⌋
    fn remaining(&self) -> MicroUsd {
        let kept = i128::from(self.price.0) - i128::from(self.reversed().0);
        let remaining = (i128::from(self.granted.0) * kept).div_euclid(i128::from(self.price.0));
        MicroUsd(i64::try_from(remaining).unwrap_or(i64::MIN))
    }
}

/// Between streams: each credited payment has exactly its grant, in its payer's wallet, and what was taken back for
/// it is what its refunds and disputes come to.
pub(super) async fn check(snapshot: &mut Snapshot, report: &Report) -> Result<(), Stop> {
    if report.payments == 0 {
        return Ok(());
    }
    for question in [GRANTS, REVERSALS, CASH, PLANS] {
        let found: Option<(String, String, i64)> =
            sqlx::query_as(question).fetch_optional(&mut snapshot.connection).await?;
        if let Some((payment_id, what, position)) = found {
            return Err(Difference::Payment { payment_id, what, position }.into());
        }
    }
    Ok(())
}

/// A grant under a payment's id is that payment's; grants under other ids are not ours to judge.
const GRANTS: &str = "
    WITH started AS (
        SELECT aggregate_id AS payment_id, payload->'PaymentStarted'->>'account_id' AS wallet, position
        FROM events
        WHERE event_type = 'payment.payment_started'
          AND (payload->'PaymentStarted'->'purpose')::jsonb ? 'token_credit'
    ), credited AS (
        SELECT aggregate_id AS payment_id, payload->'PaymentCredited'->>'granted_micro' AS granted, position
        FROM events WHERE event_type = 'payment.payment_credited'
    ), granted AS (
        SELECT payload->'CreditGranted'->>'grant_id' AS payment_id, count(*) AS grants,
               min(aggregate_id) AS wallet, min(payload->'CreditGranted'->>'amount_micro') AS granted,
               max(position) AS position
        FROM events WHERE event_type = 'wallet.credit_granted' GROUP BY 1
    ), compared AS (
        SELECT s.payment_id,
               CASE
                   WHEN c.payment_id IS NULL AND g.payment_id IS NOT NULL THEN 'it was granted and never credited'
                   WHEN c.payment_id IS NOT NULL AND g.payment_id IS NULL THEN 'it was credited and never granted'
                   WHEN g.grants > 1 THEN 'it was granted ' || g.grants || ' times'
                   WHEN g.wallet <> s.wallet THEN 'wallet ' || g.wallet || ' was granted what ' || s.wallet || ' paid for'
                   WHEN g.granted <> c.granted THEN 'the amounts of payment and grant differ'
               END AS what,
               COALESCE(c.position, g.position, s.position) AS position
        FROM started s LEFT JOIN credited c USING (payment_id) LEFT JOIN granted g USING (payment_id)
    )
    SELECT payment_id, what, position FROM compared WHERE what IS NOT NULL ORDER BY position LIMIT 1";

const REVERSALS: &str = "
    WITH started AS (
        SELECT aggregate_id AS payment_id FROM events
        WHERE event_type = 'payment.payment_started'
          AND (payload->'PaymentStarted'->'purpose')::jsonb ? 'token_credit'
    ), credited AS (
        SELECT aggregate_id AS payment_id, (payload->'PaymentCredited'->>'granted_micro')::bigint AS granted
        FROM events WHERE event_type = 'payment.payment_credited'
    ), told AS (
        SELECT DISTINCT ON (aggregate_id) aggregate_id AS payment_id,
               (COALESCE(payload->'PaymentCredited', payload->'RefundRecorded', payload->'DisputeRecorded')
                   ->>'remaining_micro')::bigint AS remaining, position
        FROM events
        WHERE event_type IN ('payment.payment_credited', 'payment.refund_recorded', 'payment.dispute_recorded')
        ORDER BY aggregate_id, sequence DESC
    ), taken AS (
        SELECT COALESCE(payload->'PaymentReversed', payload->'PaymentReinstated')->>'payment_id' AS payment_id,
               sum(COALESCE((payload->'PaymentReversed'->>'amount_micro')::bigint, 0)
                 - COALESCE((payload->'PaymentReinstated'->>'amount_micro')::bigint, 0)) AS taken,
               max(position) AS position
        FROM events WHERE event_type IN ('wallet.payment_reversed', 'wallet.payment_reinstated') GROUP BY 1
    )
    SELECT payment_id, 'what was reversed of it and what its wallet gave back differ' AS what,
           COALESCE(told.position, taken.position) AS position
    FROM started LEFT JOIN credited USING (payment_id) LEFT JOIN told USING (payment_id) LEFT JOIN taken USING (payment_id)
    WHERE COALESCE(taken.taken, 0) <> COALESCE(credited.granted - told.remaining, 0)
    ORDER BY 3 LIMIT 1";

/// The same of money for the cash wallet.
const CASH: &str = "
    WITH started AS (
        SELECT aggregate_id AS payment_id, payload->'PaymentStarted'->>'account_id' AS wallet, position
        FROM events
        WHERE event_type = 'payment.payment_started'
          AND payload->'PaymentStarted'->>'purpose' = 'cash_top_up'
    ), credited AS (
        SELECT aggregate_id AS payment_id, (payload->'PaymentCredited'->>'granted_micro')::bigint AS granted
        FROM events WHERE event_type = 'payment.payment_credited'
    ), told AS (
        SELECT DISTINCT ON (aggregate_id) aggregate_id AS payment_id,
               (COALESCE(payload->'PaymentCredited', payload->'RefundRecorded', payload->'DisputeRecorded')
                   ->>'remaining_micro')::bigint AS remaining
        FROM events
        WHERE event_type IN ('payment.payment_credited', 'payment.refund_recorded', 'payment.dispute_recorded')
        ORDER BY aggregate_id, sequence DESC
    ), topped_up AS (
        SELECT payload->'ToppedUp'->>'payment_id' AS payment_id, count(*) AS times, min(aggregate_id) AS wallet,
               min((payload->'ToppedUp'->>'amount_micro')::bigint) AS amount, max(position) AS position
        FROM events WHERE event_type = 'cash_wallet.topped_up' GROUP BY 1
    ), taken AS (
        SELECT COALESCE(payload->'PaymentTakenBack', payload->'PaymentReinstated')->>'payment_id' AS payment_id,
               sum(COALESCE((payload->'PaymentTakenBack'->>'amount_micro')::bigint, 0)
                 - COALESCE((payload->'PaymentReinstated'->>'amount_micro')::bigint, 0)) AS taken
        FROM events WHERE event_type IN ('cash_wallet.payment_taken_back', 'cash_wallet.payment_reinstated') GROUP BY 1
    ), compared AS (
        SELECT s.payment_id,
               CASE
                   WHEN c.payment_id IS NULL AND t.payment_id IS NOT NULL THEN 'it was topped up and never credited'
                   WHEN c.payment_id IS NOT NULL AND t.payment_id IS NULL THEN 'it was credited and never topped up'
                   WHEN t.times > 1 THEN 'it was topped up ' || t.times || ' times'
                   WHEN t.wallet <> s.wallet THEN 'wallet ' || t.wallet || ' was topped up with what ' || s.wallet || ' paid'
                   WHEN t.amount <> c.granted THEN 'the amounts of payment and top-up differ'
                   WHEN COALESCE(b.taken, 0) <> COALESCE(c.granted - told.remaining, 0)
                       THEN 'what was reversed of it and what the cash wallet gave back differ'
               END AS what,
               COALESCE(t.position, s.position) AS position
        FROM started s LEFT JOIN credited c USING (payment_id) LEFT JOIN topped_up t USING (payment_id)
             LEFT JOIN told USING (payment_id) LEFT JOIN taken b USING (payment_id)
    )
    SELECT payment_id, what, position FROM compared WHERE what IS NOT NULL ORDER BY position LIMIT 1";

/// The same of time of a plan.
const PLANS: &str = "
    WITH started AS (
        SELECT aggregate_id AS payment_id, payload->'PaymentStarted'->>'account_id' AS wallet, position
        FROM events
        WHERE event_type = 'payment.payment_started'
          AND (payload->'PaymentStarted'->'purpose')::jsonb ? 'entitlement'
    ), credited AS (
        SELECT aggregate_id AS payment_id FROM events WHERE event_type = 'payment.payment_credited'
    ), granted AS (
        SELECT payload->'EntitlementGranted'->>'entitlement_id' AS payment_id, count(*) AS grants,
               min(aggregate_id) AS wallet, max(position) AS position
        FROM events WHERE event_type = 'wallet.entitlement_granted' GROUP BY 1
    ), compared AS (
        SELECT s.payment_id,
               CASE
                   WHEN c.payment_id IS NULL AND g.payment_id IS NOT NULL THEN 'its plan was granted and it was never credited'
                   WHEN c.payment_id IS NOT NULL AND g.payment_id IS NULL THEN 'it was credited and its plan never granted'
                   WHEN g.grants > 1 THEN 'its plan was granted ' || g.grants || ' times'
                   WHEN g.wallet <> s.wallet THEN 'wallet ' || g.wallet || ' was granted what ' || s.wallet || ' paid for'
               END AS what,
               COALESCE(g.position, s.position) AS position
        FROM started s LEFT JOIN credited c USING (payment_id) LEFT JOIN granted g USING (payment_id)
    )
    SELECT payment_id, what, position FROM compared WHERE what IS NOT NULL ORDER BY position LIMIT 1";
