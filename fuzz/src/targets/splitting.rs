//! Splitting a stream: no byte is lost, and where frames end does not depend on how the bytes arrive.

use bytes::Bytes;
use codexapi_protocols::sse::{Frame, SseSplitter};

use super::check::{choice, whole_frames};

/// The first byte is the size of the chunks.
pub fn sse(data: &[u8]) {
    let (size, stream) = choice(data);
    let (whole, left) = split(stream, stream.len().max(1));
    let (pieces, left_of_pieces) = split(stream, size.max(1));
    assert_eq!(whole, pieces, "chunks of {size}");
    assert_eq!(left, left_of_pieces, "chunks of {size}");
    let mut joined: Vec<u8> = whole.iter().flat_map(|frame| frame.bytes().to_vec()).collect();
    assert!(stream.starts_with(&joined), "frames are the stream");
    if let Some(last) = &left {
        joined.extend_from_slice(last.bytes());
        assert!(joined.starts_with(stream) && joined.len() <= stream.len() + 1);
    }
    whole.iter().chain(&left).for_each(rewritten);
}

fn split(stream: &[u8], size: usize) -> (Vec<Frame>, Option<Frame>) {
    let mut splitter = SseSplitter::default();
    let mut frames = Vec::new();
    for chunk in stream.chunks(size) {
        splitter.push(&Bytes::copy_from_slice(chunk), &mut frames).expect("no frame is too large");
    }
    (frames, splitter.finish())
}

/// A frame with other data is one frame with that data.
fn rewritten(frame: &Frame) {
    let data = frame.data();
    if let (Some(data), Some(at)) = (&data, frame.data_range()) {
        assert_eq!(**data, frame.bytes()[at]);
    }
    for said in [data.as_deref().unwrap_or_default(), br#"{"a":1}"#] {
        let frames = whole_frames(&frame.with_data(said));
        assert_eq!(frames.len(), 1, "{frame:?}");
        assert_eq!(frames[0].data().as_deref(), Some(said));
        assert_eq!(frames[0].event(), frame.event());
    }
}
