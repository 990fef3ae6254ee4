//! Typed identifiers. Rules never make one: a new id arrives in the command.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
