//! All that the fake knows: its objects, its clock, and what has happened and not been told yet.

use std::collections::{BTreeMap, HashMap};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::idempotency::Keys;
use crate::refusal::Refusal;

pub const API_VERSION: &str = "2026-10-28.endive";
/// Fields that begin with it are the fake's own, and shown to nobody.
const HIDDEN: char = '_';
const ID_LENGTH: usize = 24;

pub struct World {
    pub objects: Objects,
    pub keys: Keys,
    pub base_url: String,
    pub livemode: bool,
    /// Set while a call is served: its events name it.
    pub request: Value,
    ahead_seconds: i64,
    /// While what is due is done in turn, time stands at each.
    stopped_at: Option<i64>,
    fresh_events: Vec<String>,
}

/// What a restart keeps.
#[derive(Default, Serialize, Deserialize)]
pub struct Objects {
    by_id: HashMap<String, Value>,
    ids_of_kind: BTreeMap<String, Vec<String>>,
}

impl World {
    pub fn new(base_url: &str, livemode: bool, objects: Objects) -> Self {
        World {
            objects,
            keys: Keys::default(),
            base_url: base_url.to_owned(),
            livemode,
            request: Value::Null,
            ahead_seconds: 0,
            stopped_at: None,
            fresh_events: Vec::new(),
        }
    }

    /// Seconds since 1970, as every time in Stripe's objects.
    pub fn now(&self) -> i64 {
        let wall = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
            i64::try_from(since.as_secs()).expect("seconds fit") + self.ahead_seconds
        };
        self.stopped_at.unwrap_or_else(wall)
    }

    pub fn advance(&mut self, seconds: i64) {
        self.ahead_seconds += seconds;
    }

    pub fn at<T>(&mut self, time: i64, act: impl FnOnce(&mut World) -> T) -> T {
        self.stopped_at = Some(time);
        let done = act(self);
        self.stopped_at = None;
        done
    }

    /// Something has happened to this object: it is told as it is now.
    pub fn emit(&mut self, kind: &str, id: &str) {
        self.emit_change(kind, id, Value::Null);
    }

    pub fn emit_change(&mut self, kind: &str, id: &str, previous: Value) {
        let object = shown(self.objects.expect(id));
        let mut data = json!({ "object": object });
        if !previous.is_null() {
            data["previous_attributes"] = previous;
        }
        let request = match self.request.is_null() {
            true => json!({ "id": null, "idempotency_key": null }),
            false => self.request.clone(),
        };
        let event = self.objects.add(json!({
            "id": new_id("evt_1"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now(),
            "data": data,
            "livemode": self.livemode,
            "pending_webhooks": 0,
            "request": request,
            "type": kind,
        }));
        self.fresh_events.push(event);
    }

    /// Events that nobody has been told of yet, oldest first.
    pub fn take_fresh_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.fresh_events)
    }
}

impl Objects {
    /// Returns its id.
    pub fn add(&mut self, object: Value) -> String {
        let id = text(&object, "id").to_owned();
        self.ids_of_kind.entry(text(&object, "object").to_owned()).or_default().push(id.clone());
        self.by_id.insert(id.clone(), object);
        id
    }

    pub fn get(&self, id: &str) -> Option<&Value> {
        self.by_id.get(id)
    }

    /// An object that the fake has made itself.
    pub fn expect(&self, id: &str) -> &Value {
        self.by_id.get(id).unwrap_or_else(|| panic!("{id} exists"))
    }

    pub fn expect_mut(&mut self, id: &str) -> &mut Value {
        self.by_id.get_mut(id).unwrap_or_else(|| panic!("{id} exists"))
    }

    /// The object that a caller has named.
    pub fn named(&self, kind: &'static str, id: &str, param: &'static str) -> Result<&Value, Refusal> {
        match self.by_id.get(id) {
            Some(found) if found["object"] == kind => Ok(found),
            _ => Err(Refusal::NotFound { what: kind_in_words(kind), id: id.to_owned(), param }),
        }
    }

    /// Oldest first.
    pub fn of_kind(&self, kind: &str) -> impl DoubleEndedIterator<Item = &Value> {
        self.ids_of_kind.get(kind).into_iter().flatten().map(|id| self.expect(id))
    }

    pub fn remove(&mut self, id: &str) {
        if let Some(object) = self.by_id.remove(id)
            && let Some(ids) = self.ids_of_kind.get_mut(text(&object, "object"))
        {
            ids.retain(|other| other != id);
        }
    }
}

fn kind_in_words(kind: &'static str) -> &'static str {
    match kind {
        "payment_method" => "PaymentMethod",
        other => other,
    }
}

/// An object as its readers see it.
pub fn shown(object: &Value) -> Value {
    let mut object = object.clone();
    if let Value::Object(fields) = &mut object {
        fields.retain(|name, _| !name.starts_with(HIDDEN));
    }
    object
}

/// Unlike those of an earlier start: a service under test keeps the ids it has seen.
pub fn new_id(prefix: &str) -> String {
    const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let letter = || char::from(LETTERS[usize::from(rand::random::<u8>()) % LETTERS.len()]);
    let random: String = std::iter::repeat_with(letter).take(ID_LENGTH).collect();
    format!("{prefix}{random}")
}

/// A text field, or nothing where it is null.
pub fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object[field].as_str().unwrap_or_default()
}

pub fn integer(object: &Value, field: &str) -> i64 {
    object[field].as_i64().unwrap_or_default()
}
