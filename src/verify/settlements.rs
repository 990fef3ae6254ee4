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

/// Each payload is taken apart once, into what is compared.
const CHARGE_AND_SETTLEMENT: &str = r#"
    WITH charged AS (
        SELECT position, aggregate_id AS wallet, event.*
        FROM events, json_to_record(payload->'UsageCharged') AS event
            (generation_id text, cost_micro bigint, charged_micro bigint, covered_by_plan_micro bigint,
             shortfall_micro bigint, insured_micro bigint, "from" jsonb, balance_micro bigint)
        WHERE event_type = 'wallet.usage_charged'
    ), settled AS (
        SELECT position, payer->'wallet'->>'account_id' AS wallet, event.*
        FROM events, json_to_record(payload->'GenerationSettled') AS event
            (payer json, generation_id text, cost_micro bigint, charged_micro bigint, covered_by_plan_micro bigint,
             shortfall_micro bigint, insured_micro bigint, "from" jsonb, balance_micro bigint)
        WHERE event_type = 'usage.generation_settled' AND json_typeof(payer) = 'object'
    ), compared AS (
        SELECT generation_id,
               CASE
                   WHEN s.position IS NULL THEN 'it was charged and never settled'
                   WHEN c.position IS NULL THEN 'it was settled and never charged'
                   WHEN c.wallet <> s.wallet THEN 'wallet ' || c.wallet || ' was charged, ' || s.wallet || ' was to pay'
                   WHEN c.cost_micro <> s.cost_micro THEN 'the costs of charge and settlement differ'
                   WHEN c.charged_micro <> s.charged_micro THEN 'the amounts of charge and settlement differ'
                   WHEN c.covered_by_plan_micro <> s.covered_by_plan_micro
                     OR c.shortfall_micro <> s.shortfall_micro
                     OR c.insured_micro <> s.insured_micro
                       THEN 'plan, shortfall or insurance of charge and settlement differ'
                   WHEN COALESCE(c."from", '[]') <> COALESCE(s."from", '[]')
                       THEN 'the grants of charge and settlement differ'
                   WHEN s.balance_micro IS DISTINCT FROM c.balance_micro
                       THEN 'the balances after charge and settlement differ'
               END AS what,
               COALESCE(c.position, s.position) AS position
        FROM charged c FULL JOIN settled s USING (generation_id)
    )
    SELECT generation_id, what, position FROM compared WHERE what IS NOT NULL ORDER BY position LIMIT 1"#;

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
