//! Typed identifiers. Rules never make one: a new id arrives in the command.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};
use uuid::Uuid;

/// Declares a uuid newtype; ids of different things cannot be mixed up.
macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_id!(
    /// A customer's account; also the id of its wallet.
    AccountId
);
uuid_id!(
    /// A code that makes a top-up bring more.
    BonusCodeId
);
uuid_id!(
    /// What a referral earned with one purchase.
    CommissionId
);
uuid_id!(
    /// One generation, made before anything is dispatched; its state is the guard against double charges.
    GenerationId
);
uuid_id!(
    /// A grant of credit; for a payment, the payment's id.
    GrantId
);
uuid_id!(
    /// An API key or System Token, never its secret.
    KeyId
);
impl KeyId {
    /// The key that checks of providers are recorded under: nobody's, and no token's.
    pub const CHECKS: Self = Self(Uuid::from_u128(0x636f_6465_7861_8069_8000_6865_616c_7468));
}

uuid_id!(
    /// One intent to pay, made before the payment provider hears of it.
    PaymentId
);
uuid_id!(
    /// Something bought from a wallet's credit.
    PurchaseId
);
uuid_id!(
    /// An operator's downward correction of a wallet's credit.
    AdjustmentId
);
uuid_id!(
    /// Points into the erasable table of personal data.
    PersonId
);
uuid_id!(
    /// One run of one node; a restart is another incarnation.
    NodeIncarnation
);

impl PaymentId {
    /// What the payment buys is granted under the same id, so that it cannot be granted twice.
    pub fn grant(self) -> GrantId {
        GrantId(self.0)
    }
}

/// The longest plan id, in characters.
const MAX_PLAN_ID: usize = 40;

/// A plan of the catalogue, such as `titan`: lower-case letters, digits and dashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct PlanId(String);

/// Text that names no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a plan's id is 1 to {MAX_PLAN_ID} lower-case letters, digits and dashes; {0:?} is not")]
pub struct NotAPlanId(String);

impl PlanId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for PlanId {
    type Err = NotAPlanId;

    fn from_str(text: &str) -> Result<Self, NotAPlanId> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=MAX_PLAN_ID).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotAPlanId(text.chars().take(MAX_PLAN_ID).collect()))
        }
    }
}

impl<'de> Deserialize<'de> for PlanId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
