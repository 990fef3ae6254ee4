//! Once per licence, and at once only where nothing speaks against it.

use cqrs_es::Aggregate;
use proptest::prelude::*;
use uuid::Uuid;

use super::{
    DenialReason, DoubtReason, GumroadLicence, GumroadRefusal, LicenceAndWallet, SignUp, Signup,
    SignupStanding, Verdict, review, sign_up,
};
use crate::examples::{grant_id, micro, second};
use crate::ids::AccountId;
use crate::wallet::{GrantSource, MAX_GRANT, Wallet, WalletEvent, WalletRefusal, WalletTerms};

fn account(number: u128) -> AccountId {
    AccountId(Uuid::from_u128(number))
}

fn ask(number: u128) -> SignUp {
    SignUp {
        account_id: account(number),
        has_licence: true,
        verified: true,
        doubts: vec![],
        amount_micro: micro(200),
        grant_id: grant_id(number),
    }
}

fn asked(licence: &GumroadLicence, ask: &SignUp) -> Result<LicenceAndWallet, GumroadRefusal> {
    sign_up(licence, &Wallet::default(), ask, &WalletTerms::default(), second(1))
}

fn reviewed(
    licence: &GumroadLicence,
    number: u128,
    verdict: Verdict,
) -> Result<LicenceAndWallet, GumroadRefusal> {
    let terms = WalletTerms::default();
    review(licence, &Wallet::default(), (account(number), verdict), &terms, second(2))
}

fn after(settled: &LicenceAndWallet) -> GumroadLicence {
    let mut licence = GumroadLicence::default();
    settled.0.iter().for_each(|event| licence.apply(event.clone()));
    licence
}

fn granted(settled: &LicenceAndWallet) -> Vec<(GrantSource, i64)> {
    let granted = |event: &WalletEvent| match event {
        WalletEvent::CreditGranted { source, amount_micro, .. } => Some((*source, amount_micro.0)),
        _ => None,
    };
    settled.1.iter().filter_map(granted).collect()
}

#[test]
fn a_good_licence_brings_its_credit_at_once_and_once() {
    let first = asked(&GumroadLicence::default(), &ask(1)).expect("good");
    assert_eq!(granted(&first), [(GrantSource::Gumroad, 200)]);
    assert_eq!((first.2.standing, first.2.grant_id), (SignupStanding::Granted, Some(grant_id(1))));
    let licence = after(&first);
    assert_eq!(licence.holder(), Some(account(1)));
    assert_eq!(asked(&licence, &ask(1)), Ok((vec![], vec![], first.2.clone())));
    assert_eq!(asked(&licence, &ask(2)), Err(GumroadRefusal::LicenceTaken));
    let standing = SignupStanding::Granted;
    let again = reviewed(&licence, 1, Verdict::Grant { grant_id: grant_id(9) });
    assert_eq!(again, Err(GumroadRefusal::AlreadyReviewed { standing }));
}

#[test]
fn whatever_speaks_against_it_waits_for_an_operator() {
    let cases = [
        (SignUp { has_licence: false, ..ask(1) }, vec![DoubtReason::NoLicence]),
        (SignUp { verified: false, ..ask(1) }, vec![DoubtReason::NotVerified]),
        (SignUp { doubts: vec![DoubtReason::RepeatedDevice], ..ask(1) }, vec![DoubtReason::RepeatedDevice]),
        (
            SignUp {
                verified: false,
                doubts: vec![DoubtReason::RepeatedNetwork, DoubtReason::RepeatedNetwork],
                ..ask(1)
            },
            vec![DoubtReason::NotVerified, DoubtReason::RepeatedNetwork],
        ),
    ];
    for (ask, doubts) in cases {
        let waiting = asked(&GumroadLicence::default(), &ask).expect("taken in");
        assert_eq!((granted(&waiting), waiting.2.doubts.clone()), (vec![], doubts));
        let licence = after(&waiting);
        assert_eq!(licence.holder(), Some(account(1)));
        let approved = reviewed(&licence, 1, Verdict::Grant { grant_id: grant_id(5) }).expect("it waits");
        assert_eq!(granted(&approved), [(GrantSource::Gumroad, 200)]);
        assert_eq!(
            reviewed(&licence, 2, Verdict::Deny(DenialReason::Abuse)),
            Err(GumroadRefusal::UnknownSignup)
        );
    }
}

#[test]
fn a_denied_sign_up_brings_nothing_and_frees_the_licence() {
    let waiting = asked(&GumroadLicence::default(), &SignUp { verified: false, ..ask(1) }).expect("taken in");
    let denied = reviewed(&after(&waiting), 1, Verdict::Deny(DenialReason::Duplicate)).expect("it waits");
    assert_eq!((granted(&denied), denied.2.standing), (vec![], SignupStanding::Denied));
    let licence = after(&denied);
    assert_eq!(licence.holder(), None);
    let standing = SignupStanding::Denied;
    let again = reviewed(&licence, 1, Verdict::Grant { grant_id: grant_id(9) });
    assert_eq!(again, Err(GumroadRefusal::AlreadyReviewed { standing }));
    let Signup { account_id, standing, .. } = asked(&licence, &ask(2)).expect("free again").2;
    assert_eq!((account_id, standing), (account(2), SignupStanding::Granted));
    let unknown = reviewed(&GumroadLicence::default(), 1, Verdict::Deny(DenialReason::NoPurchase));
    assert_eq!(unknown, Err(GumroadRefusal::UnknownSignup));
}

#[test]
fn a_wallet_that_takes_no_such_grant_leaves_the_licence_alone() {
    let nothing = SignUp { amount_micro: micro(0), ..ask(1) };
    let refusal = WalletRefusal::AmountOutOfRange { amount: micro(0), most: MAX_GRANT };
    assert_eq!(asked(&GumroadLicence::default(), &nothing), Err(GumroadRefusal::Wallet(refusal)));
}

#[derive(Clone, Debug)]
enum Step {
    SignUp { who: u128, verified: bool, repeated: bool },
    Review { who: u128, grants: bool },
}

proptest! {
    /// Whoever signs up with one licence, and whatever operators decide: its credit is given at most once.
    #[test]
    fn a_licence_is_never_granted_twice(steps in prop::collection::vec(prop_oneof![
        (1..4_u128, any::<bool>(), any::<bool>())
            .prop_map(|(who, verified, repeated)| Step::SignUp { who, verified, repeated }),
        (1..4_u128, any::<bool>()).prop_map(|(who, grants)| Step::Review { who, grants }),
    ], 1..40)) {
        let (mut licence, mut grants_made) = (GumroadLicence::default(), 0);
        for step in steps {
            let settled = match step {
                Step::SignUp { who, verified, repeated } => {
                    let doubts = if repeated { vec![DoubtReason::RepeatedDevice] } else { vec![] };
                    asked(&licence, &SignUp { verified, doubts, ..ask(who) })
                }
                Step::Review { who, grants: true } => {
                    reviewed(&licence, who, Verdict::Grant { grant_id: grant_id(who) })
                }
                Step::Review { who, grants: false } => {
                    reviewed(&licence, who, Verdict::Deny(DenialReason::Abuse))
                }
            };
            let Ok(settled) = settled else { continue };
            grants_made += granted(&settled).len();
            settled.0.iter().for_each(|event| licence.apply(event.clone()));
            prop_assert!(grants_made <= 1);
        }
    }
}
