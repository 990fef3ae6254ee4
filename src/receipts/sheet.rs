//! One page, drawn from the top down. Nothing on it depends on when it is drawn.

use chrono::{DateTime, Datelike, Timelike, Utc};
use pdf_writer::{Content, Date, Finish, Name, Pdf, Rect, Ref, Str, TextStr};

use super::latin;

/// A4, in points.
const WIDTH: f32 = 595.0;
const HEIGHT: f32 = 842.0;
const MARGIN: f32 = 50.0;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const INFO: Ref = Ref::new(5);

/// Two of the fonts that every reader of PDF has.
#[derive(Clone, Copy)]
pub enum Font {
    Plain,
    Bold,
}

impl Font {
    const ALL: [Self; 2] = [Self::Plain, Self::Bold];

    fn name(self) -> Name<'static> {
        match self {
            Self::Plain => Name(b"Plain"),
            Self::Bold => Name(b"Bold"),
        }
    }

    fn base(self) -> Name<'static> {
        match self {
            Self::Plain => Name(b"Helvetica"),
            Self::Bold => Name(b"Helvetica-Bold"),
        }
    }

    fn id(self) -> Ref {
        match self {
            Self::Plain => Ref::new(6),
            Self::Bold => Ref::new(7),
        }
    }
}

pub struct Sheet {
    content: Content,
    y: f32,
}

impl Sheet {
    pub fn new() -> Self {
        Self { content: Content::new(), y: HEIGHT - MARGIN }
    }

    pub fn line(&mut self, font: Font, size: f32, text: &str) {
        self.y -= size * 1.4;
        self.text(font, size, MARGIN, text);
    }

    /// A text, and an amount at the right edge.
    pub fn row(&mut self, font: Font, size: f32, text: &str, amount: &str) {
        self.line(font, size, text);
        let left = WIDTH - MARGIN - size * amount.chars().map(width).sum::<f32>() / 1_000.0;
        self.text(font, size, left, amount);
    }

    pub fn gap(&mut self, points: f32) {
        self.y -= points;
    }

    pub fn rule(&mut self) {
        self.y -= 6.0;
        self.content.set_line_width(0.5);
        self.content.move_to(MARGIN, self.y).line_to(WIDTH - MARGIN, self.y).stroke();
    }

    fn text(&mut self, font: Font, size: f32, x: f32, text: &str) {
        self.content
            .begin_text()
            .set_font(font.name(), size)
            .next_line(x, self.y)
            .show(Str(&latin::encoded(text)))
            .end_text();
    }

    pub fn finish(self, title: &str, created: DateTime<Utc>) -> Vec<u8> {
        let mut pdf = Pdf::new();
        pdf.catalog(CATALOG).pages(PAGES).lang(TextStr("en"));
        pdf.pages(PAGES).kids([PAGE]).count(1);
        let mut page = pdf.page(PAGE);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(PAGES).contents(CONTENT);
        let mut resources = page.resources();
        let mut fonts = resources.fonts();
        for font in Font::ALL {
            fonts.pair(font.name(), font.id());
        }
        fonts.finish();
        resources.finish();
        page.finish();
        for font in Font::ALL {
            pdf.type1_font(font.id()).base_font(font.base()).encoding_predefined(Name(b"WinAnsiEncoding"));
        }
        pdf.stream(CONTENT, &self.content.finish());
        pdf.document_info(INFO).title(TextStr(title)).creation_date(date(created));
        pdf.finish()
    }
}

fn date(at: DateTime<Utc>) -> Date {
    let small = |number: u32| u8::try_from(number).unwrap_or(0);
    Date::new(u16::try_from(at.year()).unwrap_or(0))
        .month(small(at.month()))
        .day(small(at.day()))
        .hour(small(at.hour()))
        .minute(small(at.minute()))
        .second(small(at.second()))
        .utc_offset_hour(0)
}

/// Thousandths of the font's size; both fonts agree for all that amounts are made of.
fn width(letter: char) -> f32 {
    match letter {
        '.' | ' ' => 278.0,
        'U' | 'D' => 722.0,
        'S' => 667.0,
        _ => 556.0,
    }
}
