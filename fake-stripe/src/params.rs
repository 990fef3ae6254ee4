//! Typed reading of a request's parameters, refusing what Stripe refuses, in its words.
//!
//! Every read takes the parameter out; what is left when a call has read all it knows is unknown, and refused by
//! name. So a call cannot forget to refuse.

use serde_json::{Map as Json, Value};

use crate::form::{Map, Tree};
use crate::refusal::Refusal;

const MOST_METADATA: usize = 50;
const MOST_METADATA_KEY: usize = 40;
const MOST_METADATA_VALUE: usize = 500;
const MOST_TEXT: usize = 5_000;

/// Parameters not read yet, and the path that leads to them (empty at the top).
pub struct Params {
    left: Map,
    path: String,
}

impl Params {
    pub fn new(left: Map) -> Self {
        Params { left, path: String::new() }
    }

    /// `unit_amount` below `line_items[0][price_data]` is `line_items[0][price_data][unit_amount]`.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}[{name}]", self.path) }
    }

    /// Refuses the first parameter that nobody has read.
    pub fn done(&self) -> Result<(), Refusal> {
        match self.left.iter().next() {
            None => Ok(()),
            Some((name, tree)) => {
                Err(Refusal::UnknownParameter { param: deepest(&self.path_of(name), tree) })
            }
        }
    }

    /// Present, and perhaps empty: an empty text unsets what is there.
    pub fn text_or_unset(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let param = self.path_of(name);
        match self.left.remove(name) {
            None => Ok(None),
            Some(Tree::Map(_)) => Err(Refusal::invalid(param, "Invalid string")),
            Some(Tree::Text(text)) if text.len() > MOST_TEXT => {
                Err(Refusal::invalid(param, "Invalid string: must be at most 5000 characters"))
            }
            Some(Tree::Text(text)) => Ok(Some(text)),
        }
    }

    pub fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.text_or_unset(name)? {
            Some(text) if text.is_empty() => Err(Refusal::EmptyParameter { param: self.path_of(name) }),
            given => Ok(given),
        }
    }

    pub fn need_text(&mut self, name: &str) -> Result<String, Refusal> {
        let param = self.path_of(name);
        self.text(name)?.ok_or(Refusal::MissingParameter { param })
    }

    pub fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        let param = self.path_of(name);
        match self.text(name)? {
            None => Ok(None),
            Some(given) => match given.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => Err(Refusal::InvalidInteger { param, given }),
            },
        }
    }

    pub fn need_integer(&mut self, name: &str) -> Result<i64, Refusal> {
        let param = self.path_of(name);
        self.integer(name)?.ok_or(Refusal::MissingParameter { param })
    }

    pub fn flag(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        let param = self.path_of(name);
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(given) => Err(Refusal::invalid(param, &format!("Invalid boolean: {given}"))),
        }
    }

    pub fn choice(&mut self, name: &str, values: &[&str]) -> Result<Option<String>, Refusal> {
        let param = self.path_of(name);
        match self.text(name)? {
            Some(given) if !values.contains(&given.as_str()) => {
                let allowed = values.join(", ");
                Err(Refusal::invalid(param, &format!("Invalid {name}: must be one of {allowed}")))
            }
            given => Ok(given),
        }
    }

    /// Lower-case, three letters.
    pub fn need_currency(&mut self, name: &str) -> Result<String, Refusal> {
        let param = self.path_of(name);
        let given = self.need_text(name)?;
        let currency = given.to_ascii_lowercase();
        match currency.len() == 3 && currency.bytes().all(|letter| letter.is_ascii_lowercase()) {
            true => Ok(currency),
            false => Err(Refusal::invalid(param, &format!("Invalid currency: {given}"))),
        }
    }

    pub fn map(&mut self, name: &str) -> Result<Option<Params>, Refusal> {
        let path = self.path_of(name);
        match self.left.remove(name) {
            None => Ok(None),
            Some(Tree::Map(left)) => Ok(Some(Params { left, path })),
            Some(Tree::Text(_)) => Err(Refusal::invalid(path, "Invalid object")),
        }
    }

    /// A map, or nothing where a single value stands instead.
    pub fn range(&mut self, name: &str) -> Result<Option<Params>, Refusal> {
        match self.left.get(name) {
            Some(Tree::Map(_)) => self.map(name),
            Some(Tree::Text(_)) | None => Ok(None),
        }
    }

    /// The entries in the order of their numbers.
    pub fn list(&mut self, name: &str) -> Result<Vec<Params>, Refusal> {
        let entries = self.entries(name)?;
        let maps = entries.into_iter().map(|(path, tree)| match tree {
            Tree::Map(left) => Ok(Params { left, path }),
            Tree::Text(_) => Err(Refusal::invalid(path, "Invalid object")),
        });
        maps.collect()
    }

    pub fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let entries = self.entries(name)?;
        let texts = entries.into_iter().map(|(path, tree)| match tree {
            Tree::Text(text) => Ok(text),
            Tree::Map(_) => Err(Refusal::invalid(path, "Invalid string")),
        });
        texts.collect()
    }

    fn entries(&mut self, name: &str) -> Result<Vec<(String, Tree)>, Refusal> {
        let path = self.path_of(name);
        let map = match self.left.remove(name) {
            None => return Ok(Vec::new()),
            Some(Tree::Map(map)) => map,
            Some(Tree::Text(_)) => return Err(Refusal::invalid(path, "Invalid array")),
        };
        let mut entries = Vec::with_capacity(map.len());
        for (number, tree) in map {
            let position: usize =
                number.parse().map_err(|_| Refusal::invalid(path.clone(), "Invalid array"))?;
            entries.push((position, format!("{path}[{number}]"), tree));
        }
        entries.sort_by_key(|(position, _, _)| *position);
        Ok(entries.into_iter().map(|(_, path, tree)| (path, tree)).collect())
    }

    /// Metadata to be merged into what is there: an empty value unsets its key, an empty text unsets all.
    pub fn metadata(&mut self, name: &str) -> Result<Option<MetadataChange>, Refusal> {
        let path = self.path_of(name);
        let map = match self.left.remove(name) {
            None => return Ok(None),
            Some(Tree::Text(text)) if text.is_empty() => return Ok(Some(MetadataChange::Clear)),
            Some(Tree::Text(_)) => return Err(Refusal::invalid(path, "Invalid object")),
            Some(Tree::Map(map)) => map,
        };
        if map.len() > MOST_METADATA {
            let message =
                "Metadata can only have up to 50 keys. You attempted to set too many keys.".to_owned();
            return Err(Refusal::invalid(path, &message));
        }
        let mut changes = Vec::with_capacity(map.len());
        for (key, tree) in map {
            let param = format!("{path}[{key}]");
            let Tree::Text(value) = tree else {
                return Err(Refusal::invalid(param, "Metadata values must be strings"));
            };
            if key.chars().count() > MOST_METADATA_KEY || value.chars().count() > MOST_METADATA_VALUE {
                let message = format!(
                    "Metadata keys can have up to {MOST_METADATA_KEY} characters and values up to {MOST_METADATA_VALUE}"
                );
                return Err(Refusal::invalid(param, &message));
            }
            changes.push((key, value));
        }
        Ok(Some(MetadataChange::Merge(changes)))
    }

    /// Metadata of something new.
    pub fn new_metadata(&mut self, name: &str) -> Result<Value, Refusal> {
        let mut metadata = Value::Object(Json::new());
        if let Some(change) = self.metadata(name)? {
            change.apply(&mut metadata);
        }
        Ok(metadata)
    }
}

pub enum MetadataChange {
    Clear,
    Merge(Vec<(String, String)>),
}

impl MetadataChange {
    pub fn apply(self, metadata: &mut Value) {
        let Value::Object(metadata) = metadata else { return };
        match self {
            MetadataChange::Clear => metadata.clear(),
            MetadataChange::Merge(changes) => {
                for (key, value) in changes {
                    match value.is_empty() {
                        true => metadata.remove(&key),
                        false => metadata.insert(key, Value::String(value)),
                    };
                }
            }
        }
    }
}

/// Stripe names the whole path to an unknown parameter.
fn deepest(path: &str, tree: &Tree) -> String {
    match tree {
        Tree::Text(_) => path.to_owned(),
        Tree::Map(map) => match map.iter().next() {
            None => path.to_owned(),
            Some((name, inner)) => deepest(&format!("{path}[{name}]"), inner),
        },
    }
}
