//! Content of messages and tool results.

use serde_json::Value;

use super::fields::Fields;
use crate::conversation::{File, Image, Part, Source, Text, Untranslatable};

const STORED_FILE: &str =
    "files uploaded to OpenAI cannot be read elsewhere; send the file itself, or its address";

/// The content under `key`: a text, or a list of parts. Absent is `None`; an empty text has no parts.
pub(super) fn read_content(fields: &mut Fields, key: &str) -> Result<Option<Vec<Part>>, Untranslatable> {
    match fields.take(key) {
        None => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(Some(Vec::new())),
        Some(Value::String(text)) => Ok(Some(vec![Part::Text(Text::plain(text))])),
        Some(Value::Array(parts)) => {
            let path = fields.path_of(key);
            let read = |(at, part)| read_part(Fields::of(part, format!("{path}[{at}]"))?);
            parts.into_iter().enumerate().map(read).collect::<Result<_, _>>().map(Some)
        }
        Some(_) => Err(fields.wrong(key, "a text or a list of parts")),
    }
}

fn read_part(mut part: Fields) -> Result<Part, Untranslatable> {
    let kind = part.kind()?.ok_or_else(|| part.wrong("type", "the kind of part"))?;
    match kind.as_str() {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            Ok(Part::Text(Text::plain(part.need_text("text")?)))
        }
        "refusal" => Ok(Part::Refusal(part.need_text("refusal")?)),
        "input_image" => read_image(part),
        "input_file" => read_file(part),
        "input_audio" => Err(part.refused("sound is not understood there")),
        "encrypted_content" => Err(part.refused("only OpenAI can read it")),
        _ => {
            Err(part
                .wrong("type", "one of input_text, output_text, text, refusal, input_image and input_file"))
        }
    }
}

fn read_image(mut part: Fields) -> Result<Part, Untranslatable> {
    if part.get("file_id").is_some() {
        return Err(part.not_carried("file_id", STORED_FILE));
    }
    let detail = part.text("detail")?;
    let address = match part.take("image_url") {
        // Chat's form, which some programs send here too.
        Some(Value::Object(members)) => Fields::new(members, part.path_of("image_url")).need_text("url")?,
        Some(Value::String(url)) => url,
        Some(_) | None => return Err(part.wrong("image_url", "an https: or data: URL")),
    };
    let source = read_source(address).ok_or_else(|| part.wrong("image_url", "an https: or data: URL"))?;
    Ok(Part::Image(Image { source, detail, cache: None }))
}

fn read_file(mut part: Fields) -> Result<Part, Untranslatable> {
    if part.get("file_id").is_some() {
        return Err(part.not_carried("file_id", STORED_FILE));
    }
    let name = part.text("filename")?;
    let data = part.text("file_data")?;
    let url = part.text("file_url")?;
    let source = match (data, url) {
        (Some(data), _) => read_data(data).ok_or_else(|| part.wrong("file_data", "a data: URL in base64"))?,
        (None, Some(url)) => {
            read_source(url).ok_or_else(|| part.wrong("file_url", "an https: or data: URL"))?
        }
        (None, None) => return Err(part.wrong("file_data", "there, or else file_url")),
    };
    Ok(Part::File(File { source, name, cache: None }))
}

fn read_source(address: String) -> Option<Source> {
    if address.starts_with("https://") || address.starts_with("http://") {
        return Some(Source::Url(address));
    }
    read_data(address)
}

/// `data:<media type>[;…];base64,<content>`, the content moved out.
fn read_data(mut address: String) -> Option<Source> {
    let comma = address.find(',')?;
    let head = address[..comma].strip_prefix("data:")?.strip_suffix(";base64")?;
    let media_type = head.split(';').next()?.to_owned();
    if media_type.is_empty() {
        return None;
    }
    address.drain(..=comma);
    Some(Source::Data { media_type, base64: address })
}
