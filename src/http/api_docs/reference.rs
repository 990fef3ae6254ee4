//! From the API document to what the page shows of it: every operation, by who it is for, and every schema in short.

use serde_json::Value;

use crate::config::BrandSettings;
use crate::http::Route;
use crate::http::auth::Audience;

/// What every operator's URL begins with.
const OPERATOR_PATH: &str = "/admin";

/// Everything the page shows of the document.
pub(super) struct Reference {
    pub parts: Vec<Part>,
    pub schemas: Vec<Schema>,
}

/// The operations of customers, or of operators.
pub(super) struct Part {
    pub id: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    pub groups: Vec<Group>,
}

/// The operations of one tag.
pub(super) struct Group {
    pub tag: String,
    pub about: String,
    pub operations: Vec<Operation>,
}

pub(super) struct Operation {
    /// Its place on the page.
    pub id: String,
    pub method: String,
    pub path: String,
    pub summary: String,
    pub description: String,
    pub audience: &'static str,
    pub parameters: Vec<Field>,
    pub shapes: Vec<Shape>,
    pub example: Option<String>,
}

/// What is sent or answered.
pub(super) struct Shape {
    pub title: String,
    pub links_to: Option<String>,
    pub text: String,
}

/// A parameter, or a field of a schema.
pub(super) struct Field {
    pub name: String,
    pub kind: String,
    /// The schema its kind names.
    pub links_to: Option<String>,
    pub required: bool,
    pub text: String,
}

pub(super) struct Schema {
    pub name: String,
    pub text: String,
    pub rows: Vec<Field>,
}

/// Reads the document; who may call an operation comes from the map of routes.
pub(super) fn of(document: &Value, routes: &[Route], base_url: &str, brand: &BrandSettings) -> Reference {
    let empty = serde_json::Map::new();
    let paths = document["paths"].as_object().unwrap_or(&empty);
    let mut customers: Vec<Group> = Vec::new();
    let mut operators: Vec<Group> = Vec::new();
    for (path, methods) in paths {
        for (method, operation) in methods.as_object().unwrap_or(&empty) {
            let part = if path.starts_with(OPERATOR_PATH) { &mut operators } else { &mut customers };
            let tag = operation["tags"][0].as_str().unwrap_or("other");
            let shown = Operation {
                id: id_of(method, path),
                method: method.to_uppercase(),
                path: path.clone(),
                summary: text(&operation["summary"]),
                description: text(&operation["description"]),
                audience: audience(routes, method, path),
                parameters: parameters(operation),
                shapes: shapes(operation),
                example: example(path, method, base_url, brand),
            };
            match part.iter_mut().find(|group| group.tag == tag) {
                Some(group) => group.operations.push(shown),
                None => {
                    let about = about_tag(document, tag);
                    part.push(Group { tag: tag.into(), about, operations: vec![shown] });
                }
            }
        }
    }
    for groups in [&mut customers, &mut operators] {
        groups.sort_by_key(|group| place_of_tag(document, &group.tag));
    }
    let customers = Part {
        id: "customers",
        title: "For customers",
        about: "What a customer's token opens, and what is open to everybody.",
        groups: customers,
    };
    let operators = Part {
        id: "operators",
        title: "For operators",
        about: "These need an admin key; a customer's token is refused.",
        groups: operators,
    };
    let parts = [customers, operators].into_iter().filter(|part| !part.groups.is_empty()).collect();
    let known = document["components"]["schemas"].as_object().unwrap_or(&empty);
    let schemas = known.iter().map(|(name, schema)| Schema {
        name: name.clone(),
        text: text(&schema["description"]),
        rows: fields(schema),
    });
    Reference { parts, schemas: schemas.collect() }
}

/// Tags stand on the page in the document's order; those it does not describe come last.
fn place_of_tag(document: &Value, tag: &str) -> usize {
    tags(document).iter().position(|known| known["name"] == tag).unwrap_or(usize::MAX)
}

fn about_tag(document: &Value, tag: &str) -> String {
    let known = tags(document).iter().find(|known| known["name"] == tag);
    known.map(|known| text(&known["description"])).unwrap_or_default()
}

fn tags(document: &Value) -> &[Value] {
    document["tags"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn audience(routes: &[Route], method: &str, path: &str) -> &'static str {
    let is_it = |route: &&Route| {
        route.method.as_str().eq_ignore_ascii_case(method) && route.path.replace("{*", "{") == path
    };
    match routes.iter().find(is_it).map(|route| route.audience) {
        Some(Audience::Public) => "everybody, without a token",
        Some(Audience::Customer) => "a customer, about their own account",
        Some(Audience::Payer | Audience::Generation) => {
            "whoever generations are billed to: a customer, or one of the operator's API tokens"
        }
        Some(Audience::Admin) => "an operator, with an admin key",
        None => "see the operation it goes with",
    }
}

fn parameters(operation: &Value) -> Vec<Field> {
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    parameters
        .iter()
        .map(|parameter| {
            let (kind, links_to) = kind(&parameter["schema"]);
            let place = parameter["in"].as_str().unwrap_or("query");
            Field {
                name: text(&parameter["name"]),
                kind: format!("{kind}, in the {place}"),
                links_to,
                required: parameter["required"].as_bool().unwrap_or(false),
                text: text(&parameter["description"]),
            }
        })
        .collect()
}

fn shapes(operation: &Value) -> Vec<Shape> {
    let mut shapes = Vec::new();
    if let Some(body) = operation.get("requestBody") {
        shapes.push(shape("Body".into(), body));
    }
    let answers = operation["responses"].as_object().into_iter().flatten();
    shapes.extend(answers.map(|(status, answer)| shape(format!("Answer {status}"), answer)));
    shapes
}

fn shape(title: String, described: &Value) -> Shape {
    let contents = described["content"].as_object().into_iter().flatten();
    let (media, schema) = contents
        .map(|(media, content)| (media.as_str(), &content["schema"]))
        .next()
        .unwrap_or(("", &Value::Null));
    let links_to = reference(schema);
    let mut text = text(&described["description"]);
    if text.is_empty() && links_to.is_none() {
        text = if media.is_empty() { "no body".into() } else { media.into() };
    }
    Shape { title, links_to, text }
}

/// A schema's fields, those of what it is made of included.
fn fields(schema: &Value) -> Vec<Field> {
    let mut rows: Vec<Field> = Vec::new();
    for part in schema["allOf"].as_array().map(Vec::as_slice).unwrap_or_default() {
        match reference(part) {
            Some(name) => rows.push(Field {
                name: "…".into(),
                kind: format!("the fields of {name}"),
                links_to: Some(name),
                required: false,
                text: String::new(),
            }),
            None => rows.extend(fields(part)),
        }
    }
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let (kind, links_to) = kind(field);
        rows.push(Field {
            required: required.iter().any(|known| known == name),
            name: name.clone(),
            kind,
            links_to,
            text: text(&field["description"]),
        });
    }
    rows
}

/// What a value is, in a few words, and the schema that says more.
fn kind(schema: &Value) -> (String, Option<String>) {
    if let Some(name) = reference(schema) {
        return (name.clone(), Some(name));
    }
    if let Some(options) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let kinds: Vec<_> = options.iter().map(kind).collect();
        let words: Vec<_> = kinds.iter().map(|(kind, _)| kind.as_str()).collect();
        return (words.join(" or "), kinds.iter().find_map(|(_, links_to)| links_to.clone()));
    }
    if schema["type"] == "array" {
        let (inner, links_to) = kind(&schema["items"]);
        return (format!("list of {inner}"), links_to);
    }
    let word = match &schema["type"] {
        Value::String(word) => word.clone(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => "any JSON".into(),
    };
    match schema["format"].as_str() {
        Some(format) => (format!("{word} ({format})"), None),
        None => (word, None),
    }
}

fn reference(schema: &Value) -> Option<String> {
    schema["$ref"].as_str()?.rsplit('/').next().map(str::to_owned)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().trim().to_owned()
}

/// `post` and `/v1/responses/{id}` are `post-v1-responses-id`.
fn id_of(method: &str, path: &str) -> String {
    let words = path.split(|character: char| !character.is_ascii_alphanumeric() && character != '_');
    words.filter(|word| !word.is_empty()).fold(method.to_owned(), |id, word| id + "-" + word)
}

/// A command for each route that generates, ready to paste.
fn example(path: &str, method: &str, base_url: &str, brand: &BrandSettings) -> Option<String> {
    let (model, claude) = (&brand.codex_model, &brand.claude_model);
    let body = match (method, path) {
        ("post", "/v1/responses") => format!(r#"{{"model":"{model}","input":"Say hello","stream":true}}"#),
        ("post", "/v1/chat/completions") => {
            format!(r#"{{"model":"{model}","messages":[{{"role":"user","content":"Say hello"}}]}}"#)
        }
        ("post", "/v1/completions") => format!(r#"{{"model":"{model}","prompt":"Say hello"}}"#),
        ("post", "/v1/messages") => {
            format!(
                r#"{{"model":"{claude}","max_tokens":256,"messages":[{{"role":"user","content":"Say hello"}}]}}"#
            )
        }
        ("post", "/v1/messages/count_tokens") => {
            format!(r#"{{"model":"{claude}","messages":[{{"role":"user","content":"Say hello"}}]}}"#)
        }
        _ => return None,
    };
    Some(format!(
        "curl -sN {base_url}{path} -H \"Authorization: Bearer $TOKEN\" \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'"
    ))
}
