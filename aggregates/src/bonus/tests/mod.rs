//! Each rule of an account's bonuses, with every refusal.

use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::{
    BonusAction, BonusCommand, BonusEvent, BonusRefusal, Bonuses, CodeKind, IssueCode, MAX_BASIS_POINTS,
    MAX_LIVE_CODES, MAX_SPENT_CODES, ShareCreditRefusal, claim_share_credit,
};
use crate::examples::{grant_id, micro, second};
use crate::ids::BonusCodeId;
use crate::wallet::{GrantSource, MAX_GRANT, Wallet, WalletEvent, WalletRefusal, WalletTerms};

fn code_id(number: u128) -> BonusCodeId {
    BonusCodeId(Uuid::from_u128(number))
}

fn issue(number: u128, code: &str, basis_points: u32, expires: i64) -> BonusAction {
    let (code_id, expires_at) = (code_id(number), second(expires));
    BonusAction::IssueCode(IssueCode { code_id, code: code.into(), basis_points, plan_id: None, expires_at })
}

fn issued(number: u128, code: &str, kind: CodeKind, expires: i64, at: i64) -> BonusEvent {
    BonusEvent::CodeIssued {
        code_id: code_id(number),
        code: code.into(),
        kind,
        basis_points: 2_000,
        plan_id: None,
        expires_at: second(expires),
        at: second(at),
    }
}

fn apply(code: &str, payment: u128) -> BonusAction {
    BonusAction::ApplyCode {
        code: code.into(),
        payment_id: grant_id(payment),
        plan_id: "titan".into(),
        credit_micro: micro(1_000),
    }
}

fn applied(number: u128, payment: u128, at: i64) -> BonusEvent {
    BonusEvent::CodeApplied {
        code_id: code_id(number),
        payment_id: grant_id(payment),
        credit_micro: micro(1_000),
        bonus_micro: micro(200),
        at: second(at),
    }
}

fn email(link: u128) -> BonusAction {
    BonusAction::IssueEmailDiscount {
        link_id: code_id(link),
        code: "EMAIL-1".into(),
        basis_points: 2_000,
        expires_at: second(100),
    }
}

async fn expect(
    given: Vec<BonusEvent>,
    (action, now): (BonusAction, i64),
    then: Result<Vec<BonusEvent>, BonusRefusal>,
) {
    let command = BonusCommand { action, now: second(now) };
    let outcome = TestFramework::<Bonuses>::with(()).given(given).when_async(command).await;
    assert_eq!(outcome.inspect_result(), then);
}

fn welcome() -> BonusEvent {
    issued(1, "WELCOME", CodeKind::Operator, 100, 0)
}

#[tokio::test]
async fn a_code_is_issued_in_capitals_and_not_twice_while_it_is_good() {
    expect(vec![], (issue(1, " welcome ", 2_000, 100), 0), Ok(vec![welcome()])).await;
    let exists = Err(BonusRefusal::CodeExists { code: "WELCOME".into() });
    expect(vec![welcome()], (issue(2, "WELCOME", 2_000, 200), 5), exists.clone()).await;
    expect(vec![welcome(), applied(1, 9, 1)], (issue(2, "WELCOME", 2_000, 200), 150), exists).await;
    let anew = issued(2, "WELCOME", CodeKind::Operator, 200, 100);
    expect(vec![welcome()], (issue(2, "WELCOME", 2_000, 200), 100), Ok(vec![anew])).await;
}

#[tokio::test]
async fn a_code_is_plain_adds_something_and_ends() {
    for bad in ["abc", "with space", "ünïcode", "under_score", &"A".repeat(33)] {
        expect(vec![], (issue(1, bad, 1, 100), 0), Err(BonusRefusal::BadCode)).await;
    }
    let most = MAX_BASIS_POINTS;
    for got in [0, most + 1] {
        let refusal = Err(BonusRefusal::BasisPointsOutOfRange { got, most });
        expect(vec![], (issue(1, "CODE", got, 100), 0), refusal).await;
    }
    expect(vec![], (issue(1, "CODE", 1, 100), 100), Err(BonusRefusal::ExpiresInThePast)).await;
    let many =
        (0..MAX_LIVE_CODES as u128).map(|n| issued(n, &format!("CODE{n}"), CodeKind::Operator, 100, 0));
    let full = Err(BonusRefusal::TooManyCodes { most: MAX_LIVE_CODES });
    expect(many.collect(), (issue(999, "ONEMORE", 1, 100), 1), full).await;
}

#[tokio::test]
async fn a_code_is_good_for_one_payment_and_comes_back_when_that_fails() {
    expect(vec![welcome()], (apply("welcome", 9), 1), Ok(vec![applied(1, 9, 1)])).await;
    let held = vec![welcome(), applied(1, 9, 1)];
    expect(held.clone(), (apply("WELCOME", 9), 2), Ok(vec![])).await;
    let refusal = Err(BonusRefusal::CodeHeld { payment_id: grant_id(9) });
    expect(held.clone(), (apply("WELCOME", 10), 2), refusal).await;

    let back = || BonusAction::ReturnCode { payment_id: grant_id(9) };
    let returned = BonusEvent::CodeReturned { code_id: code_id(1), payment_id: grant_id(9), at: second(3) };
    expect(held.clone(), (back(), 3), Ok(vec![returned.clone()])).await;
    let free = vec![welcome(), applied(1, 9, 1), returned];
    expect(free.clone(), (back(), 4), Ok(vec![])).await;
    expect(free, (apply("WELCOME", 10), 4), Ok(vec![applied(1, 10, 4)])).await;

    let spend = || BonusAction::UseCode { payment_id: grant_id(9) };
    let used = BonusEvent::CodeUsed { code_id: code_id(1), payment_id: grant_id(9), at: second(3) };
    expect(held.clone(), (spend(), 3), Ok(vec![used.clone()])).await;
    let spent = vec![welcome(), applied(1, 9, 1), used];
    expect(spent.clone(), (spend(), 4), Ok(vec![])).await;
    expect(spent.clone(), (back(), 4), Ok(vec![])).await;
    expect(spent, (apply("WELCOME", 10), 4), Err(BonusRefusal::CodeSpent)).await;
    expect(vec![welcome()], (spend(), 4), Ok(vec![])).await;
}

#[tokio::test]
async fn a_payment_that_is_paid_after_it_gave_its_code_back_uses_it_up() {
    let returned = BonusEvent::CodeReturned { code_id: code_id(1), payment_id: grant_id(9), at: second(3) };
    let given_back = vec![welcome(), applied(1, 9, 1), returned];
    let spend = || BonusAction::UseCode { payment_id: grant_id(9) };
    let used = BonusEvent::CodeUsed { code_id: code_id(1), payment_id: grant_id(9), at: second(5) };
    expect(given_back.clone(), (spend(), 5), Ok(vec![used.clone()])).await;
    let spent = given_back.iter().cloned().chain([used]).collect();
    expect(spent, (apply("WELCOME", 10), 6), Err(BonusRefusal::CodeSpent)).await;
    let taken = given_back.iter().cloned().chain([applied(1, 10, 4)]).collect();
    expect(taken, (spend(), 5), Ok(vec![])).await;
    let stranger = BonusAction::UseCode { payment_id: grant_id(8) };
    expect(given_back, (stranger, 5), Ok(vec![])).await;
}

#[tokio::test]
async fn a_code_is_refused_unknown_expired_for_another_plan_or_for_nothing() {
    expect(vec![], (apply("WELCOME", 9), 1), Err(BonusRefusal::UnknownCode)).await;
    let expired = Err(BonusRefusal::CodeExpired { expired_at: second(100) });
    expect(vec![welcome()], (apply("WELCOME", 9), 100), expired).await;
    let BonusEvent::CodeIssued { code_id, code, kind, basis_points, expires_at, at, .. } = welcome() else {
        unreachable!("made above")
    };
    let plan_id = Some("apex".into());
    let only = BonusEvent::CodeIssued { code_id, code, kind, basis_points, plan_id, expires_at, at };
    let refusal = Err(BonusRefusal::OtherPlan { plan_id: "apex".into() });
    expect(vec![only], (apply("WELCOME", 9), 1), refusal).await;

    let (_, tiny) = (0, micro(4));
    let mut bonuses = Bonuses::default();
    bonuses.evolve(welcome());
    let refusal = Err(BonusRefusal::NothingToAdd { credit: tiny });
    assert_eq!(bonuses.bonus_for("WELCOME", "titan", tiny, second(1)), refusal);
    let bonus = bonuses.bonus_for("WELCOME", "titan", micro(1_009), second(1)).expect("good");
    assert_eq!(bonus.bonus_micro, micro(201), "rounded towards nothing");
}

#[tokio::test]
async fn a_link_in_a_mail_gives_one_discount_for_as_long_as_its_box() {
    let discount = issued(7, "EMAIL-1", CodeKind::EmailSession, 100, 1);
    expect(vec![], (email(7), 1), Ok(vec![discount.clone()])).await;
    expect(vec![discount.clone()], (email(7), 99), Ok(vec![])).await;
    expect(vec![discount.clone(), applied(7, 9, 2)], (email(7), 99), Ok(vec![])).await;
    let over = Err(BonusRefusal::CodeExpired { expired_at: second(100) });
    expect(vec![discount.clone()], (email(7), 100), over).await;
    let used = BonusEvent::CodeUsed { code_id: code_id(7), payment_id: grant_id(9), at: second(3) };
    expect(vec![discount, applied(7, 9, 2), used], (email(7), 4), Err(BonusRefusal::CodeSpent)).await;
}

#[test]
fn spent_codes_are_forgotten_oldest_first() {
    let mut bonuses = Bonuses::default();
    for number in 0..=(MAX_SPENT_CODES as i64 + 1) {
        let code = format!("CODE{number}");
        bonuses.evolve(issued(number as u128, &code, CodeKind::Operator, number + 1, number));
    }
    assert_eq!(bonuses.codes().count(), MAX_SPENT_CODES + 1, "the last is live");
    let refusal = bonuses.bonus_for("CODE0", "titan", micro(1_000), second(1));
    assert_eq!(refusal, Err(BonusRefusal::UnknownCode));
}

#[test]
fn the_share_credit_is_granted_once_ever() {
    let (terms, ten) = (WalletTerms::default(), micro(10_000_000));
    let claim = |bonuses: &Bonuses, amount, now| {
        claim_share_credit(bonuses, &Wallet::default(), (grant_id(5), amount), &terms, second(now))
    };
    let mut bonuses = Bonuses::default();
    let (claimed, granted, balance) = claim(&bonuses, ten, 1).expect("the first");
    assert_eq!(balance, ten);
    let Some(WalletEvent::CreditGranted { grant_id: id, source, amount_micro, .. }) = granted.last() else {
        panic!("credit is granted, not {granted:?}")
    };
    assert_eq!((*id, *source, *amount_micro), (grant_id(5), GrantSource::ShareCredit, ten));
    claimed.into_iter().for_each(|event| bonuses.evolve(event));
    let refusal = BonusRefusal::AlreadyClaimed { claimed_at: second(1) };
    assert_eq!(claim(&bonuses, ten, 2), Err(ShareCreditRefusal::Bonus(refusal)));
    let refusal = WalletRefusal::AmountOutOfRange { amount: micro(0), most: MAX_GRANT };
    assert_eq!(claim(&Bonuses::default(), micro(0), 2), Err(ShareCreditRefusal::Wallet(refusal)));
}
