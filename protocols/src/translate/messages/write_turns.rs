//! The items of a conversation as the provider's alternating turns.
//!
//! A provider refuses the whole request unless every call of a tool is answered at the very beginning of
//! the next user turn and every answer has its call. Other dialects ask for less, so results are brought
//! to their calls from wherever they stand, calls that were interrupted are answered by saying so, and
//! results without a call become text.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Value, json};

use super::model_rules::ModelRules;
use super::write_content::{
    input_object, part_block, result_block, safe_id, sealed_block, search_blocks, text_block,
};
use crate::conversation::{
    Item, Message, Part, Reasoning, Role, Text, ToolCall, ToolResult, Untranslatable, wire_name,
};

const INTERRUPTED: &str = "The call was interrupted before it had a result.";
const NOTHING_YET: &str = "(The conversation begins with the assistant.)";
const NO_MESSAGE: &str = "(There is no message; follow the instructions.)";
const GO_ON: &str = "(Continue from where your last message ends.)";

/// A user's or an assistant's turn; never empty.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) role: &'static str,
    pub(super) blocks: Vec<Value>,
}

/// How many items at the beginning are instructions that fit into `system`.
pub(super) fn leading_instructions(items: &[Item]) -> usize {
    let is_instruction = |item: &&Item| match item {
        Item::Message(Message { role: Role::System | Role::Developer, parts }) => {
            parts.iter().all(|part| matches!(part, Part::Text(_)))
        }
        Item::Message(_) | Item::Reasoning(_) | Item::ToolCall(_) => false,
        Item::ToolResult(_) | Item::WebSearch(_) => false,
    };
    items.iter().take_while(is_instruction).count()
}

/// # Errors
/// `NotCarried` for parts that providers of this dialect refuse.
pub(super) fn write_turns(
    items: &[Item],
    rules: &ModelRules,
    has_search_tool: bool,
) -> Result<Vec<Turn>, Untranslatable> {
    let mut writer = Writer {
        rules,
        has_search_tool,
        items,
        results: unclaimed_results(items),
        claimed: HashSet::new(),
        open_calls: vec![],
        ids: HashSet::new(),
        turns: vec![],
    };
    for (at, item) in items.iter().enumerate() {
        writer.item(at, item)?;
    }
    writer.finish()
}

fn unclaimed_results(items: &[Item]) -> HashMap<&str, VecDeque<usize>> {
    let mut results: HashMap<&str, VecDeque<usize>> = HashMap::new();
    for (at, item) in items.iter().enumerate() {
        if let Item::ToolResult(result) = item {
            results.entry(&result.call_id).or_default().push_back(at);
        }
    }
    results
}

struct OpenCall<'a> {
    call: &'a ToolCall,
    at: usize,
    /// What it is called at the provider, where ids are unique.
    id: String,
}

struct Writer<'a> {
    rules: &'a ModelRules,
    has_search_tool: bool,
    items: &'a [Item],
    /// Where the results of a call's id stand.
    results: HashMap<&'a str, VecDeque<usize>>,
    claimed: HashSet<usize>,
    open_calls: Vec<OpenCall<'a>>,
    ids: HashSet<String>,
    turns: Vec<Turn>,
}

impl<'a> Writer<'a> {
    fn item(&mut self, at: usize, item: &'a Item) -> Result<(), Untranslatable> {
        match item {
            Item::Message(message) => self.message(message),
            Item::Reasoning(reasoning) => {
                self.reasoning(reasoning);
                Ok(())
            }
            Item::ToolCall(call) => {
                self.call(at, call);
                Ok(())
            }
            Item::ToolResult(result) => self.result(at, result),
            Item::WebSearch(search) => {
                // Without the tool a provider may refuse its traces; what was found stands in the text.
                if self.has_search_tool {
                    for block in search_blocks(search) {
                        self.push("assistant", block);
                    }
                }
                Ok(())
            }
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), Untranslatable> {
        let (role, wrapped_in) = match message.role {
            Role::Assistant => ("assistant", None),
            Role::User => ("user", None),
            Role::System => ("user", Some("system_message")),
            Role::Developer => ("user", Some("developer_message")),
        };
        if role == "user" {
            self.answer_calls()?;
        }
        for part in &message.parts {
            let block = match (part, wrapped_in) {
                (Part::Text(text), Some(tag)) if !text.text.trim().is_empty() => {
                    let wrapped = format!("<{tag}>\n{}\n</{tag}>", text.text);
                    text_block(&Text { text: wrapped, cache: text.cache })
                }
                (Part::Image(_) | Part::File(_), None) if role == "assistant" => {
                    let reason = "it takes pictures and files in the user's messages only";
                    return Err(Untranslatable::NotCarried { field: "messages".into(), reason });
                }
                _ => part_block(part)?,
            };
            block.into_iter().for_each(|block| self.push(role, block));
        }
        Ok(())
    }

    fn reasoning(&mut self, reasoning: &Reasoning) {
        let mut block = reasoning.seal.as_ref().and_then(sealed_block);
        if block.is_none() && !self.rules.is_claude && !reasoning.texts.is_empty() {
            // Others verify no signatures, and some want their thinking back.
            let thinking = reasoning.texts.join("\n\n");
            block = Some(json!({ "type": "thinking", "thinking": thinking, "signature": "" }));
        }
        block.into_iter().for_each(|block| self.push("assistant", block));
    }

    fn call(&mut self, at: usize, call: &'a ToolCall) {
        let id = self.unique_id(&call.call_id);
        let name = wire_name(&call.name);
        let block = json!({ "type": "tool_use", "id": id, "name": name, "input": input_object(call) });
        self.push("assistant", block);
        self.open_calls.push(OpenCall { call, at, id });
    }

    fn result(&mut self, at: usize, result: &ToolResult) -> Result<(), Untranslatable> {
        self.answer_calls()?;
        if self.claimed.contains(&at) {
            return Ok(());
        }
        let text =
            format!("(Result of a tool call, `{}`, that is not in this conversation:)", result.call_id);
        self.push("user", json!({ "type": "text", "text": text }));
        for part in &result.parts {
            part_block(part)?.into_iter().for_each(|block| self.push("user", block));
        }
        Ok(())
    }

    /// Ends the assistant's turn: each call gets its result, in the order the results came in.
    fn answer_calls(&mut self) -> Result<(), Untranslatable> {
        let mut answers: Vec<(usize, Value)> = vec![];
        for open in std::mem::take(&mut self.open_calls) {
            let answer = match self.claim(&open) {
                Some((at, result)) => (at, result_block(result, &open.id)?),
                None => (usize::MAX, interrupted(&open.id)),
            };
            answers.push(answer);
        }
        answers.sort_by_key(|(at, _)| *at);
        answers.into_iter().for_each(|(_, block)| self.push("user", block));
        Ok(())
    }

    /// The first result after the call that no other call has.
    fn claim(&mut self, open: &OpenCall<'a>) -> Option<(usize, &'a ToolResult)> {
        let results = self.results.get_mut(open.call.call_id.as_str())?;
        let first_later = results.iter().position(|at| *at > open.at)?;
        let at = results.remove(first_later)?;
        self.claimed.insert(at);
        match &self.items[at] {
            Item::ToolResult(result) => Some((at, result)),
            Item::Message(_) | Item::Reasoning(_) | Item::ToolCall(_) | Item::WebSearch(_) => None,
        }
    }

    /// Some providers number their calls anew in every answer; here an id may stand once.
    fn unique_id(&mut self, call_id: &str) -> String {
        let plain = safe_id(call_id);
        let mut id = plain.clone();
        let mut copies = 1;
        while !self.ids.insert(id.clone()) {
            copies += 1;
            id = format!("{plain}_{copies}");
        }
        id
    }

    fn push(&mut self, role: &'static str, block: Value) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.push(block),
            _ => self.turns.push(Turn { role, blocks: vec![block] }),
        }
    }

    /// The conversation begins with the user, and ends with the user where the model cannot go on by itself.
    fn finish(mut self) -> Result<Vec<Turn>, Untranslatable> {
        self.answer_calls()?;
        let user = |text: &str| Turn { role: "user", blocks: vec![json!({ "type": "text", "text": text })] };
        match self.turns.first() {
            None => self.turns.push(user(NO_MESSAGE)),
            Some(turn) if turn.role == "assistant" => self.turns.insert(0, user(NOTHING_YET)),
            Some(_) => {}
        }
        if let Some(turn) = self.turns.last_mut()
            && turn.role == "assistant"
        {
            if self.rules.takes_prefill {
                trim_end(turn);
            } else {
                self.turns.push(user(GO_ON));
            }
        }
        Ok(self.turns)
    }
}

/// Words to be continued must not end in white space.
fn trim_end(turn: &mut Turn) {
    if let Some(Value::String(text)) = turn.blocks.last_mut().and_then(|block| block.get_mut("text")) {
        text.truncate(text.trim_end().len());
    }
}

fn interrupted(id: &str) -> Value {
    json!({ "type": "tool_result", "tool_use_id": id, "content": INTERRUPTED, "is_error": true })
}
