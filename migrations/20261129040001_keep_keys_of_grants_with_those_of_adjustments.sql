-- A key that had granted credit by the command line granted it again over HTTP, since each kept its keys under a name of its
-- own. They share one now, and what was kept becomes what the same grant would leave today. Where the same key was used
-- both ways, the one that HTTP has kept stands.
UPDATE idempotency_keys kept
SET command = 'adjust_credit',
    inputs_digest = sha256(convert_to(
        '{"up":{"amount_micro":' || (granted.payload -> 'amount_micro')::text
        || ',"source":' || (granted.payload -> 'source')::text
        || ',"expires_at":' || coalesce((granted.payload -> 'expires_at')::text, 'null') || '}}', 'UTF8'))
FROM (SELECT k.account, k.key, e.payload -> 'CreditGranted' AS payload
      FROM idempotency_keys k
      CROSS JOIN LATERAL jsonb_to_recordset(k.streams) AS stream(type text, id text, first bigint, last bigint)
      JOIN events e ON e.aggregate_type = stream.type AND e.aggregate_id = stream.id
                   AND e.sequence BETWEEN stream.first AND stream.last
      WHERE k.command = 'grant_credit' AND e.event_type = 'wallet.credit_granted') AS granted
WHERE kept.command = 'grant_credit' AND kept.account = granted.account AND kept.key = granted.key
  AND NOT EXISTS (SELECT FROM idempotency_keys other
                  WHERE other.command = 'adjust_credit' AND other.account = kept.account AND other.key = kept.key);
