//! Members of a request, taken out one by one and checked.
//!
//! Values are moved, never copied: a prompt may be large. A member that is `null` counts as left out, as it
//! does at OpenAI. Each refusal names the path of the member in the client's own words.

use serde_json::{Map, Number, Value};

use crate::conversation::Untranslatable;

/// A JSON object and the path that leads to it, which is empty at the top.
#[derive(Debug)]
pub(in crate::translate) struct Fields {
    members: Map<String, Value>,
    path: String,
}

impl Fields {
    /// The whole body.
    pub fn of_body(body: Value) -> Result<Self, Untranslatable> {
        match body {
            Value::Object(members) => Ok(Self { members, path: String::new() }),
            _ => Err(Untranslatable::NotReadable { reason: "it is not a JSON object".into() }),
        }
    }

    /// The object at `path`.
    pub fn of(value: Value, path: String) -> Result<Self, Untranslatable> {
        match value {
            Value::Object(members) => Ok(Self { members, path }),
            _ => Err(Untranslatable::Wrong { field: path, expected: "an object" }),
        }
    }

    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    pub fn wrong(&self, key: &str, expected: &'static str) -> Untranslatable {
        Untranslatable::Wrong { field: self.path_of(key), expected }
    }

    pub fn not_carried(&self, key: &str, reason: &'static str) -> Untranslatable {
        Untranslatable::NotCarried { field: self.path_of(key), reason }
    }

    pub fn take(&mut self, key: &str) -> Option<Value> {
        self.members.remove(key).filter(|value| !value.is_null())
    }

    pub fn text(&mut self, key: &str) -> Result<Option<String>, Untranslatable> {
        self.typed(key, "a text", |value| match value {
            Value::String(text) => Some(text),
            _ => None,
        })
    }

    pub fn need_text(&mut self, key: &str) -> Result<String, Untranslatable> {
        self.text(key)?.ok_or_else(|| self.wrong(key, "a text"))
    }

    pub fn flag(&mut self, key: &str) -> Result<Option<bool>, Untranslatable> {
        self.typed(key, "true or false", |value| value.as_bool())
    }

    /// A whole number of at least `least`.
    pub fn count(&mut self, key: &str, least: u64) -> Result<Option<u64>, Untranslatable> {
        let expected = if least == 0 { "a whole number" } else { "a whole number of at least 1" };
        self.typed(key, expected, |value| value.as_u64().filter(|count| *count >= least))
    }

    pub fn whole(&mut self, key: &str) -> Result<Option<i64>, Untranslatable> {
        self.typed(key, "a whole number", |value| value.as_i64())
    }

    pub fn number(&mut self, key: &str) -> Result<Option<Number>, Untranslatable> {
        self.typed(key, "a number", |value| match value {
            Value::Number(number) => Some(number),
            _ => None,
        })
    }

    pub fn list(&mut self, key: &str) -> Result<Option<Vec<Value>>, Untranslatable> {
        self.typed(key, "an array", |value| match value {
            Value::Array(list) => Some(list),
            _ => None,
        })
    }

    pub fn map(&mut self, key: &str) -> Result<Option<Map<String, Value>>, Untranslatable> {
        self.typed(key, "an object", |value| match value {
            Value::Object(map) => Some(map),
            _ => None,
        })
    }

    pub fn object(&mut self, key: &str) -> Result<Option<Fields>, Untranslatable> {
        let path = self.path_of(key);
        Ok(self.map(key)?.map(|members| Fields { members, path }))
    }

    pub fn need_object(&mut self, key: &str) -> Result<Fields, Untranslatable> {
        self.object(key)?.ok_or_else(|| self.wrong(key, "an object"))
    }

    fn typed<T>(
        &mut self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Untranslatable> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(key, expected)),
        }
    }
}
