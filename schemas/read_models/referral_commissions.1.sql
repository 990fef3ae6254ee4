CREATE TABLE referral_commissions (commission_id uuid PRIMARY KEY, account_id uuid NOT NULL, referred_id uuid NOT NULL, payment_id uuid NOT NULL, purchase_micro bigint NOT NULL, basis_points bigint NOT NULL, amount_micro bigint NOT NULL, remaining_micro bigint NOT NULL, standing text NOT NULL, reason text, earned_at timestamptz NOT NULL, updated_at timestamptz NOT NULL, first_position bigint NOT NULL);
CREATE INDEX ON referral_commissions (standing, first_position);
CREATE INDEX ON referral_commissions (account_id, first_position);
