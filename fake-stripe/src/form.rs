//! Form bodies with bracket keys, as the SDKs send them: `line_items[0][price_data][unit_amount]=1000`.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

const MOST_PAIRS: usize = 1_000;
const MOST_DEPTH: usize = 8;

/// What stands behind a key. A list is a map whose keys are numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    Text(String),
    Map(BTreeMap<String, Tree>),
}

pub type Map = BTreeMap<String, Tree>;

/// Reads a body or a query.
pub fn decode(encoded: &[u8]) -> Result<Map, Refusal> {
    let mut root = Map::new();
    for (number, (key, value)) in form_urlencoded::parse(encoded).enumerate() {
        if number >= MOST_PAIRS {
            return Err(Refusal::malformed(&key, "The request has too many parameters."));
        }
        let path = path_of(&key)?;
        insert(&mut root, &path, &key, value.into_owned())?;
    }
    Ok(root)
}

/// `a[b][]` is `a`, `b`, and an empty name, which takes the next number.
fn path_of(key: &str) -> Result<Vec<&str>, Refusal> {
    let malformed = || Refusal::malformed(key, "Invalid key: brackets must be closed.");
    let (first, mut rest) = key.split_once('[').map_or((key, ""), |(first, _)| (first, &key[first.len()..]));
    let mut path = vec![first];
    while !rest.is_empty() {
        let inner = rest.strip_prefix('[').ok_or_else(malformed)?;
        let (name, after) = inner.split_once(']').ok_or_else(malformed)?;
        path.push(name);
        rest = after;
    }
    if first.is_empty() || path.len() > MOST_DEPTH {
        return Err(malformed());
    }
    Ok(path)
}

fn insert(map: &mut Map, path: &[&str], key: &str, value: String) -> Result<(), Refusal> {
    let (first, rest) = path.split_first().expect("a path has a first name");
    let name = if first.is_empty() { map.len().to_string() } else { (*first).to_owned() };
    if rest.is_empty() {
        return match map.insert(name, Tree::Text(value)) {
            None => Ok(()),
            Some(_) => Err(Refusal::malformed(key, "The parameter was given twice.")),
        };
    }
    match map.entry(name).or_insert_with(|| Tree::Map(Map::new())) {
        Tree::Map(inner) => insert(inner, rest, key, value),
        Tree::Text(_) => Err(Refusal::malformed(key, "The parameter is both a value and a hash.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Tree {
        Tree::Text(value.to_owned())
    }

    fn map<const N: usize>(entries: [(&str, Tree); N]) -> Tree {
        Tree::Map(entries.into_iter().map(|(name, tree)| (name.to_owned(), tree)).collect())
    }

    #[test]
    fn brackets_nest_and_percent_escapes_are_read() {
        let read =
            decode(b"mode=payment&line_items[0][price_data][unit_amount]=1000&metadata%5Ba+b%5D=x%26y")
                .expect("well formed");
        let price = map([("unit_amount", text("1000"))]);
        let expected = map([
            ("mode", text("payment")),
            ("line_items", map([("0", map([("price_data", price)]))])),
            ("metadata", map([("a b", text("x&y"))])),
        ]);
        assert_eq!(Tree::Map(read), expected);
    }

    #[test]
    fn empty_brackets_append() {
        let read = decode(b"expand[]=a&expand[]=b").expect("well formed");
        assert_eq!(read["expand"], map([("0", text("a")), ("1", text("b"))]));
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for body in ["a[b=1", "a[b]c=1", "[b]=1", "a=1&a=2", "a=1&a[b]=2", "a[b][b][b][b][b][b][b][b]=1"] {
            assert!(decode(body.as_bytes()).is_err(), "{body}");
        }
    }
}
