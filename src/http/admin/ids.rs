//! What operators name a customer and a decision by.

use codexapi_aggregates::ids::AccountId;

use crate::accounts::given;
use crate::http::error::Problem;

/// A customer, by the id that admin routes carry.
pub fn account_id(user_id: &str) -> Result<AccountId, Problem> {
    user_id.parse().map_err(|_| Problem::invalid("invalid_user_id", "A user's id is a UUID."))
}

/// The field `idempotencyKey`, which marks a decision as made once.
pub fn idempotency_key(text: &str) -> Result<String, Problem> {
    given::idempotency_key(text).map_err(|refusal| {
        Problem::invalid("invalid_idempotency_key", format!("`idempotencyKey`: {refusal}."))
    })
}
