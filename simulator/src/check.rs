//! Typed reading of a request's JSON, refusing what a vendor's schema refuses.
//!
//! Fields are read by hand rather than by `derive(Deserialize)`, because each
//! refusal must name the offending path and the rule the way the vendor does.

use serde_json::{Map, Value};

use crate::refusal::Refusal;

pub type Object = Map<String, Value>;

/// A JSON object together with the path that leads to it (empty at the top).
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    object: &'a Object,
    path: &'a str,
}

impl<'a> Fields<'a> {
    pub fn new(object: &'a Object, path: &'a str) -> Self {
        Fields { object, path }
    }

    /// The full path of one of this object's fields.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A field that is present and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Refuses any key that is not in `allowed`.
    pub fn only(&self, allowed: &[&str]) -> Result<(), Refusal> {
        match self.object.keys().find(|key| !allowed.contains(&key.as_str())) {
            Some(key) => Err(Refusal::Unknown(self.path_of(key))),
            None => Ok(()),
        }
    }

    pub fn need(&self, key: &str) -> Result<&'a Value, Refusal> {
        self.get(key).ok_or_else(|| Refusal::Missing(self.path_of(key)))
    }

    pub fn need_string(&self, key: &str) -> Result<&'a str, Refusal> {
        self.need(key)?;
        self.string(key).map(|found| found.expect("the field is present"))
    }

    pub fn string(&self, key: &str) -> Result<Option<&'a str>, Refusal> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Refusal> {
        self.typed(key, "a boolean", Value::as_bool)
    }

    pub fn array(&self, key: &str) -> Result<Option<&'a Vec<Value>>, Refusal> {
        self.typed(key, "an array", Value::as_array)
    }

    pub fn object(&self, key: &str) -> Result<Option<&'a Object>, Refusal> {
        self.typed(key, "an object", Value::as_object)
    }

    pub fn need_object(&self, key: &str) -> Result<&'a Object, Refusal> {
        self.need(key)?;
        self.object(key).map(|found| found.expect("the field is present"))
    }

    /// A string that must be one of `values`; `allowed` says so in words.
    pub fn choice(
        &self,
        key: &str,
        values: &[&str],
        allowed: &'static str,
    ) -> Result<Option<&'a str>, Refusal> {
        match self.string(key)? {
            Some(got) if !values.contains(&got) => {
                Err(Refusal::BadValue { param: self.path_of(key), allowed, got: got.to_owned() })
            }
            found => Ok(found),
        }
    }

    /// A whole number of at least `least`.
    pub fn whole(&self, key: &str, least: u64) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        if let Some(number) = value.as_u64().filter(|number| *number >= least) {
            return Ok(Some(number));
        }
        if value.is_i64() || value.is_u64() {
            return Err(Refusal::TooSmall {
                param: self.path_of(key),
                least: least.to_string(),
                got: value.to_string(),
            });
        }
        Err(self.wrong_type(key, "an integer", value))
    }

    /// A number between `least` and `most`, whole tenths kept exact by the bounds' text.
    pub fn number(&self, key: &str, least: f64, most: f64) -> Result<(), Refusal> {
        let Some(value) = self.get(key) else {
            return Ok(());
        };
        let Some(number) = value.as_f64() else {
            return Err(self.wrong_type(key, "a decimal", value));
        };
        if number < least {
            return Err(Refusal::TooSmall {
                param: self.path_of(key),
                least: format!("{least:.1}"),
                got: value.to_string(),
            });
        }
        if number > most {
            return Err(Refusal::TooLarge {
                param: self.path_of(key),
                most: format!("{most:.1}"),
                got: value.to_string(),
            });
        }
        Ok(())
    }

    /// A map whose values are all strings, as `metadata` is.
    pub fn string_map(&self, key: &str) -> Result<(), Refusal> {
        let Some(map) = self.object(key)? else {
            return Ok(());
        };
        for (name, value) in map {
            if !value.is_string() {
                return Err(Refusal::WrongType {
                    param: format!("{}.{name}", self.path_of(key)),
                    expected: "a string",
                    got: kind_of(value),
                });
            }
        }
        Ok(())
    }

    pub fn wrong_type(&self, key: &str, expected: &'static str, got: &Value) -> Refusal {
        Refusal::WrongType { param: self.path_of(key), expected, got: kind_of(got) }
    }

    fn typed<T>(
        &self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Refusal> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match read(value) {
                Some(found) => Ok(Some(found)),
                None => Err(self.wrong_type(key, expected, value)),
            },
        }
    }
}

/// An element of an array, which must be an object.
pub fn element<'a>(value: &'a Value, path: &str) -> Result<&'a Object, Refusal> {
    value.as_object().ok_or_else(|| Refusal::WrongType {
        param: path.to_owned(),
        expected: "an object",
        got: kind_of(value),
    })
}

/// Whether a tool may bear this name (`most` characters at the longest).
pub fn is_tool_name(name: &str, most: usize) -> bool {
    !name.is_empty()
        && name.len() <= most
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
