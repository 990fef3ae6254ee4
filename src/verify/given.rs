//! Between streams: what was bought with cash or claimed for sharing stands in the wallet, for the same amount.

use super::snapshot::Snapshot;
use super::{Difference, Stop};

pub(super) async fn check(snapshot: &mut Snapshot) -> Result<(), Stop> {
    for question in [GRANTED_AS_PROMISED, SHARED_ONCE] {
        let found: Option<(String, String, String, i64)> =
            sqlx::query_as(question).fetch_optional(&mut snapshot.connection).await?;
        if let Some((account_id, grant_id, what, position)) = found {
            return Err(Difference::Given { account_id, grant_id, what, position }.into());
        }
    }
    Ok(())
}

const GRANTED_AS_PROMISED: &str = "
    WITH promised AS (
        SELECT position, aggregate_id AS account, payload->'TokensBought'->>'purchase_id' AS grant_id,
               payload->'TokensBought'->'credit_micro' AS amount, 'bought with cash' AS how
        FROM events WHERE event_type = 'cash_wallet.tokens_bought'
        UNION ALL
        SELECT position, aggregate_id, payload->'ShareCreditClaimed'->>'grant_id',
               payload->'ShareCreditClaimed'->'amount_micro', 'claimed for sharing'
        FROM events WHERE event_type = 'bonus.share_credit_claimed'
    ), granted AS (
        SELECT aggregate_id AS account, payload->'CreditGranted'->>'grant_id' AS grant_id,
               payload->'CreditGranted'->'amount_micro' AS amount
        FROM events WHERE event_type = 'wallet.credit_granted' AND EXISTS (SELECT FROM promised)
    )
    SELECT p.account, p.grant_id,
           CASE WHEN g.amount IS NULL THEN 'it was ' || p.how || ' and never granted'
                ELSE 'it was ' || p.how || ' and granted with another amount' END,
           p.position
    FROM promised p LEFT JOIN granted g ON g.account = p.account AND g.grant_id = p.grant_id
    WHERE g.amount IS DISTINCT FROM p.amount
    ORDER BY p.position LIMIT 1";

const SHARED_ONCE: &str = "
    SELECT aggregate_id, max(payload->'ShareCreditClaimed'->>'grant_id'),
           'the share credit was claimed ' || count(*) || ' times', max(position) AS position
    FROM events WHERE event_type = 'bonus.share_credit_claimed'
    GROUP BY aggregate_id HAVING count(*) > 1 ORDER BY 4 LIMIT 1";
