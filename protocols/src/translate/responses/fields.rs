//! A JSON object that is taken apart by move, so that a long prompt is not copied on its way in.
//!
//! Each reading says what the dialect has at that place; a refusal names the full path. `null` counts as
//! absent, as OpenAI takes it.

use serde_json::{Map, Number, Value};

use crate::conversation::Untranslatable;

/// An object with the path that leads to it (empty at the top).
pub(super) struct Fields {
    members: Map<String, Value>,
    path: String,
}

impl Fields {
    pub(super) fn new(members: Map<String, Value>, path: impl Into<String>) -> Self {
        Self { members, path: path.into() }
    }

    /// `value` as an object; `path` is where it stands.
    pub(super) fn of(value: Value, path: String) -> Result<Self, Untranslatable> {
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(Untranslatable::Wrong { field: path, expected: "an object" }),
        }
    }

    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A member that is there and not `null`.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.members.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    /// What has not been taken, without the members that are `null`.
    pub(super) fn rest(self) -> Map<String, Value> {
        self.members.into_iter().filter(|(_, value)| !value.is_null()).collect()
    }

    /// The kind of an item, part or tool, where it says.
    pub(super) fn kind(&mut self) -> Result<Option<String>, Untranslatable> {
        self.text("type")
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    pub(super) fn need_text(&mut self, key: &str) -> Result<String, Untranslatable> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "a text"))
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(key, "a list")),
        }
    }

    /// A list of objects, each with its own path.
    pub(super) fn objects(&mut self, key: &str) -> Result<Vec<Fields>, Untranslatable> {
        let path = self.path_of(key);
        let list = self.list(key)?.unwrap_or_default();
        list.into_iter().enumerate().map(|(at, value)| Fields::of(value, format!("{path}[{at}]"))).collect()
    }

    pub(super) fn object(&mut self, key: &str) -> Result<Option<Fields>, Untranslatable> {
        let path = self.path_of(key);
        self.take(key).map(|value| Fields::of(value, path)).transpose()
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(super) fn whole(&mut self, key: &str) -> Result<Option<u64>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(whole) => Ok(Some(whole)),
                None => Err(self.wrong(key, "a whole number, not negative")),
            },
        }
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<Number>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(self.wrong(key, "a number")),
        }
    }

    pub(super) fn wrong(&self, key: &str, expected: &'static str) -> Untranslatable {
        Untranslatable::Wrong { field: self.path_of(key), expected }
    }

    pub(super) fn not_carried(&self, key: &str, reason: &'static str) -> Untranslatable {
        Untranslatable::NotCarried { field: self.path_of(key), reason }
    }

    /// Refuses this object itself.
    pub(super) fn refused(&self, reason: &'static str) -> Untranslatable {
        Untranslatable::NotCarried { field: self.path.clone(), reason }
    }
}
