//! `POST /api/v1/wallet/stripe/checkout`: a plan of the catalogue becomes a page of Stripe's.
//!
//! Price and what is granted for it are the catalogue's at this moment, and go with the payment: a later change of the
//! plan does not touch it. A plan that is sold by the month becomes a subscription.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use codexapi_aggregates::catalog::{CATALOG_STREAM, Catalog, Plan, PlanBuys, Sold};
use codexapi_aggregates::ids::{AccountId, PlanId};
use codexapi_aggregates::payment::Purpose;
use codexapi_protocols::errors::ErrorKind;
use http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;

use super::checkout::{CheckoutPage, open, open_monthly};
use crate::app::App;
use crate::http::admin::Actor;
use crate::http::admin::body::AdminBody;
use crate::http::auth::CustomerCaller;
use crate::http::error::{ErrorBody, Problem};
use crate::http::query::NoQuery;
use crate::payments::checkout::Order;

/// A plan to be bought.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BuyPlan {
    /// As `/api/v1/plans` lists it.
    #[schema(example = "titan")]
    plan_id: String,
    /// 1 by default.
    #[serde(default = "one")]
    quantity: u32,
    /// A code of yours that makes the top-up bring more.
    coupon: Option<String>,
    /// The card may be charged again later, for what you switch on.
    #[serde(default)]
    save_card: bool,
    /// 1 to 255 visible characters of your choice: the same key with the same order opens the same page again.
    idempotency_key: Option<String>,
}

fn one() -> u32 {
    1
}

/// Opens a page where a plan is paid; one that is sold by the month is paid again every month until it is cancelled, and
/// an account has one such at a time. Nothing is credited before Stripe says that it is.
#[utoipa::path(
    post, path = "/api/v1/wallet/stripe/checkout", operation_id = "open_wallet_checkout", tag = "billing",
    request_body = BuyPlan,
    responses((status = 200, body = CheckoutPage), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody), (status = 429, body = ErrorBody),
        (status = 503, body = ErrorBody)),
    security(("bearer" = []), ("apiKey" = []))
)]
pub async fn buy(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<CustomerCaller>,
    actor: Actor,
    _: NoQuery,
    AdminBody(buy): AdminBody<BuyPlan>,
) -> Result<Json<CheckoutPage>, Problem> {
    let unknown = || {
        let message = "No plan on sale is called so.";
        Problem::new(StatusCode::NOT_FOUND, ErrorKind::NotFound, "plan_not_found", message)
    };
    let plan_id: PlanId = buy.plan_id.parse().map_err(|_| unknown())?;
    let found = app.log.read(CATALOG_STREAM, |catalog: &Catalog| catalog.plan(&plan_id).cloned()).await;
    let plan = found.map_err(Problem::unavailable)?.ok_or_else(unknown)?;
    let key = buy.idempotency_key.clone();
    let order = order(caller.account_id, &plan, buy)?;
    match plan.sold {
        Sold::Once => open(&app, &actor, &order, key.as_deref()).await.map(Json),
        Sold::Monthly => {
            let Some(terms) = plan.entitlement(1) else {
                let message =
                    "This plan is sold by the month, and no plan of time: it cannot be bought here.";
                return Err(Problem::invalid("plan_is_not_for_sale", message));
            };
            open_monthly(&app, &actor, &order, &terms, key.as_deref()).await.map(Json)
        }
    }
}

fn order(account_id: AccountId, plan: &Plan, buy: BuyPlan) -> Result<Order, Problem> {
    let BuyPlan { quantity, coupon: code, save_card, .. } = buy;
    let most = plan.max_quantity;
    let out_of_range =
        || Problem::invalid("quantity_out_of_range", format!("1 to {most} may be bought at a time."));
    if !(1..=most).contains(&quantity) {
        return Err(out_of_range());
    }
    if plan.sold == Sold::Monthly && code.is_some() {
        let message = "A code is for credit; this plan is time, paid every month.";
        return Err(Problem::invalid("code_is_for_credit", message));
    }
    if plan.sold == Sold::Monthly && save_card {
        let message = "The card of a subscription is charged for it alone; leave `saveCard` out.";
        return Err(Problem::invalid("card_is_the_subscriptions", message));
    }
    let purpose = match &plan.buys {
        PlanBuys::Credit { .. } => {
            Purpose::TokenCredit { credit_micro: plan.credit(quantity).ok_or_else(out_of_range)? }
        }
        PlanBuys::Entitlement { .. } => {
            Purpose::Entitlement { terms: Box::new(plan.entitlement(quantity).ok_or_else(out_of_range)?) }
        }
    };
    let times = if quantity == 1 { String::new() } else { format!("{quantity} × ") };
    Ok(Order {
        account_id,
        purpose,
        plan_id: Some(plan.id.to_string()),
        quantity,
        price_micro: plan.price(quantity).ok_or_else(out_of_range)?,
        name: format!("{times}{}", plan.name),
        code,
        save_card,
    })
}
