//! The description of this API, made from the code that answers.

mod errors;

use std::collections::BTreeSet;

use axum::Json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use self::errors::Errors;
use super::admin::{
    billing as selling, billing_settings, gumroad as gumroad_signups, keys, maintenance, manage_models,
    model_health, model_provider, model_usage, models as all_models, payments as all_payments,
    provider_health, provider_invoices, queue, rate_changes, rate_windows, receipts as all_receipts,
    referrals, serving_usage, token_rates, topup_codes, unlimited, users, wallets,
};
use super::openai::{completion_messages, completions, input_items, input_tokens, responses};
use super::{
    account, api_docs, billing, count_tokens, generations, gumroad, key, models, plans, setup,
    stripe_webhook, system, toolbox,
};

#[derive(OpenApi)]
#[openapi(
    info(title = "codexapi", description = "Metered access to coding models."),
    paths(
        system::api_root,
        system::health,
        system::ready,
        document,
        api_docs::page,
        setup::public_codex,
        setup::public_claude_code,
        setup::codex_version,
        setup::launcher_version,
        gumroad::register,
        generations::responses,
        generations::chat,
        generations::completions,
        generations::messages,
        responses::retrieve,
        responses::delete,
        responses::cancel,
        responses::compact,
        input_items::list,
        input_tokens::count,
        input_tokens::input_tokens,
        completions::list,
        completions::retrieve,
        completions::update,
        completions::patch,
        completions::delete,
        completion_messages::list,
        generations::messages_subpath,
        count_tokens::count,
        models::list,
        models::retrieve,
        account::me,
        key::read,
        billing::generations::list,
        billing::generations::read,
        billing::wallet_status::read,
        billing::auto_topup::read,
        billing::auto_topup::set,
        billing::statement::export,
        plans::list,
        billing::plan_settings::read,
        billing::plan_settings::set,
        selling::read,
        selling::set,
        selling::set_fair_use,
        unlimited::read_promo,
        unlimited::set_promo,
        billing::token_usage::read,
        billing::checkout::load_cash,
        billing::checkout::confirm_cash,
        billing::wallet_checkout::buy,
        billing::stripe::confirm,
        billing::stripe::top_up,
        billing::payments::list,
        billing::subscription::read,
        billing::subscription::cancel,
        billing::subscription::resume,
        billing::receipts::list,
        billing::receipts::download,
        stripe_webhook::take,
        all_payments::list,
        all_receipts::list,
        all_receipts::download,
        all_payments::webhooks,
        toolbox::read,
        toolbox::set,
        billing::cash_wallet::read,
        billing::cash_wallet::statement,
        billing::email_discount::issue,
        billing::token_purchase::buy,
        billing::topup_discount::validate,
        billing::referral::read,
        billing::referral::name_referrer,
        billing::share_credit::read,
        billing::share_credit::claim,
        manage_models::read_policy,
        manage_models::set,
        manage_models::apply_local,
        model_provider::read,
        model_provider::set,
        all_models::list,
        model_usage::read,
        maintenance::read,
        maintenance::set,
        provider_health::read,
        provider_health::set,
        provider_health::wake,
        model_health::check_now,
        model_health::test,
        token_rates::read,
        token_rates::set,
        rate_changes::adjust,
        rate_changes::what_if,
        rate_windows::report,
        rate_windows::schedule,
        rate_windows::cancel,
        rate_windows::end,
        billing_settings::read,
        billing_settings::set,
        serving_usage::read,
        keys::set_limits,
        provider_invoices::list,
        provider_invoices::import,
        provider_invoices::read,
        queue::list,
        queue::resolve,
        queue::resolve_many,
        gumroad_signups::list,
        gumroad_signups::review,
        referrals::list,
        referrals::review,
        topup_codes::list,
        topup_codes::issue,
        topup_codes::make_link,
        users::set_active,
        wallets::list,
        wallets::adjust,
        wallets::set_balance,
        wallets::transactions,
        unlimited::grant
    ),
    tags(
        (name = "generations", description = "Generations, in each dialect. Fields pass through as sent."),
        (name = "models", description = "What is on sale."),
        (name = "account", description = "The caller's account and key."),
        (name = "billing", description = "Balance, charges and usage. Amounts are whole micro-USD: $1 is 1 000 000."),
        (name = "setup", description = "How clients are pointed here."),
        (name = "system", description = "The service about itself."),
        (name = "operator routing", description = "Who serves which model, and what that brings in."),
        (name = "operator prices", description = "What is charged, when, and what that brings in."),
        (name = "operator health", description = "How providers are watched, and how they are."),
        (name = "operator service", description = "Whether the service takes requests."),
        (name = "operator billing", description = "What is sold, and how much of a plan is fair use."),
        (name = "operator money", description = "What customers paid and what came of it; what wants a person's eye, and what is decided."),
        (name = "operator accounts", description = "What customers and their keys may do.")
    ),
    modifiers(&Credentials, &BothPrefixes, &TagGroups, &Errors)
)]
pub struct ApiDocument;

/// What tags of operations for operators begin with; everything else is for customers.
pub const OPERATOR_TAG: &str = "operator";

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "system", security(()),
    responses((status = 200, content_type = "application/json"))
)]
pub async fn document() -> Json<utoipa::openapi::OpenApi> {
    Json(ApiDocument::openapi())
}

/// The document as plain JSON.
pub fn document_value() -> serde_json::Value {
    serde_json::to_value(ApiDocument::openapi()).expect("the document is JSON")
}

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let key = ApiKey::Header(ApiKeyValue::new("x-api-key"));
        components.add_security_scheme("apiKey", SecurityScheme::ApiKey(key));
    }
}

/// Operators' URLs are described once and answered under two prefixes.
struct BothPrefixes;

impl Modify for BothPrefixes {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let paths = &mut document.paths.paths;
        let described: Vec<(String, PathItem)> = paths
            .iter()
            .filter_map(|(path, item)| Some((path.strip_prefix("/admin/api")?.to_owned(), item.clone())))
            .collect();
        for (path, mut item) in described {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.operation_id = operation.operation_id.take().map(|id| format!("{id}_v1"));
            }
            paths.insert(format!("/admin-api/v1{path}"), item);
        }
    }
}

/// Customers' tags and operators' tags apart, as readers of such documents show them.
struct TagGroups;

impl Modify for TagGroups {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let operations = document.paths.paths.values().flat_map(operations);
        let used: BTreeSet<String> =
            operations.flat_map(|(_, used)| used.tags.iter().flatten().cloned()).collect();
        let (operators, customers): (Vec<_>, Vec<_>) =
            used.into_iter().partition(|tag| tag.starts_with(OPERATOR_TAG));
        let group = |name: &str, tags: &[String]| serde_json::json!({ "name": name, "tags": tags });
        let mut groups = vec![group("For customers", &customers)];
        if !operators.is_empty() {
            groups.push(group("For operators", &operators));
        }
        let extensions = Extensions::builder().add("x-tagGroups", groups).build();
        document.extensions.get_or_insert_default().merge(extensions);
    }
}

/// Each operation of one URL, with its method in capitals.
pub(super) fn operations(item: &PathItem) -> impl Iterator<Item = (&'static str, &Operation)> {
    let all = [
        ("GET", &item.get),
        ("POST", &item.post),
        ("PUT", &item.put),
        ("PATCH", &item.patch),
        ("DELETE", &item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)))
}
