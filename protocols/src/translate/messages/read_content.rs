//! The content of messages: blocks become items and the parts of messages.

use data_encoding::BASE64;
use serde_json::Value;

use super::fields::{Fields, wrong};
use crate::conversation::{
    CacheLifetime, CallKind, CallName, File, Image, Item, Message, Part, Reasoning, Role, Seal,
    SealedContent, Source, Text, ToolCall, ToolResult, Untranslatable, WebSearchCall,
};

const NOT_KNOWN: &str = "content of this type is known to Anthropic only";
const FILE_ID: &str = "files uploaded to Anthropic are not reachable from another provider";

/// Gathers items; parts that stand together in a message stay together.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) items: Vec<Item>,
    parts: Vec<Part>,
}

impl Reader {
    pub(super) fn message(&mut self, role: Role, mut message: Fields) -> Result<(), Untranslatable> {
        let path = message.path_of("content");
        match message.take("content") {
            Some(Value::String(text)) => self.parts.push(Part::Text(Text::plain(text))),
            Some(Value::Array(blocks)) => {
                for (at, block) in blocks.into_iter().enumerate() {
                    self.block(role, Fields::of(block, format!("{path}[{at}]"))?)?;
                }
            }
            _ => return Err(wrong(path, "a string or a list")),
        }
        self.close(role);
        Ok(())
    }

    /// Makes a message of the parts so far.
    fn close(&mut self, role: Role) {
        if !self.parts.is_empty() {
            let parts = std::mem::take(&mut self.parts);
            self.items.push(Item::Message(Message { role, parts }));
        }
    }

    fn item(&mut self, role: Role, item: Item) {
        self.close(role);
        self.items.push(item);
    }

    fn block(&mut self, role: Role, mut block: Fields) -> Result<(), Untranslatable> {
        let kind = block.need_text("type")?;
        match (role, kind.as_str()) {
            (Role::User, "tool_result") => {
                let result = tool_result(block)?;
                self.item(role, Item::ToolResult(result));
            }
            (Role::Assistant, "tool_use") => {
                let call = tool_use(block)?;
                self.item(role, Item::ToolCall(call));
            }
            (Role::Assistant, "thinking") => {
                let reasoning = thinking(block.need_text("thinking")?, block.text("signature")?);
                self.item(role, Item::Reasoning(reasoning));
            }
            (Role::Assistant, "redacted_thinking") => {
                let seal = match SealedContent::read(&block.need_text("data")?) {
                    SealedContent::Own(data) => Seal::Redacted { data },
                    SealedContent::Carried(seal) => seal,
                };
                self.item(role, Item::Reasoning(Reasoning { texts: vec![], seal: Some(seal) }));
            }
            (Role::Assistant, "server_tool_use") => {
                let call = web_search(block)?;
                self.item(role, Item::WebSearch(call));
            }
            // What a search found was for the provider that searched; what the model made of it is text.
            (Role::Assistant, "web_search_tool_result") => {}
            _ => parts(&kind, block, &mut self.parts)?,
        }
        Ok(())
    }
}

/// A string, or a list of text blocks.
pub(super) fn texts(content: Value, path: &str) -> Result<Vec<Text>, Untranslatable> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![Text::plain(text)]),
        Value::Array(blocks) => blocks,
        _ => return Err(wrong(path.to_owned(), "a string or a list of text blocks")),
    };
    let text = |(at, block)| {
        let mut block = Fields::of(block, format!("{path}[{at}]"))?;
        if block.need_text("type")? != "text" {
            return Err(block.wrong("type", "`text`"));
        }
        read_text(&mut block)
    };
    blocks.into_iter().enumerate().map(text).collect()
}

/// `cache_control` of a block, or of a whole request.
pub(super) fn cache_lifetime(block: &mut Fields) -> Result<Option<CacheLifetime>, Untranslatable> {
    let Some(mut control) = block.fields("cache_control")? else { return Ok(None) };
    match control.text("ttl")?.as_deref() {
        None | Some("5m") => Ok(Some(CacheLifetime::FiveMinutes)),
        Some("1h") => Ok(Some(CacheLifetime::OneHour)),
        Some(_) => Err(control.wrong("ttl", "`5m` or `1h`")),
    }
}

/// Thinking without a signature has no proof; one of another provider's comes out of its envelope.
pub(super) fn thinking(text: String, signature: Option<String>) -> Reasoning {
    let seal = match SealedContent::read(signature.as_deref().unwrap_or_default()) {
        SealedContent::Own(signature) if signature.is_empty() => None,
        SealedContent::Own(signature) => Some(Seal::Signature { text: text.clone(), signature }),
        // Our mark of thinking that never had a proof.
        SealedContent::Carried(Seal::Signature { signature, .. }) if signature.is_empty() => None,
        SealedContent::Carried(seal) => Some(seal),
    };
    let texts = if text.is_empty() { vec![] } else { vec![text] };
    Reasoning { texts, seal }
}

fn read_text(block: &mut Fields) -> Result<Text, Untranslatable> {
    Ok(Text { text: block.need_text("text")?, cache: cache_lifetime(block)? })
}

/// Blocks that may stand in any message, and in the result of a tool.
fn parts(kind: &str, mut block: Fields, into: &mut Vec<Part>) -> Result<(), Untranslatable> {
    match kind {
        "text" => into.push(Part::Text(read_text(&mut block)?)),
        "image" => {
            let source = source(block.need_fields("source")?)?;
            into.push(Part::Image(Image { source, detail: None, cache: cache_lifetime(&mut block)? }));
        }
        "document" => {
            if let Some(context) = block.text("context")? {
                into.push(Part::Text(Text::plain(context)));
            }
            let source = source(block.need_fields("source")?)?;
            let name = block.text("title")?;
            into.push(Part::File(File { source, name, cache: cache_lifetime(&mut block)? }));
        }
        "search_result" => into.push(Part::Text(search_result(&mut block)?)),
        "tool_reference" => {
            let name = block.need_text("tool_name")?;
            into.push(Part::Text(Text::plain(format!("The tool `{name}` is available."))));
        }
        _ => return Err(block.not_carried("type", NOT_KNOWN)),
    }
    Ok(())
}

fn source(mut source: Fields) -> Result<Source, Untranslatable> {
    match source.need_text("type")?.as_str() {
        "base64" => Ok(Source::Data {
            media_type: source.need_text("media_type")?,
            base64: source.need_text("data")?,
        }),
        "url" => Ok(Source::Url(source.need_text("url")?)),
        "text" => {
            let media_type = source.text("media_type")?.unwrap_or_else(|| "text/plain".into());
            let base64 = BASE64.encode(source.need_text("data")?.as_bytes());
            Ok(Source::Data { media_type, base64 })
        }
        "file" => Err(source.not_carried("type", FILE_ID)),
        _ => Err(source.not_carried("type", NOT_KNOWN)),
    }
}

/// A search's hit that the client found itself: its title, its source and its text.
fn search_result(block: &mut Fields) -> Result<Text, Untranslatable> {
    let mut lines = vec![block.need_text("title")?, block.need_text("source")?];
    let path = block.path_of("content");
    let content = texts(block.take("content").unwrap_or(Value::Null), &path)?;
    lines.extend(content.into_iter().map(|text| text.text));
    Ok(Text { text: lines.join("\n"), cache: cache_lifetime(block)? })
}

fn tool_use(mut block: Fields) -> Result<ToolCall, Untranslatable> {
    let input = block.take("input").filter(Value::is_object);
    let input = input.ok_or_else(|| block.wrong("input", "an object"))?;
    Ok(ToolCall {
        call_id: block.need_text("id")?,
        name: CallName::function(block.need_text("name")?),
        input: input.to_string(),
    })
}

fn tool_result(mut block: Fields) -> Result<ToolResult, Untranslatable> {
    let path = block.path_of("content");
    let mut content = vec![];
    match block.take("content") {
        None => {}
        Some(Value::String(text)) if text.is_empty() => {}
        Some(Value::String(text)) => content.push(Part::Text(Text::plain(text))),
        Some(Value::Array(blocks)) => {
            for (at, inner) in blocks.into_iter().enumerate() {
                let mut inner = Fields::of(inner, format!("{path}[{at}]"))?;
                let kind = inner.need_text("type")?;
                parts(&kind, inner, &mut content)?;
            }
        }
        Some(_) => return Err(wrong(path, "a string or a list")),
    }
    Ok(ToolResult {
        call_id: block.need_text("tool_use_id")?,
        kind: CallKind::Function,
        parts: content,
        is_error: block.boolean("is_error")?.unwrap_or(false),
        cache: cache_lifetime(&mut block)?,
    })
}

fn web_search(mut block: Fields) -> Result<WebSearchCall, Untranslatable> {
    if block.need_text("name")? != "web_search" {
        return Err(block.not_carried("name", "only searches of the web are known to other providers"));
    }
    let query = match block.fields("input")? {
        Some(mut input) => input.text("query")?,
        None => None,
    };
    Ok(WebSearchCall { id: block.need_text("id")?, query })
}
