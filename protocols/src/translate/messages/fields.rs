//! An object of a request, taken apart by move, with the path that leads to it.
//!
//! Members are read by hand rather than by `derive(Deserialize)`, because a refusal must name the very
//! place, and so that a long prompt is moved, not copied.

use serde_json::{Map, Value};

use crate::conversation::Untranslatable;

pub(super) struct Fields {
    members: Map<String, Value>,
    path: String,
}

impl Fields {
    /// # Errors
    /// `Wrong` where the value is not an object.
    pub(super) fn of(value: Value, path: String) -> Result<Self, Untranslatable> {
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(wrong(path, "an object")),
        }
    }

    /// The full path of one of the members.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A member that is there and not `null`.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    pub(super) fn need_text(&mut self, key: &str) -> Result<String, Untranslatable> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "a string"))
    }

    pub(super) fn boolean(&mut self, key: &str) -> Result<Option<bool>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    pub(super) fn whole(&mut self, key: &str) -> Result<Option<u64>, Untranslatable> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.as_u64().map(Some).ok_or_else(|| self.wrong(key, "a whole number"))
    }

    pub(super) fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(_) => Err(self.wrong(key, "a list")),
        }
    }

    pub(super) fn fields(&mut self, key: &str) -> Result<Option<Self>, Untranslatable> {
        let path = self.path_of(key);
        self.take(key).map(|value| Self::of(value, path)).transpose()
    }

    pub(super) fn need_fields(&mut self, key: &str) -> Result<Self, Untranslatable> {
        self.fields(key)?.ok_or_else(|| self.wrong(key, "an object"))
    }

    /// Everything not taken yet.
    pub(super) fn into_members(self) -> Map<String, Value> {
        self.members
    }

    pub(super) fn wrong(&self, key: &str, expected: &'static str) -> Untranslatable {
        wrong(self.path_of(key), expected)
    }

    pub(super) fn not_carried(&self, key: &str, reason: &'static str) -> Untranslatable {
        Untranslatable::NotCarried { field: self.path_of(key), reason }
    }
}

pub(super) fn wrong(field: String, expected: &'static str) -> Untranslatable {
    Untranslatable::Wrong { field, expected }
}
