//! Between streams: every settled generation has exactly one charge, for the same amounts.
//!
//! In SQL, because Postgres joins more generations than fit into memory; by now the chains have shown
//! that the payloads are those that were appended.

use super::snapshot::Snapshot;
use super::{Difference, Report, Stop};

pub(super) async fn check(snapshot: &mut Snapshot, report: &Report) -> Result<(), Stop> {
    if report.generations == 0 && report.wallets == 0 {
        return Ok(());
    }
    for question in [SETTLED_TWICE, CHARGED_TWICE, CHARGE_AND_SETTLEMENT, REVERSALS] {
        let found: Option<(String, String, i64)> =
            sqlx::query_as(question).fetch_optional(&mut snapshot.connection).await?;
        if let Some((generation_id, what, position)) = found {
            return Err(Difference::Settlement { generation_id, what, position }.into());
        }
    }
    Ok(())
}

const SETTLED_TWICE: &str = "
    SELECT payload->'GenerationSettled'->>'generation_id' AS generation_id,
           'it was settled ' || count(*) || ' times' AS what, max(position) AS position
    FROM events WHERE event_type = 'usage.generation_settled'
    GROUP BY 1 HAVING count(*) > 1 ORDER BY 3 LIMIT 1";

const CHARGED_TWICE: &str = "
    SELECT payload->'UsageCharged'->>'generation_id' AS generation_id,
           'it was charged ' || count(*) || ' times' AS what, max(position) AS position
    FROM events WHERE event_type = 'wallet.usage_charged'
    GROUP BY 1 HAVING count(*) > 1 ORDER BY 3 LIMIT 1";

const CHARGE_AND_SETTLEMENT: &str = "
    WITH charged AS (
        SELECT position, aggregate_id AS wallet, (payload->'UsageCharged')::jsonb AS event
        FROM events WHERE event_type = 'wallet.usage_charged'
    ), settled AS (
        SELECT position, payload->'GenerationSettled'->'payer'->'wallet'->>'account_id' AS wallet,
               (payload->'GenerationSettled')::jsonb AS event
        FROM events
        WHERE event_type = 'usage.generation_settled'
          AND json_typeof(payload->'GenerationSettled'->'payer') = 'object'
    ), compared AS (
        SELECT COALESCE(c.event->>'generation_id', s.event->>'generation_id') AS generation_id,
               CASE
                   WHEN s.event IS NULL THEN 'it was charged and never settled'
                   WHEN c.event IS NULL THEN 'it was settled and never charged'
                   WHEN c.wallet <> s.wallet THEN 'wallet ' || c.wallet || ' was charged, ' || s.wallet || ' was to pay'
                   WHEN c.event->'cost_micro' <> s.event->'cost_micro' THEN 'the costs of charge and settlement differ'
                   WHEN c.event->'charged_micro' <> s.event->'charged_micro' THEN 'the amounts of charge and settlement differ'
                   WHEN c.event->'covered_by_plan_micro' <> s.event->'covered_by_plan_micro'
                     OR c.event->'shortfall_micro' <> s.event->'shortfall_micro'
                     OR c.event->'insured_micro' <> s.event->'insured_micro'
                       THEN 'plan, shortfall or insurance of charge and settlement differ'
                   WHEN COALESCE(c.event->'from', '[]') <> COALESCE(s.event->'from', '[]')
                       THEN 'the grants of charge and settlement differ'
                   WHEN s.event->'balance_micro' IS DISTINCT FROM c.event->'balance_micro'
                       THEN 'the balances after charge and settlement differ'
               END AS what,
               COALESCE(c.position, s.position) AS position
        FROM charged c FULL JOIN settled s ON s.event->>'generation_id' = c.event->>'generation_id'
    )
    SELECT generation_id, what, position FROM compared WHERE what IS NOT NULL ORDER BY position LIMIT 1";

/// A reversal of nothing leaves no trace in the wallet.
const REVERSALS: &str = "
    WITH credited AS (
        SELECT payload->'ChargeReversed'->>'generation_id' AS generation_id,
               sum((payload->'ChargeReversed'->>'amount_micro')::bigint) AS amount, max(position) AS position
        FROM events WHERE event_type = 'wallet.charge_reversed' GROUP BY 1
    ), reversed AS (
        SELECT payload->'ChargeReversed'->>'generation_id' AS generation_id,
               sum((payload->'ChargeReversed'->>'amount_micro')::bigint) AS amount, max(position) AS position
        FROM events WHERE event_type = 'usage.charge_reversed' GROUP BY 1
    )
    SELECT generation_id, 'its reversal and the credit for it differ' AS what,
           COALESCE(c.position, r.position) AS position
    FROM credited c FULL JOIN reversed r USING (generation_id)
    WHERE COALESCE(c.amount, 0) <> COALESCE(r.amount, 0)
    ORDER BY 3 LIMIT 1";
