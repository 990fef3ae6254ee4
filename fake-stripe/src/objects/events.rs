//! Events, as they can be read again for a while after they happened.

use serde_json::Value;

use super::Call;
use crate::listing::Page;
use crate::refusal::Refusal;
use crate::world::{World, shown, text};

const KIND: &str = "event";
const MOST_TYPES: usize = 20;

pub fn retrieve(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    call.params.done()?;
    Ok(shown(world.objects.named(KIND, &call.id, "id")?))
}

pub fn list(world: &mut World, call: &mut Call) -> Result<Value, Refusal> {
    let page = Page::read(&mut call.params)?;
    let kind = call.params.text("type")?;
    let kinds = call.params.texts("types")?;
    call.params.done()?;
    if kinds.len() > MOST_TYPES || (kind.is_some() && !kinds.is_empty()) {
        let message = "You may pass either `type` or up to 20 `types`.";
        return Err(Refusal::invalid("types".to_owned(), message));
    }
    page.of(world, KIND, "/v1/events", |event| {
        let told = text(event, "type");
        kind.as_deref().is_none_or(|kind| matches(kind, told))
            && (kinds.is_empty() || kinds.iter().any(|kind| matches(kind, told)))
    })
}

/// `charge.*` is every kind that begins with `charge.`.
pub fn matches(pattern: &str, kind: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => kind.starts_with(start),
        None => kind == pattern,
    }
}
