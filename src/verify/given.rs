//! Between streams: what was bought with cash, claimed for sharing or promised to a Gumroad buyer stands in the wallet,
//! for the same amount; and what a commission leaves stands in its referrer's Cash Wallet.

use super::snapshot::Snapshot;
use super::{Difference, Stop};

pub(super) async fn check(snapshot: &mut Snapshot) -> Result<(), Stop> {
    for question in [GRANTED_AS_PROMISED, SHARED_ONCE, COMMISSIONS] {
        let found: Option<(String, String, String, i64)> =
            sqlx::query_as(question).fetch_optional(&mut snapshot.connection).await?;
        if let Some((account_id, id, what, position)) = found {
            return Err(Difference::Given { account_id, id, what, position }.into());
        }
    }
    Ok(())
}

const GRANTED_AS_PROMISED: &str = "
    WITH promised AS (
        SELECT position, aggregate_id AS account, payload->'TokensBought'->>'purchase_id' AS grant_id,
               payload->'TokensBought'->>'credit_micro' AS amount, 'bought with cash' AS how
        FROM events WHERE event_type = 'cash_wallet.tokens_bought'
        UNION ALL
        SELECT position, aggregate_id, payload->'ShareCreditClaimed'->>'grant_id',
               payload->'ShareCreditClaimed'->>'amount_micro', 'claimed for sharing'
        FROM events WHERE event_type = 'bonus.share_credit_claimed'
        UNION ALL
        SELECT position, payload->'CreditGranted'->'signup'->>'account_id',
               payload->'CreditGranted'->'signup'->>'grant_id', payload->'CreditGranted'->'signup'->>'amount_micro',
               'promised to a Gumroad buyer'
        FROM events WHERE event_type = 'gumroad.credit_granted'
    ), granted AS (
        SELECT aggregate_id AS account, payload->'CreditGranted'->>'grant_id' AS grant_id,
               payload->'CreditGranted'->>'amount_micro' AS amount
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

/// The last event of each commission that was paid, against what its Cash Wallet got and gave back.
const COMMISSIONS: &str = "
    WITH told AS (
        SELECT aggregate_id AS account, commission->>'commission_id' AS commission_id, commission, position,
               row_number() OVER (PARTITION BY commission->>'commission_id' ORDER BY position DESC) AS age
        FROM (SELECT aggregate_id, position,
                     COALESCE(payload->'CommissionAdjusted', payload->'CommissionApproved',
                              payload->'CommissionRejected')->'commission' AS commission
              FROM events
              WHERE event_type IN ('referral.commission_adjusted', 'referral.commission_approved',
                                   'referral.commission_rejected')) AS events
    ), paid AS (
        SELECT account, commission_id, (commission->>'remaining_micro')::bigint AS amount, position
        FROM told WHERE age = 1 AND commission->>'standing' = 'paid'
    ), moved AS (
        SELECT aggregate_id AS account,
               COALESCE(payload->'CommissionPaid', payload->'CommissionTakenBack',
                        payload->'CommissionReinstated')->>'commission_id' AS commission_id,
               sum(CASE event_type WHEN 'cash_wallet.commission_taken_back' THEN -1 ELSE 1 END
                   * (COALESCE(payload->'CommissionPaid', payload->'CommissionTakenBack',
                               payload->'CommissionReinstated')->>'amount_micro')::bigint) AS amount,
               max(position) AS position
        FROM events
        WHERE event_type IN ('cash_wallet.commission_paid', 'cash_wallet.commission_taken_back',
                             'cash_wallet.commission_reinstated')
        GROUP BY 1, 2
    )
    SELECT COALESCE(p.account, m.account), COALESCE(p.commission_id, m.commission_id),
           'what is left of a commission and what its Cash Wallet has of it differ',
           COALESCE(p.position, m.position) AS position
    FROM paid p FULL JOIN moved m ON m.account = p.account AND m.commission_id = p.commission_id
    WHERE COALESCE(p.amount, 0) <> COALESCE(m.amount, 0)
    ORDER BY 4 LIMIT 1";
