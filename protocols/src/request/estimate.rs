//! Input tokens, estimated in one walk over the JSON: cheap enough for every request, on the dear
//! side, and no way to hide text from it.
//!
//! Text is counted in bytes; pictures, files and sound by the piece, because their base64 says
//! nothing of what a provider bills. Something is taken for media only where the dialect puts media:
//! a `data:` URL in a message's text, or a field named `image_url` in a tool's schema, is text.

use std::ops::Range;

use super::BadRequest;
use crate::json::{Token, Walk};

/// Bytes of text (UTF-8, escapes resolved) that count as one token; real text has about four.
pub const TEXT_BYTES_PER_TOKEN: u64 = 3;

/// Bytes of sealed reasoning (`encrypted_content`, `signature`) per token: base64 takes a third more
/// than what it seals, and the text inside has about four bytes a token.
pub const OPAQUE_BYTES_PER_TOKEN: u64 = 6;

/// For an item's role, type and separators.
pub const ITEM_TOKENS: u64 = 4;

/// One picture: what a full-size one costs at Anthropic, and more than at OpenAI.
pub const IMAGE_TOKENS: u64 = 1_600;

/// One sound clip: about three minutes of speech.
pub const AUDIO_TOKENS: u64 = 2_000;

/// One file: a PDF of about ten pages.
pub const FILE_TOKENS: u64 = 20_000;

/// Keys longer than any dialect's own are text in disguise.
const LONGEST_FREE_KEY_BYTES: usize = 32;

/// Nesting of a body; far above what a tool's schema needs.
pub const MAX_DEPTH: usize = 256;

/// Items or messages of one request; each costs a digest.
pub const MAX_ITEMS: usize = 100_000;

/// What has been counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Estimate {
    pub text_bytes: u64,
    pub opaque_bytes: u64,
    pub media_tokens: u64,
    pub items: u64,
}

impl Estimate {
    pub fn tokens(&self) -> u64 {
        self.text_bytes.div_ceil(TEXT_BYTES_PER_TOKEN)
            + self.opaque_bytes.div_ceil(OPAQUE_BYTES_PER_TOKEN)
            + self.media_tokens
            + self.items * ITEM_TOKENS
    }

    /// Adds a value in which everything is text: instructions, tools, schemas.
    pub fn add_plain(&mut self, json: &str, measure: Measure) -> Result<(), BadRequest> {
        let mut walk = Walk::new(json);
        while let Some(token) = walk.next() {
            if walk.depth() > MAX_DEPTH {
                return Err(BadRequest::TooDeep);
            }
            match token {
                Token::Text { raw, bytes, .. } => self.text_bytes += measure(raw, bytes),
                Token::Key { raw } => self.add_key(raw),
                Token::Scalar { raw } => self.add_scalar(raw),
                Token::Open { .. } | Token::Close => {}
            }
        }
        Ok(())
    }

    fn add_key(&mut self, raw: &str) {
        if raw.len() > LONGEST_FREE_KEY_BYTES {
            self.text_bytes += raw.len() as u64;
        }
    }

    /// Numbers are read by models digit by digit; `null` and booleans are structure.
    fn add_scalar(&mut self, raw: &str) {
        if !matches!(raw, "null" | "true" | "false") {
            self.text_bytes += raw.len() as u64;
        }
    }
}

/// What an object is, by the key it stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Ordinary,
    ImageUrl,
    InputAudio,
    /// Anthropic's `source`, of an image or a document.
    Source,
    /// The model's own arguments to a tool: any key may occur, and all of it is text.
    Plain,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unknown,
    Image,
    /// `base64`, `url`, `file`: a source that is not text.
    MediaSource,
    RedactedThinking,
    ImageCall,
}

/// An object or array that is being read.
#[derive(Clone, Copy, Debug)]
struct Level<'a> {
    place: Place,
    kind: Kind,
    /// `media_type` names a picture.
    image_type: bool,
    /// `data` or `result`, and its bytes: what it is depends on `type`, which may come later.
    undecided: Option<(&'a str, u64)>,
}

/// How much a text is: given as written, and its bytes once escapes are resolved.
type Measure = fn(&str, u64) -> u64;

/// Input items as they are read: their estimate and where each stands.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    /// Its `text_bytes` are in the unit of the measure.
    pub estimate: Estimate,
    pub items: Vec<Range<usize>>,
    levels: Vec<Level<'a>>,
    measure: Measure,
}

impl<'a> Input<'a> {
    pub fn measured_by(measure: Measure) -> Self {
        Input { estimate: Estimate::default(), items: Vec::new(), levels: Vec::new(), measure }
    }

    /// Reads `input` or `messages`, which stands at `offset` in its body. A single text is one item.
    pub fn read(&mut self, field: &'static str, json: &'a str, offset: usize) -> Result<(), BadRequest> {
        if !json.starts_with('[') {
            self.estimate.add_plain(json, self.measure)?;
            self.add_item(field, offset..offset + json.len())?;
            return Ok(());
        }
        let mut walk = Walk::new(json);
        let mut item_start = 0;
        while let Some(token) = walk.next() {
            let depth = walk.depth();
            if depth > MAX_DEPTH {
                return Err(BadRequest::TooDeep);
            }
            let at = walk.token_range();
            let is_open = matches!(token, Token::Open { .. });
            if is_open && depth == 2 {
                item_start = at.start;
            }
            self.count(token);
            let ends_item = match token {
                Token::Close => depth == 1,
                Token::Text { .. } | Token::Scalar { .. } => depth == 1,
                Token::Open { .. } | Token::Key { .. } => false,
            };
            if ends_item {
                let start = if token == Token::Close { item_start } else { at.start };
                self.add_item(field, offset + start..offset + at.end)?;
            }
        }
        Ok(())
    }

    fn add_item(&mut self, field: &'static str, at: Range<usize>) -> Result<(), BadRequest> {
        if self.items.len() == MAX_ITEMS {
            return Err(BadRequest::TooManyItems { field });
        }
        self.estimate.items += 1;
        self.items.push(at);
        Ok(())
    }

    fn count(&mut self, token: Token<'a>) {
        match token {
            Token::Open { key } => self.open(key),
            Token::Close => self.close(),
            Token::Key { raw } => self.estimate.add_key(raw),
            Token::Scalar { raw } => self.estimate.add_scalar(raw),
            Token::Text { key, raw, bytes } => self.text(key, raw, bytes),
        }
    }

    fn open(&mut self, key: &str) {
        let inherited = self.levels.last().is_some_and(|level| level.place == Place::Plain);
        let place = match key {
            _ if inherited => Place::Plain,
            "input" => Place::Plain,
            "image_url" => Place::ImageUrl,
            "input_audio" => Place::InputAudio,
            "source" => Place::Source,
            _ => Place::Ordinary,
        };
        self.levels.push(Level { place, kind: Kind::Unknown, image_type: false, undecided: None });
    }

    fn text(&mut self, key: &str, raw: &'a str, bytes: u64) {
        let Some(level) = self.levels.last_mut() else { return };
        match (level.place, key) {
            (Place::ImageUrl, "url") => self.estimate.media_tokens += IMAGE_TOKENS,
            (Place::InputAudio, "data") => self.estimate.media_tokens += AUDIO_TOKENS,
            (Place::Source, "url" | "file_id") => {}
            (Place::Source, "media_type") => level.image_type = raw.starts_with("image"),
            (Place::Plain, _) => self.add_text(raw, bytes),
            (_, "image_url") => self.estimate.media_tokens += IMAGE_TOKENS,
            (_, "file_data" | "file_url" | "file_id") => self.estimate.media_tokens += FILE_TOKENS,
            (_, "encrypted_content" | "signature") => self.estimate.opaque_bytes += bytes,
            (_, "data" | "result") => {
                if let Some((raw, bytes)) = level.undecided.replace((raw, bytes)) {
                    self.add_text(raw, bytes);
                }
            }
            (_, "type") => {
                level.kind = kind_of(raw);
                self.add_text(raw, bytes);
            }
            _ => self.add_text(raw, bytes),
        }
    }

    fn add_text(&mut self, raw: &str, bytes: u64) {
        self.estimate.text_bytes += (self.measure)(raw, bytes);
    }

    fn close(&mut self) {
        let Some(level) = self.levels.pop() else { return };
        let in_image = self.levels.last().is_some_and(|outer| outer.kind == Kind::Image);
        match (level.place, level.kind) {
            (Place::Source, Kind::MediaSource) => {
                let image = level.image_type || in_image;
                self.estimate.media_tokens += if image { IMAGE_TOKENS } else { FILE_TOKENS };
            }
            (_, Kind::RedactedThinking) => {
                self.estimate.opaque_bytes += level.undecided.map_or(0, |(_, bytes)| bytes);
            }
            (_, Kind::ImageCall) => self.estimate.media_tokens += IMAGE_TOKENS,
            (_, Kind::Unknown | Kind::Image | Kind::MediaSource) => {
                if let Some((raw, bytes)) = level.undecided {
                    self.add_text(raw, bytes);
                }
            }
        }
    }
}

/// The measure of an estimate.
pub(crate) fn bytes_of(_raw: &str, bytes: u64) -> u64 {
    bytes
}

fn kind_of(raw: &str) -> Kind {
    match raw {
        "image" => Kind::Image,
        "base64" | "url" | "file" => Kind::MediaSource,
        "redacted_thinking" => Kind::RedactedThinking,
        "image_generation_call" => Kind::ImageCall,
        _ => Kind::Unknown,
    }
}
