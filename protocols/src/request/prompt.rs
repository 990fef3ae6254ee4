//! The prompt of a text completion: a text, token numbers, or several of either.

use std::ops::Range;

use super::estimate::{Estimate, MAX_ITEMS, bytes_of};
use super::{BadRequest, InputEstimate};
use crate::json::{Token, Walk};

const WRONG: BadRequest = BadRequest::Wrong {
    field: "prompt",
    expected: "a text, an array of token numbers, or an array of either",
};

/// Estimates a prompt that stands at `offset` in its body, and says where each single prompt is.
pub(super) fn read(json: &str, offset: usize) -> Result<(InputEstimate, Vec<Range<usize>>), BadRequest> {
    let mut read = Prompts::default();
    let mut walk = Walk::new(json);
    let (mut start, mut has_loose_numbers) = (0, false);
    while let Some(token) = walk.next() {
        let (depth, at) = (walk.depth(), walk.token_range());
        match (token, depth) {
            (Token::Text { raw, bytes, .. }, 0 | 1) => {
                read.estimate.text_bytes += bytes_of(raw, bytes);
                read.add(at)?;
            }
            (Token::Scalar { raw }, 1 | 2) if raw.bytes().all(|b| b.is_ascii_digit()) => {
                read.tokens += 1;
                has_loose_numbers |= depth == 1;
            }
            (Token::Open { .. }, 1) | (Token::Close, 0) => {}
            (Token::Open { .. }, 2) => start = at.start,
            (Token::Close, 1) => read.add(start..at.end)?,
            (Token::Text { .. } | Token::Scalar { .. } | Token::Key { .. } | Token::Open { .. }, _)
            | (Token::Close, _) => return Err(WRONG),
        }
    }
    // Numbers that stand in no array of their own are one prompt together.
    if has_loose_numbers {
        if !read.items.is_empty() {
            return Err(WRONG);
        }
        read.add(0..json.len())?;
    }
    let Prompts { mut estimate, tokens, items } = read;
    estimate.items = items.len() as u64;
    let estimate = InputEstimate { fixed_tokens: 0, item_tokens: estimate.tokens() + tokens };
    Ok((estimate, items.into_iter().map(|item| offset + item.start..offset + item.end).collect()))
}

#[derive(Default)]
struct Prompts {
    estimate: Estimate,
    /// Given as numbers.
    tokens: u64,
    items: Vec<Range<usize>>,
}

impl Prompts {
    fn add(&mut self, at: Range<usize>) -> Result<(), BadRequest> {
        if self.items.len() == MAX_ITEMS {
            return Err(BadRequest::TooManyItems { field: "prompt" });
        }
        self.items.push(at);
        Ok(())
    }
}
