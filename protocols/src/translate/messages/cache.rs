//! Marks up to which the provider keeps the prompt (`cache_control`).

use serde_json::{Map, Value, json};

/// The most of one request.
const MAX_MARKS: usize = 4;

/// Where the client's dialect knows no marks, the end of the instructions and the end of the last user
/// turn are marked, so that the next request of the conversation finds its beginning kept. Of too many
/// marks the first give way: a later one covers what they cover.
pub(super) fn settle_marks(body: &mut Map<String, Value>) {
    let mut marks = 0;
    each_block(body, &mut |block| marks += usize::from(block.contains_key("cache_control")));
    if marks == 0 {
        mark_ends(body);
        return;
    }
    let mut too_many = marks.saturating_sub(MAX_MARKS);
    each_block(body, &mut |block| {
        if too_many > 0 && block.remove("cache_control").is_some() {
            too_many -= 1;
        }
    });
}

fn mark_ends(body: &mut Map<String, Value>) {
    let last_of = |body: &Map<String, Value>, key: &str| {
        body.get(key).and_then(Value::as_array).is_some_and(|list| !list.is_empty())
    };
    let instructions = if last_of(body, "system") { "system" } else { "tools" };
    let end_of_instructions = list_mut(body.get_mut(instructions)).and_then(|list| list.last_mut());
    mark(end_of_instructions);
    let messages = list_mut(body.get_mut("messages"));
    let user = messages.and_then(|list| list.iter_mut().rev().find(|message| message["role"] == "user"));
    mark(user.and_then(|message| list_mut(message.get_mut("content"))?.last_mut()));
}

fn mark(block: Option<&mut Value>) {
    if let Some(Value::Object(block)) = block {
        block.insert("cache_control".into(), json!({ "type": "ephemeral" }));
    }
}

/// Every block that may bear a mark, in the order the provider reads them.
fn each_block(body: &mut Map<String, Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    for key in ["tools", "system"] {
        each_of(body.get_mut(key), visit);
    }
    for message in list_mut(body.get_mut("messages")).into_iter().flatten() {
        for block in list_mut(message.get_mut("content")).into_iter().flatten() {
            each_of(block.get_mut("content"), visit);
            block.as_object_mut().into_iter().for_each(&mut *visit);
        }
    }
}

fn each_of(list: Option<&mut Value>, visit: &mut dyn FnMut(&mut Map<String, Value>)) {
    let blocks = list_mut(list).into_iter().flatten().filter_map(Value::as_object_mut);
    blocks.for_each(visit);
}

fn list_mut(value: Option<&mut Value>) -> Option<&mut Vec<Value>> {
    value.and_then(Value::as_array_mut)
}
