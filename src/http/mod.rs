//! Every URL of the service, who may call it, and what answers: the whole map, on one screen.
//!
//! A route cannot be added without saying whom it is for, and everything but `Public` is closed without credentials.
//! Around all of it: a request id, one log line, panics caught, errors told in the caller's dialect, and no request
//! that could be read in two ways or does not come to its end.

pub mod account;
pub mod address;
pub mod admin;
pub mod api_docs;
pub mod around;
pub mod arrival;
pub mod auth;
pub mod billing;
pub mod catch_up;
pub mod count_tokens;
pub mod days;
pub mod envelope;
pub mod error;
pub mod generations;
pub mod gumroad;
pub mod key;
pub mod known_keys;
mod models;
pub mod movement;
pub mod nul;
pub mod openai;
pub mod openapi;
pub mod per_call;
pub mod plans;
pub mod pricing;
pub mod query;
pub mod setup;
pub mod sign_ups;
pub mod sound;
pub mod stripe_webhook;
pub mod system;
pub mod toolbox;
pub mod unread;
pub mod whole_body;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post};
use http::Method;

use crate::app::App;
use auth::Audience;
use error::Problem;

/// One URL.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub audience: Audience,
    handler: fn() -> MethodRouter<Arc<App>>,
}

/// An operator's URL, under both of its prefixes.
macro_rules! operators {
    ($method:ident, $path:literal, $handler:expr) => {
        [
            route(Method::$method, concat!("/admin/api", $path), Audience::Admin, || $handler),
            route(Method::$method, concat!("/admin-api/v1", $path), Audience::Admin, || $handler),
        ]
    };
}

/// Every URL there is.
pub fn routes() -> Vec<Route> {
    customers_routes().into_iter().chain(operators_routes().into_iter().flatten()).collect()
}

fn operators_routes() -> Vec<[Route; 2]> {
    use admin::{
        billing, billing_settings, gumroad as gumroad_signups, keys, maintenance, manage_models,
        model_health, model_provider, model_usage, models, payments, provider_health, provider_invoices,
        queue, rate_changes, rate_windows, receipts, referrals, serving_usage, token_rates, topup_codes,
        unlimited, users, wallets,
    };
    vec![
        operators!(GET, "/billing", get(billing::read)),
        operators!(POST, "/billing/fup-settings", post(billing::set_fair_use)),
        operators!(POST, "/billing/plans", post(billing::set)),
        operators!(GET, "/billing/unlimited-promo", get(unlimited::read_promo)),
        operators!(POST, "/billing/unlimited-promo", post(unlimited::set_promo)),
        operators!(GET, "/manage-models", get(manage_models::read_policy)),
        operators!(POST, "/manage-models", post(manage_models::set)),
        operators!(POST, "/manage-models/apply-local", post(manage_models::apply_local)),
        operators!(GET, "/model-provider", get(model_provider::read)),
        operators!(POST, "/model-provider", post(model_provider::set)),
        operators!(GET, "/models", get(models::list)),
        operators!(GET, "/model-usage", get(model_usage::read)),
        operators!(GET, "/maintenance-mode", get(maintenance::read)),
        operators!(POST, "/maintenance-mode", post(maintenance::set)),
        operators!(GET, "/claude-provider-health", get(provider_health::read)),
        operators!(POST, "/claude-provider-health", post(provider_health::set)),
        operators!(POST, "/claude-provider-health/check-now", post(model_health::check_now)),
        operators!(POST, "/claude-provider-health/wake", post(provider_health::wake)),
        operators!(POST, "/model-health/test", post(model_health::test)),
        operators!(GET, "/token-rates", get(token_rates::read)),
        operators!(POST, "/token-rates", post(token_rates::set)),
        operators!(POST, "/token-rates/adjust-percent", post(rate_changes::adjust)),
        operators!(POST, "/token-rates/what-if", post(rate_changes::what_if)),
        operators!(GET, "/token-rates/windows", get(rate_windows::report)),
        operators!(POST, "/token-rates/windows", post(rate_windows::schedule)),
        operators!(POST, "/token-rates/windows/cancel", post(rate_windows::cancel)),
        operators!(POST, "/token-rates/windows/end", post(rate_windows::end)),
        operators!(GET, "/billing/settings", get(billing_settings::read)),
        operators!(POST, "/billing/settings", post(billing_settings::set)),
        operators!(GET, "/serving-usage", get(serving_usage::read)),
        operators!(POST, "/api-keys/{key_id}/limits", post(keys::set_limits)),
        operators!(GET, "/provider-invoices", get(provider_invoices::list)),
        operators!(POST, "/provider-invoices", post(provider_invoices::import)),
        operators!(GET, "/provider-invoices/{invoice_id}", get(provider_invoices::read)),
        operators!(GET, "/queue", get(queue::list)),
        operators!(POST, "/queue/resolve", post(queue::resolve_many)),
        operators!(POST, "/queue/{entry_id}/resolve", post(queue::resolve)),
        operators!(GET, "/gumroad/pending", get(gumroad_signups::list)),
        operators!(POST, "/gumroad/{user_id}/review", post(gumroad_signups::review)),
        operators!(GET, "/referrals/pending", get(referrals::list)),
        operators!(POST, "/referrals/{commission_id}/review", post(referrals::review)),
        operators!(GET, "/users", get(wallets::list)),
        operators!(GET, "/payments", get(payments::list)),
        operators!(GET, "/receipts", get(receipts::list)),
        operators!(GET, "/receipts/{receipt}", get(receipts::download)),
        operators!(GET, "/stripe/webhooks", get(payments::webhooks)),
        operators!(POST, "/users/{user_id}/active", post(users::set_active)),
        operators!(POST, "/users/{user_id}/wallet", post(wallets::set_balance)),
        operators!(POST, "/users/{user_id}/wallet/credit", post(wallets::adjust)),
        operators!(GET, "/users/{user_id}/wallet/transactions", get(wallets::transactions)),
        operators!(GET, "/users/{user_id}/topup-codes", get(topup_codes::list)),
        operators!(POST, "/users/{user_id}/topup-codes", post(topup_codes::issue)),
        operators!(POST, "/users/{user_id}/topup-email-link", post(topup_codes::make_link)),
        operators!(POST, "/users/{user_id}/unlimited", post(unlimited::grant)),
    ]
}

fn customers_routes() -> Vec<Route> {
    use Audience::{Customer, Generation, Payer, Public};
    use openai::{completion_messages, completions, input_items, input_tokens, responses};
    vec![
        route(Method::GET, "/", Public, || get(system::api_root)),
        route(Method::GET, "/health", Public, || get(system::health)),
        route(Method::GET, "/ready", Public, || get(system::ready)),
        route(Method::GET, "/openapi.json", Public, || get(openapi::document)),
        route(Method::GET, "/api-docs", Public, || get(api_docs::page)),
        route(Method::GET, "/api/v1/cli/public-codex", Public, || get(setup::public_codex)),
        route(Method::GET, "/api/v1/cli/public-claude-code", Public, || get(setup::public_claude_code)),
        route(Method::GET, "/api/v1/cli/version", Public, || get(setup::codex_version)),
        route(Method::GET, "/api/v1/codexclaude/version", Public, || get(setup::launcher_version)),
        route(Method::POST, "/api/v1/gumroad/register", Public, || post(gumroad::register)),
        route(Method::POST, "/v1/responses", Generation, || {
            post(generations::responses).get(generations::no_websocket)
        }),
        route(Method::GET, "/v1/responses/{response_id}", Payer, || get(responses::retrieve)),
        route(Method::DELETE, "/v1/responses/{response_id}", Payer, || delete(responses::delete)),
        route(Method::POST, "/v1/responses/{response_id}/cancel", Payer, || post(responses::cancel)),
        route(Method::POST, "/v1/responses/{response_id}/compact", Generation, || post(responses::compact)),
        route(Method::GET, "/v1/responses/{response_id}/input_items", Payer, || get(input_items::list)),
        route(Method::POST, "/v1/responses/count_tokens", Payer, || post(input_tokens::count)),
        route(Method::POST, "/v1/responses/input_tokens", Payer, || post(input_tokens::input_tokens)),
        route(Method::POST, "/v1/chat/completions", Generation, || post(generations::chat)),
        route(Method::GET, "/v1/chat/completions", Payer, || get(completions::list)),
        route(Method::GET, "/v1/chat/completions/{completion_id}", Payer, || get(completions::retrieve)),
        route(Method::POST, "/v1/chat/completions/{completion_id}", Payer, || post(completions::update)),
        route(Method::PATCH, "/v1/chat/completions/{completion_id}", Payer, || patch(completions::patch)),
        route(Method::DELETE, "/v1/chat/completions/{completion_id}", Payer, || delete(completions::delete)),
        route(Method::GET, "/v1/chat/completions/{completion_id}/messages", Payer, || {
            get(completion_messages::list)
        }),
        route(Method::POST, "/v1/completions", Generation, || post(generations::completions)),
        route(Method::POST, "/v1/messages", Generation, || post(generations::messages)),
        route(Method::POST, "/v1/messages/count_tokens", Payer, || post(count_tokens::count)),
        route(Method::POST, "/v1/messages/{*subpath}", Payer, || {
            let refuse = generations::messages_subpath;
            get(refuse).post(refuse).put(refuse).patch(refuse).delete(refuse)
        }),
        route(Method::GET, "/v1/models", Payer, || get(models::list)),
        route(Method::GET, "/v1/models/{*model_id}", Payer, || get(models::retrieve)),
        route(Method::GET, "/api/v1/me", Customer, || get(account::me)),
        route(Method::GET, "/api/v1/key", Customer, || get(key::read)),
        route(Method::GET, "/api/v1/generations", Customer, || get(billing::generations::list)),
        route(Method::GET, "/api/v1/generations/{generation_id}", Customer, || {
            get(billing::generations::read)
        }),
        route(Method::GET, "/api/v1/plans", Public, || get(plans::list)),
        route(Method::GET, "/api/v1/plan-settings", Customer, || get(billing::plan_settings::read)),
        route(Method::POST, "/api/v1/plan-settings", Customer, || post(billing::plan_settings::set)),
        route(Method::GET, "/api/v1/wallet/auto-topup", Customer, || get(billing::auto_topup::read)),
        route(Method::POST, "/api/v1/wallet/auto-topup", Customer, || post(billing::auto_topup::set)),
        route(Method::GET, "/api/v1/wallet/status", Customer, || get(billing::wallet_status::read)),
        route(Method::POST, "/api/v1/cash-wallet/stripe/checkout", Customer, || {
            post(billing::checkout::load_cash)
        }),
        route(Method::POST, "/api/v1/cash-wallet/stripe/confirm", Customer, || {
            post(billing::checkout::confirm_cash)
        }),
        route(Method::POST, "/api/v1/wallet/stripe/checkout", Customer, || {
            post(crate::http::billing::wallet_checkout::buy)
        }),
        route(Method::POST, "/api/v1/wallet/stripe/confirm", Customer, || post(billing::stripe::confirm)),
        route(Method::POST, "/api/v1/wallet/top-up", Customer, || post(billing::stripe::top_up)),
        route(Method::POST, "/api/v1/stripe/webhook", Public, || post(stripe_webhook::take)),
        route(Method::GET, "/api/v1/subscription", Customer, || get(billing::subscription::read)),
        route(Method::POST, "/api/v1/subscription/cancel", Customer, || post(billing::subscription::cancel)),
        route(Method::POST, "/api/v1/subscription/resume", Customer, || post(billing::subscription::resume)),
        route(Method::GET, "/api/v1/billing/payments", Customer, || get(billing::payments::list)),
        route(Method::GET, "/api/v1/receipts", Customer, || get(billing::receipts::list)),
        route(Method::GET, "/api/v1/receipts/{receipt}", Customer, || get(billing::receipts::download)),
        route(Method::GET, "/api/v1/toolbox", Customer, || get(toolbox::read)),
        route(Method::POST, "/api/v1/toolbox", Customer, || post(toolbox::set)),
        route(Method::GET, "/api/v1/billing/statement", Customer, || get(billing::statement::export)),
        route(Method::GET, "/api/v1/cash-wallet", Customer, || get(billing::cash_wallet::read)),
        route(Method::GET, "/api/v1/cash-wallet/statement", Customer, || {
            get(billing::cash_wallet::statement)
        }),
        route(Method::POST, "/api/v1/cash-wallet/token-purchase", Customer, || {
            post(billing::token_purchase::buy)
        }),
        route(Method::POST, "/api/v1/wallet/topup-discount", Customer, || {
            post(billing::topup_discount::validate)
        }),
        route(Method::GET, "/api/v1/referral", Customer, || get(billing::referral::read)),
        route(Method::POST, "/api/v1/referral", Customer, || post(billing::referral::name_referrer)),
        route(Method::GET, "/api/v1/share-credit", Customer, || get(billing::share_credit::read)),
        route(Method::POST, "/api/v1/share-credit/claim", Customer, || post(billing::share_credit::claim)),
        route(Method::POST, "/api/v1/wallet/topupemail-session-discount", Customer, || {
            post(billing::email_discount::issue)
        }),
        route(Method::GET, "/api/v1/billing/token-usage", Customer, || get(billing::token_usage::read)),
    ]
}

/// The whole service as one router.
pub fn router(app: Arc<App>) -> Router {
    routes()
        .into_iter()
        .fold(Router::new(), |router, route| {
            let guard = auth::Guard { app: Arc::clone(&app), audience: route.audience };
            router.route(route.path, (route.handler)().route_layer(from_fn_with_state(guard, auth::guard)))
        })
        .fallback(async || Problem::no_such_route())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(&app), around::every_request))
        .with_state(app)
}

fn route(
    method: Method,
    path: &'static str,
    audience: Audience,
    handler: fn() -> MethodRouter<Arc<App>>,
) -> Route {
    Route { method, path, audience, handler }
}

#[cfg(test)]
mod tests;
