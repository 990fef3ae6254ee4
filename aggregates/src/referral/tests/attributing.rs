//! Who referred whom: said once, before the first purchase, and never of oneself.

use cqrs_es::test::TestFramework;

use super::{account, at};
use crate::examples::{grant_id, second};
use crate::referral::{Attribute, Referral, ReferralAction, ReferralEvent, ReferralRefusal};

async fn expect(
    given: Vec<ReferralEvent>,
    (action, now): (ReferralAction, i64),
    then: Result<Vec<ReferralEvent>, ReferralRefusal>,
) {
    let outcome = TestFramework::<Referral>::with(()).given(given).when_async(at(action, now)).await;
    assert_eq!(outcome.inspect_result(), then);
}

fn attribute(referrer: u128) -> Attribute {
    Attribute {
        account_id: account(2),
        referrer_id: account(referrer),
        code: "FRIEND".into(),
        referrers_referrer: None,
        is_same_person: false,
    }
}

fn names(referrer: u128) -> ReferralAction {
    ReferralAction::Attribute(attribute(referrer))
}

fn attributed(referrer: u128, seconds: i64) -> ReferralEvent {
    ReferralEvent::Attributed { referrer_id: account(referrer), code: "FRIEND".into(), at: second(seconds) }
}

fn bought(seconds: i64) -> ReferralAction {
    ReferralAction::NotePurchase { payment_id: grant_id(9), purchased_at: second(seconds) }
}

fn noted(purchased: i64, at: i64) -> ReferralEvent {
    ReferralEvent::FirstPurchaseNoted {
        payment_id: grant_id(9),
        purchased_at: second(purchased),
        at: second(at),
    }
}

#[tokio::test]
async fn an_account_has_one_code_for_good() {
    let issue = |code: &str| ReferralAction::IssueCode { code: code.into() };
    let issued = ReferralEvent::CodeIssued { code: "AB12".into(), at: second(1) };
    expect(vec![], (issue("AB12"), 1), Ok(vec![issued.clone()])).await;
    expect(vec![issued], (issue("OTHER"), 2), Ok(vec![])).await;
}

#[tokio::test]
async fn a_new_customer_names_one_referrer() {
    expect(vec![], (names(1), 5), Ok(vec![attributed(1, 5)])).await;
    expect(vec![attributed(1, 5)], (names(1), 6), Ok(vec![])).await;
    let refusal = Err(ReferralRefusal::AlreadyAttributed { referrer_id: account(1) });
    expect(vec![attributed(1, 5)], (names(3), 6), refusal).await;
}

#[tokio::test]
async fn nobody_refers_themselves_or_their_referrer() {
    expect(vec![], (names(2), 5), Err(ReferralRefusal::SelfReferral)).await;
    let same = Attribute { is_same_person: true, ..attribute(1) };
    expect(vec![], (ReferralAction::Attribute(same), 5), Err(ReferralRefusal::SelfReferral)).await;
    let circle = Attribute { referrers_referrer: Some(account(2)), ..attribute(1) };
    expect(vec![], (ReferralAction::Attribute(circle), 5), Err(ReferralRefusal::Circular)).await;
    let chain = Attribute { referrers_referrer: Some(account(7)), ..attribute(1) };
    expect(vec![], (ReferralAction::Attribute(chain), 5), Ok(vec![attributed(1, 5)])).await;
}

#[tokio::test]
async fn after_the_first_purchase_it_is_too_late_even_where_that_was_heard_of_later() {
    expect(vec![], (bought(4), 5), Ok(vec![noted(4, 5)])).await;
    expect(vec![noted(4, 5)], (bought(6), 7), Ok(vec![])).await;
    let refusal = Err(ReferralRefusal::AlreadyPurchased { purchased_at: second(4) });
    expect(vec![noted(4, 5)], (names(1), 6), refusal).await;
    expect(vec![attributed(1, 3)], (bought(4), 5), Ok(vec![noted(4, 5)])).await;
    let voided = ReferralEvent::AttributionVoided { referrer_id: account(1), at: second(5) };
    expect(vec![attributed(1, 4)], (bought(3), 5), Ok(vec![noted(3, 5), voided.clone()])).await;
    let refusal = Err(ReferralRefusal::AlreadyPurchased { purchased_at: second(3) });
    expect(vec![attributed(1, 4), noted(3, 5), voided], (names(1), 6), refusal).await;
}
