//! Splits a server-sent event stream into its frames, however the network has cut it, and loses no
//! byte: what the frames hold, joined, is the stream.
//!
//! A frame that lies whole inside a chunk is a slice of it. Where a frame ends depends on bytes
//! alone, never on how they arrive: a blank line ends it, ended by `\n`, `\r\n` or a lone `\r`. After
//! a line ended by `\r`, the blank line's `\r` ends the frame at once, or a stream that uses lone
//! `\r` would always be a frame late; a `\n` that follows opens the next frame, where it means nothing.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// The largest frame held: a generated image as base64 fits.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of the stream is larger than {MAX_FRAME_BYTES} bytes")]
pub struct FrameTooLarge;

/// One event as it came, its blank line included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
}

/// Where the last byte seen stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the start of a line (of the frame, too).
    LineStart,
    InLine,
    /// After the `\r` that ended a line; a `\n` may still belong to it.
    AfterCr,
    /// After a `\r` that is a blank line, when lines end in `\n`; a `\n` may still belong to it.
    BlankCr,
}

/// Holds what has arrived of the frame that is not complete.
#[derive(Debug)]
pub struct SseSplitter {
    carried: BytesMut,
    place: Place,
}

impl Default for SseSplitter {
    fn default() -> Self {
        SseSplitter { carried: BytesMut::new(), place: Place::LineStart }
    }
}

impl SseSplitter {
    /// Appends to `frames` every frame that `chunk` completes.
    ///
    /// # Errors
    /// Where a frame exceeds [`MAX_FRAME_BYTES`]; the stream cannot be read on.
    pub fn push(&mut self, chunk: &Bytes, frames: &mut Vec<Frame>) -> Result<(), FrameTooLarge> {
        let mut start = 0;
        let mut at = 0;
        while at < chunk.len() {
            let (next, end) = step(self.place, chunk, at);
            self.place = next;
            match end {
                Ends::No { resume_at } => at = resume_at,
                Ends::At(end) => {
                    frames.push(self.complete(chunk, start..end)?);
                    start = end;
                    at = end;
                }
            }
        }
        if self.carried.len() + (chunk.len() - start) > MAX_FRAME_BYTES {
            return Err(FrameTooLarge);
        }
        self.carried.extend_from_slice(&chunk[start..]);
        Ok(())
    }

    /// At the end of the stream: the last frame, if only its blank line is missing or open. A frame
    /// cut inside a line is dropped, as clients drop it.
    pub fn finish(mut self) -> Option<Frame> {
        if self.carried.is_empty() || self.place == Place::InLine {
            return None;
        }
        match self.place {
            Place::LineStart => self.carried.extend_from_slice(b"\n"),
            // A \n would only complete the line's own end.
            Place::AfterCr => self.carried.extend_from_slice(b"\r"),
            Place::BlankCr | Place::InLine => {}
        }
        Some(Frame { bytes: self.carried.freeze() })
    }

    fn complete(&mut self, chunk: &Bytes, range: Range<usize>) -> Result<Frame, FrameTooLarge> {
        if self.carried.len() + range.len() > MAX_FRAME_BYTES {
            return Err(FrameTooLarge);
        }
        if self.carried.is_empty() {
            return Ok(Frame { bytes: chunk.slice(range) });
        }
        self.carried.extend_from_slice(&chunk[range]);
        Ok(Frame { bytes: self.carried.split().freeze() })
    }
}

enum Ends {
    No { resume_at: usize },
    At(usize),
}

fn step(place: Place, chunk: &[u8], at: usize) -> (Place, Ends) {
    let next = at + 1;
    match (place, chunk[at]) {
        (Place::InLine, _) => match memchr2(b'\n', b'\r', &chunk[at..]) {
            None => (Place::InLine, Ends::No { resume_at: chunk.len() }),
            Some(found) if chunk[at + found] == b'\n' => {
                (Place::LineStart, Ends::No { resume_at: at + found + 1 })
            }
            Some(found) => (Place::AfterCr, Ends::No { resume_at: at + found + 1 }),
        },
        (Place::LineStart | Place::BlankCr, b'\n') => (Place::LineStart, Ends::At(next)),
        (Place::LineStart, b'\r') => (Place::BlankCr, Ends::No { resume_at: next }),
        (Place::AfterCr, b'\n') => (Place::LineStart, Ends::No { resume_at: next }),
        (Place::AfterCr, b'\r') => (Place::LineStart, Ends::At(next)),
        // The blank line was a lone \r; this byte opens the next frame and is looked at again.
        (Place::BlankCr, _) => (Place::LineStart, Ends::At(at)),
        (Place::LineStart | Place::AfterCr, _) => (Place::InLine, Ends::No { resume_at: next }),
    }
}

impl Frame {
    /// The frame as it came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The last `event:` line's value.
    pub fn event(&self) -> Option<&[u8]> {
        self.fields(b"event").last().map(|range| &self.bytes[range])
    }

    /// What the `data:` lines hold, several joined by `\n`; `None` for comments and blank frames.
    pub fn data(&self) -> Option<Cow<'_, [u8]>> {
        let mut lines = self.fields(b"data");
        let first = lines.next()?;
        let Some(second) = lines.next() else { return Some(Cow::Borrowed(&self.bytes[first])) };
        let mut joined = self.bytes[first].to_vec();
        for line in std::iter::once(second).chain(lines) {
            joined.push(b'\n');
            joined.extend_from_slice(&self.bytes[line]);
        }
        Some(Cow::Owned(joined))
    }

    /// Where the data stands in the frame, if it is a single line.
    pub fn data_range(&self) -> Option<Range<usize>> {
        let mut lines = self.fields(b"data");
        let first = lines.next()?;
        lines.next().is_none().then_some(first)
    }

    /// The frame with other data, its other lines kept.
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let mut frame = Vec::with_capacity(self.bytes.len() + 16);
        for (range, _) in self.lines() {
            let line = &self.bytes[range];
            if !line.is_empty() && value_of(line, b"data").is_none() {
                frame.extend_from_slice(line);
                frame.push(b'\n');
            }
        }
        for line in data.split(|byte| *byte == b'\n') {
            frame.extend_from_slice(b"data: ");
            frame.extend_from_slice(line);
            frame.push(b'\n');
        }
        frame.push(b'\n');
        frame.into()
    }

    /// The values of one field, in order.
    fn fields<'a>(&'a self, name: &'static [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        self.lines().filter_map(move |(line, _)| {
            let value = value_of(&self.bytes[line.clone()], name)?;
            Some(line.start + value.start..line.start + value.end)
        })
    }

    /// Each line without its end, and where the next begins. A byte order mark is no part of a line.
    fn lines(&self) -> impl Iterator<Item = (Range<usize>, usize)> + '_ {
        let mut at = if self.bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let start = at;
            let end =
                memchr2(b'\n', b'\r', &self.bytes[at..]).map_or(self.bytes.len(), |found| start + found);
            at = match self.bytes.get(end..) {
                Some([b'\r', b'\n', ..]) => end + 2,
                _ => end + 1,
            };
            Some((start..end, at))
        })
    }
}

/// Where the value stands in a line of the field `name`: after the colon and at most one space.
fn value_of(line: &[u8], name: &[u8]) -> Option<Range<usize>> {
    match line.strip_prefix(name)? {
        [] => Some(line.len()..line.len()),
        [b':', b' ', ..] => Some(name.len() + 2..line.len()),
        [b':', ..] => Some(name.len() + 1..line.len()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(chunks: &[&[u8]]) -> Vec<Frame> {
        let mut splitter = SseSplitter::default();
        let mut frames = vec![];
        for chunk in chunks {
            splitter.push(&Bytes::copy_from_slice(chunk), &mut frames).unwrap();
        }
        frames.extend(splitter.finish());
        frames
    }

    fn data(frames: &[Frame]) -> Vec<String> {
        frames
            .iter()
            .filter_map(Frame::data)
            .map(|data| String::from_utf8(data.into_owned()).unwrap())
            .collect()
    }

    const STREAMS: [&str; 8] = [
        "event: a\ndata: 1\n\nevent: b\ndata: 2\n\n",
        "event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
        "event: a\rdata: 1\r\rdata: 2\r\r",
        "\u{feff}data: 1\n\n: comment\n\ndata:2\n\n",
        "data: 1\ndata\ndata:  x\n\ndata: 2\n\n",
        "data: 1\r\n\rdata: 2\n\r\n\n\r\rdata: 3\r\r\ndata: 4\n\n",
        "\n\n\ndata: 1\n\ndata: 2",
        "data: é漢\n\ndata: 2\n",
    ];

    #[test]
    fn every_kind_of_line_end_closes_a_frame() {
        assert_eq!(data(&split(&[STREAMS[0].as_bytes()])), ["1", "2"]);
        assert_eq!(data(&split(&[STREAMS[1].as_bytes()])), ["1", "2"]);
        assert_eq!(data(&split(&[STREAMS[2].as_bytes()])), ["1", "2"]);
        assert_eq!(data(&split(&[STREAMS[3].as_bytes()])), ["1", "2"]);
        assert_eq!(data(&split(&[STREAMS[4].as_bytes()])), ["1\n\n x", "2"]);
        assert_eq!(data(&split(&[STREAMS[5].as_bytes()])), ["1", "2", "3", "4"]);
        assert_eq!(data(&split(&[STREAMS[6].as_bytes()])), ["1"]);
        assert_eq!(data(&split(&[STREAMS[7].as_bytes()])), ["é漢", "2"]);
    }

    #[test]
    fn a_stream_cut_at_any_two_bytes_gives_the_same_frames_and_every_byte() {
        for stream in STREAMS {
            let bytes = stream.as_bytes();
            let whole = split(&[bytes]);
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let cut = split(&[&bytes[..first], &bytes[first..second], &bytes[second..]]);
                    assert_eq!(cut, whole, "{stream:?} cut at {first} and {second}");
                }
            }
            let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(split(&one_by_one), whole, "{stream:?}");
            let joined: Vec<u8> = whole.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
            assert!(joined.starts_with(&bytes[..joined.len().min(bytes.len())]), "{stream:?}");
        }
    }

    #[test]
    fn a_frame_inside_a_chunk_is_not_copied() {
        let chunk = Bytes::from_static(b"data: 1\n\ndata: 2\n\n");
        let mut frames = vec![];
        SseSplitter::default().push(&chunk, &mut frames).unwrap();
        assert_eq!(frames[1].bytes().as_ptr(), chunk[9..].as_ptr());
    }

    #[test]
    fn the_event_name_and_the_data_are_told_apart() {
        let frames = split(&[b"id: 7\nevent: a.b\ndata: {\"x\":1}\n\n: only a comment\n\ndatabase: no\n\n"]);
        assert_eq!(frames[0].event(), Some(&b"a.b"[..]));
        assert_eq!(&frames[0].bytes()[frames[0].data_range().unwrap()], b"{\"x\":1}");
        assert_eq!((frames[1].event(), frames[1].data()), (None, None));
        assert_eq!(frames[2].data(), None);
        assert_eq!(&frames[0].with_data(b"y\nz")[..], b"id: 7\nevent: a.b\ndata: y\ndata: z\n\n");
    }

    #[test]
    fn a_frame_without_end_is_refused_at_the_limit() {
        let mut splitter = SseSplitter::default();
        let mut frames = vec![];
        let chunk = Bytes::from(vec![b'x'; MAX_FRAME_BYTES / 2]);
        splitter.push(&chunk, &mut frames).unwrap();
        splitter.push(&chunk, &mut frames).unwrap();
        assert_eq!(splitter.push(&Bytes::from_static(b"\n\n"), &mut frames), Err(FrameTooLarge));
        let mut splitter = SseSplitter::default();
        let chunk = Bytes::from([vec![b'x'; MAX_FRAME_BYTES], b"\n\n".to_vec()].concat());
        assert_eq!(splitter.push(&chunk, &mut frames), Err(FrameTooLarge));
    }

    proptest! {
        #[test]
        fn any_split_of_any_stream_gives_the_same_frames(
            parts in prop::collection::vec("data: a|event: b|:|\n|\r\n|\r|\n\n|\r\n\r\n|x", 0..24),
            size in 1usize..9,
        ) {
            let stream = parts.concat();
            let whole = split(&[stream.as_bytes()]);
            let chunks: Vec<&[u8]> = stream.as_bytes().chunks(size).collect();
            prop_assert_eq!(split(&chunks), whole);
        }
    }
}
