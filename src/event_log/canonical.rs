//! Canonical JSON: sorted keys, no spaces, integers only.
//!
//! Written straight from the value, since every event passes here: the fields of an object are written as they come,
//! and put in order where it ends.

use std::borrow::Cow;
use std::cell::Cell;

use serde::ser::{self, Serialize};
use serde_json::Value;

/// JSON that has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum NotCanonical {
    #[error("{0} is no integer")]
    NotAnInteger(String),
    #[error("the key {0:?} is there twice")]
    KeyTwice(String),
    #[error("the key of an object is no text")]
    KeyNoText,
    #[error("no JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Custom(String),
}

impl ser::Error for NotCanonical {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self::Custom(message.to_string())
    }
}

/// `value` as canonical JSON.
///
/// # Errors
/// A fraction, or an object that has a key twice or one that is no text.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<String, NotCanonical> {
    let mut page = PAGE.take();
    value.serialize(Writer { page: &mut page })?;
    let text =
        str::from_utf8(&page.text).map_err(|error| NotCanonical::Custom(error.to_string()))?.to_owned();
    if page.text.capacity() <= KEPT_BYTES {
        page.text.clear();
        PAGE.set(page);
    }
    Ok(text)
}

/// What a thread keeps of its page, so that not every event allocates and grows one.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static PAGE: Cell<Page> = Cell::default();
}

/// Any JSON text as canonical JSON; the text that jsonb makes of another gives the same.
///
/// # Errors
/// As `canonical`, and where it is no JSON.
pub fn canonical_text(json: &str) -> Result<String, NotCanonical> {
    canonical(&serde_json::from_str::<Value>(json)?)
}

/// What is written, and the objects that are open in it: an inner one has ended before the outer one goes on.
#[derive(Default)]
struct Page {
    text: Vec<u8>,
    /// Of the outermost open object, then of the one within it, and so on.
    fields: Vec<Field>,
    /// Where an object that ends is put in order.
    ordered: Vec<u8>,
}

struct Writer<'a> {
    page: &'a mut Page,
}

impl<'a> Writer<'a> {
    /// What serde_json writes without spaces is canonical for everything but objects and fractions.
    fn plain<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        Ok(serde_json::to_writer(&mut self.page.text, value)?)
    }

    fn object(self, closing: &'static [u8]) -> Object<'a> {
        Object { start: self.page.text.len(), fields: self.page.fields.len(), page: self.page, closing }
    }

    fn array(self, closing: &'static [u8]) -> Array<'a> {
        self.page.text.push(b'[');
        Array { page: self.page, any: false, closing }
    }

    /// Opens the object around a variant's content.
    fn variant(self, name: &str) -> Result<Writer<'a>, NotCanonical> {
        self.page.text.push(b'{');
        push_key(&mut self.page.text, name)?;
        Ok(self)
    }
}

impl<'a> ser::Serializer for Writer<'a> {
    type Ok = ();
    type Error = NotCanonical;
    type SerializeSeq = Array<'a>;
    type SerializeTuple = Array<'a>;
    type SerializeTupleStruct = Array<'a>;
    type SerializeTupleVariant = Array<'a>;
    type SerializeMap = Object<'a>;
    type SerializeStruct = Object<'a>;
    type SerializeStructVariant = Object<'a>;

    fn serialize_bool(self, value: bool) -> Result<(), NotCanonical> {
        self.plain(&value)
    }

    fn serialize_i8(self, value: i8) -> Result<(), NotCanonical> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), NotCanonical> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), NotCanonical> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), NotCanonical> {
        self.plain(&value)
    }

    fn serialize_i128(self, value: i128) -> Result<(), NotCanonical> {
        // Read back, a larger one would be a fraction.
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => self.plain(&value),
            (_, Ok(value)) => self.plain(&value),
            _ => Err(NotCanonical::NotAnInteger(value.to_string())),
        }
    }

    fn serialize_u8(self, value: u8) -> Result<(), NotCanonical> {
        self.serialize_u64(value.into())
    }

    fn serialize_u16(self, value: u16) -> Result<(), NotCanonical> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), NotCanonical> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), NotCanonical> {
        self.plain(&value)
    }

    fn serialize_u128(self, value: u128) -> Result<(), NotCanonical> {
        let small = u64::try_from(value).map_err(|_| NotCanonical::NotAnInteger(value.to_string()))?;
        self.plain(&small)
    }

    fn serialize_f32(self, value: f32) -> Result<(), NotCanonical> {
        Err(NotCanonical::NotAnInteger(value.to_string()))
    }

    fn serialize_f64(self, value: f64) -> Result<(), NotCanonical> {
        Err(NotCanonical::NotAnInteger(value.to_string()))
    }

    fn serialize_char(self, value: char) -> Result<(), NotCanonical> {
        self.plain(&value)
    }

    fn serialize_str(self, value: &str) -> Result<(), NotCanonical> {
        self.plain(value)
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), NotCanonical> {
        self.plain(value)
    }

    fn serialize_none(self) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), NotCanonical> {
        self.plain(&())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), NotCanonical> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), NotCanonical> {
        self.plain(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), NotCanonical> {
        let content = self.variant(variant)?;
        value.serialize(Writer { page: &mut *content.page })?;
        content.page.text.push(b'}');
        Ok(())
    }

    fn serialize_seq(self, _len: Option<usize>) -> Result<Array<'a>, NotCanonical> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple(self, _len: usize) -> Result<Array<'a>, NotCanonical> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple_struct(self, _name: &'static str, _len: usize) -> Result<Array<'a>, NotCanonical> {
        Ok(self.array(b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Array<'a>, NotCanonical> {
        Ok(self.variant(variant)?.array(b"]}"))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<Object<'a>, NotCanonical> {
        Ok(self.object(b"}"))
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Object<'a>, NotCanonical> {
        Ok(self.object(b"}"))
    }

    fn serialize_struct_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        _len: usize,
    ) -> Result<Object<'a>, NotCanonical> {
        Ok(self.variant(variant)?.object(b"}}"))
    }
}

struct Array<'a> {
    page: &'a mut Page,
    any: bool,
    closing: &'static [u8],
}

impl Array<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        if std::mem::replace(&mut self.any, true) {
            self.page.text.push(b',');
        }
        value.serialize(Writer { page: &mut *self.page })
    }

    fn close(self) -> Result<(), NotCanonical> {
        self.page.text.extend_from_slice(self.closing);
        Ok(())
    }
}

/// The traits of serde that an array or an object is made through, each with the same two functions.
macro_rules! as_array {
    ($($name:ident::$element:ident),*) => {$(
        impl ser::$name for Array<'_> {
            type Ok = ();
            type Error = NotCanonical;

            fn $element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
                self.element(value)
            }

            fn end(self) -> Result<(), NotCanonical> {
                self.close()
            }
        }
    )*};
}

as_array!(
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
);

/// The values of its fields stand behind one another, without what is between them, until it is closed.
struct Object<'a> {
    page: &'a mut Page,
    /// Where its values begin in the text.
    start: usize,
    /// Where its fields begin among those of all open objects.
    fields: usize,
    closing: &'static [u8],
}

/// A field, and where its value stands in the text.
struct Field {
    name: Cow<'static, str>,
    start: usize,
    end: usize,
}

impl Object<'_> {
    fn key(&mut self, name: Cow<'static, str>) {
        let start = self.page.text.len();
        self.page.fields.push(Field { name, start, end: start });
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        value.serialize(Writer { page: &mut *self.page })?;
        let end = self.page.text.len();
        if let Some(field) = self.page.fields.last_mut() {
            field.end = end;
        }
        Ok(())
    }

    fn close(self) -> Result<(), NotCanonical> {
        let Page { text, fields, ordered } = self.page;
        let own = &mut fields[self.fields..];
        own.sort_unstable_by(|left, right| left.name.cmp(&right.name));
        if let Some(pair) = own.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(NotCanonical::KeyTwice(pair[0].name.to_string()));
        }
        ordered.clear();
        ordered.push(b'{');
        for (number, field) in own.iter().enumerate() {
            if number > 0 {
                ordered.push(b',');
            }
            push_key(ordered, &field.name)?;
            ordered.extend_from_slice(&text[field.start..field.end]);
        }
        ordered.extend_from_slice(self.closing);
        text.truncate(self.start);
        text.extend_from_slice(ordered);
        fields.truncate(self.fields);
        Ok(())
    }
}

fn push_key(text: &mut Vec<u8>, name: &str) -> Result<(), NotCanonical> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if name.bytes().all(plain) {
        text.push(b'"');
        text.extend_from_slice(name.as_bytes());
        text.push(b'"');
    } else {
        serde_json::to_writer(&mut *text, name)?;
    }
    text.push(b':');
    Ok(())
}

macro_rules! as_object {
    ($($name:ident),*) => {$(
        impl ser::$name for Object<'_> {
            type Ok = ();
            type Error = NotCanonical;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), NotCanonical> {
                self.key(name.into());
                self.value(value)
            }

            fn end(self) -> Result<(), NotCanonical> {
                self.close()
            }
        }
    )*};
}

as_object!(SerializeStruct, SerializeStructVariant);

impl ser::SerializeMap for Object<'_> {
    type Ok = ();
    type Error = NotCanonical;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), NotCanonical> {
        let name = match serde_json::to_value(key)? {
            Value::String(name) => name,
            Value::Number(number) if !number.is_f64() => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            _ => return Err(NotCanonical::KeyNoText),
        };
        self.key(name.into());
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), NotCanonical> {
        self.value(value)
    }

    fn end(self) -> Result<(), NotCanonical> {
        self.close()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;
    use serde::Serialize;
    use serde_json::json;

    use super::*;

    #[test]
    fn canonical_json_has_sorted_keys_and_no_spaces() {
        let text = canonical_text(r#"{ "b": [1, -2, "x y"], "a": {"d": null, "c": true} }"#).unwrap();
        assert_eq!(text, r#"{"a":{"c":true,"d":null},"b":[1,-2,"x y"]}"#);
    }

    #[test]
    fn escapes_do_not_change_the_canonical_text() {
        assert_eq!(canonical_text(r#""\u00e9\/\n""#).unwrap(), "\"é/\\n\"");
    }

    #[test]
    fn a_fraction_has_no_canonical_form() {
        for text in ["[1.5]", "1e3", "123456789012345678901234567890"] {
            assert!(matches!(canonical_text(text), Err(NotCanonical::NotAnInteger(_))), "{text}");
        }
        assert!(matches!(canonical(&u128::MAX), Err(NotCanonical::NotAnInteger(_))));
        assert!(matches!(canonical(&i128::MIN), Err(NotCanonical::NotAnInteger(_))));
    }

    #[test]
    fn a_key_that_is_there_twice_or_is_no_text_has_no_canonical_form() {
        #[derive(Serialize)]
        struct Twice {
            a: u8,
            #[serde(flatten)]
            rest: BTreeMap<&'static str, u8>,
        }
        let twice = Twice { a: 1, rest: BTreeMap::from([("a", 2)]) };
        assert!(matches!(canonical(&twice), Err(NotCanonical::KeyTwice(key)) if key == "a"));
        assert!(matches!(canonical(&BTreeMap::from([([1], 2)])), Err(NotCanonical::KeyNoText)));
    }

    /// Every shape that serde knows, in an order that is not the sorted one.
    #[derive(Serialize)]
    enum Shape {
        Unit,
        Newtype(Option<i64>),
        Tuple(u8, char),
        Struct { z: Vec<Shape>, y: HashMap<u32, bool>, a: () },
    }

    #[test]
    fn every_shape_is_what_serde_json_makes_of_it() {
        let inner = vec![Shape::Unit, Shape::Newtype(None), Shape::Newtype(Some(-7)), Shape::Tuple(9, 'é')];
        let value = (
            Shape::Struct { z: inner, y: HashMap::from([(10, true), (9, false)]), a: () },
            18_u128,
            -18_i128,
        );
        let same = serde_json::to_value(&value).unwrap();
        assert_eq!(canonical(&value).unwrap(), canonical(&same).unwrap());
        let written = r#"[{"Struct":{"a":null,"y":{"10":true,"9":false},"z":["Unit",{"Newtype":null},{"Newtype":-7},{"Tuple":[9,"é"]}]}},18,-18]"#;
        assert_eq!(canonical(&value).unwrap(), written);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map(".{0,4}", inner, 0..6).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        /// The canonical text means the same, and is the one that a map which sorts by itself would give.
        #[test]
        fn canonical_json_says_what_the_value_says(value in any_json()) {
            let text = canonical(&value).unwrap();
            prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
            prop_assert_eq!(&text, &sorted(&value));
            prop_assert_eq!(&canonical_text(&text).unwrap(), &text);
        }
    }

    fn sorted(value: &Value) -> String {
        match value {
            Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
            Value::Object(fields) => {
                let sorted_fields: BTreeMap<_, _> = fields.iter().collect();
                let field = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), sorted(value));
                format!("{{{}}}", sorted_fields.into_iter().map(field).collect::<Vec<_>>().join(","))
            }
            other => other.to_string(),
        }
    }
}
