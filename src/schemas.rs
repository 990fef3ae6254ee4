//! Schemas of every event's payload, made from the event types themselves: `schemas/events/<event_type>.v<n>.json`.
//!
//! They are committed, so that a change of what is stored for ever shows in review; a test compares.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail};
use codexapi_aggregates::account::AccountEvent;
use codexapi_aggregates::auto_topup::AutoTopUpEvent;
use codexapi_aggregates::bonus::BonusEvent;
use codexapi_aggregates::cash::CashEvent;
use codexapi_aggregates::catalog::CatalogEvent;
use codexapi_aggregates::gumroad::GumroadEvent;
use codexapi_aggregates::log::LogEvent;
use codexapi_aggregates::payment::PaymentEvent;
use codexapi_aggregates::pricing::PricingEvent;
use codexapi_aggregates::referral::ReferralEvent;
use codexapi_aggregates::routing::RoutingEvent;
use codexapi_aggregates::service::ServiceEvent;
use codexapi_aggregates::subscription::SubscriptionEvent;
use codexapi_aggregates::usage::UsageEvent;
use codexapi_aggregates::wallet::events::WalletEvent;
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

/// The version every event type is at.
const VERSION: u32 = 1;

/// Each schema by its file's name.
pub fn event_schemas() -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    add_variants::<AccountEvent>("account", &mut files);
    add_variants::<AutoTopUpEvent>("auto_topup", &mut files);
    add_variants::<BonusEvent>("bonus", &mut files);
    add_variants::<CashEvent>("cash_wallet", &mut files);
    add_variants::<GumroadEvent>("gumroad", &mut files);
    add_variants::<CatalogEvent>("catalog", &mut files);
    add_variants::<LogEvent>("log", &mut files);
    add_variants::<PaymentEvent>("payment", &mut files);
    add_variants::<PricingEvent>("pricing", &mut files);
    add_variants::<ReferralEvent>("referral", &mut files);
    add_variants::<RoutingEvent>("routing", &mut files);
    add_variants::<ServiceEvent>("service", &mut files);
    add_variants::<SubscriptionEvent>("subscription", &mut files);
    add_variants::<UsageEvent>("usage", &mut files);
    add_variants::<WalletEvent>("wallet", &mut files);
    files
}

/// Writes every schema into `folder`.
pub fn write(folder: &Path) -> anyhow::Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let files = event_schemas();
    for (name, text) in &files {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(files.len())
}

/// Compares `folder` with what the code says.
///
/// # Errors
/// Names every file that is missing, different, or of no event.
pub fn check(folder: &Path) -> anyhow::Result<usize> {
    let expected = event_schemas();
    let mut wrong = Vec::new();
    for (name, text) in &expected {
        match std::fs::read_to_string(folder.join(name)) {
            Ok(found) if found == *text => {}
            Ok(_) => wrong.push(format!("{name} differs")),
            Err(_) => wrong.push(format!("{name} is missing")),
        }
    }
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !expected.contains_key(&name) {
            wrong.push(format!("{name} belongs to no event"));
        }
    }
    if !wrong.is_empty() {
        bail!("schemas and code differ; run `codexapi schemas` and review: {}", wrong.join(", "));
    }
    Ok(expected.len())
}

fn add_variants<E: JsonSchema>(aggregate: &str, files: &mut BTreeMap<String, String>) {
    let schema = schemars::schema_for!(E).to_value();
    let definitions = schema.get("$defs").and_then(Value::as_object).cloned().unwrap_or_default();
    let variants = schema["oneOf"].as_array().expect("an event enum is one of its variants");
    for variant in variants {
        let name = variant["required"][0].as_str().expect("a variant is tagged by its name");
        let event_type = format!("{aggregate}.{}", snake_case(name));
        let mut document = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": format!("{event_type} v{VERSION}"),
        });
        let object = document.as_object_mut().expect("an object");
        object.extend(variant.as_object().expect("a schema is an object").clone());
        let used = reachable(variant, &definitions);
        if !used.is_empty() {
            object.insert("$defs".into(), Value::Object(used));
        }
        let text = serde_json::to_string_pretty(&document).expect("a schema is JSON");
        files.insert(format!("{event_type}.v{VERSION}.json"), format!("{text}\n"));
    }
}

/// The definitions that `schema` refers to, directly or not.
fn reachable(schema: &Value, definitions: &Map<String, Value>) -> Map<String, Value> {
    let mut names = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(fields) => {
                let name =
                    fields.get("$ref").and_then(Value::as_str).and_then(|at| at.strip_prefix("#/$defs/"));
                if let Some((name, definition)) = name.and_then(|name| definitions.get_key_value(name))
                    && names.insert(name.clone())
                {
                    open.push(definition);
                }
                open.extend(fields.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    names.into_iter().map(|name| (name.clone(), definitions[&name].clone())).collect()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (place, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && place > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use codexapi_aggregates::account::RevocationReason;
    use codexapi_aggregates::ids::KeyId;
    use codexapi_aggregates::time::Timestamp;
    use cqrs_es::DomainEvent;

    use super::*;
    use crate::clock;

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/events");
        assert_eq!(check(&folder).expect("the same"), event_schemas().len());
    }

    #[test]
    fn a_schema_is_named_as_the_event_is_stored() {
        let event = AccountEvent::KeyRevoked {
            key_id: KeyId(clock::new_id()),
            reason: RevocationReason::Rotated,
            at: Timestamp(1),
        };
        let name = format!("{}.v{}.json", event.event_type(), event.event_version());
        let schema: Value = serde_json::from_str(&event_schemas()[&name]).expect("JSON");
        let payload = serde_json::to_value(&event).expect("JSON");
        let variant = payload.as_object().and_then(|fields| fields.keys().next()).expect("tagged");
        assert_eq!(schema["required"][0], *variant);
        assert!(schema["$defs"].get("KeyId").is_some());
        assert!(schema["$defs"].get("PersonId").is_none(), "of another event");
    }
}
