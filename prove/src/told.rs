//! What a client was told, read from an answer as the client reads it.

use http::StatusCode;
use http::header::RETRY_AFTER;
use serde_json::Value;

/// What one client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// The whole answer, with the id in it.
    Complete { response_id: String },
    /// The answer had begun, and was then said to have failed.
    Failed { response_id: Option<String> },
    /// A status instead of an answer.
    Refused { status: StatusCode, retry_after: Option<String>, body: String },
    /// The connection ended before the answer did, or was not made.
    Cut,
}

impl Told {
    /// By an answer that was read to its end.
    pub fn by(response: &Head, streaming: bool, body: &str) -> Self {
        if response.status != StatusCode::OK {
            let Head { status, retry_after } = response.clone();
            return Self::Refused { status, retry_after, body: body.to_owned() };
        }
        if streaming {
            return Self::by_stream(body);
        }
        match serde_json::from_str::<Value>(body).ok().as_ref().and_then(|body| body["id"].as_str()) {
            Some(id) => Self::Complete { response_id: id.to_owned() },
            None => Self::Failed { response_id: None },
        }
    }

    /// By as much of a stream as there is: complete only where one of the dialect's last words has come.
    pub fn by_stream(body: &str) -> Self {
        let whole_lines = body.rfind('\n').map_or("", |end| &body[..end]);
        let data: Vec<&str> = whole_lines.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let events: Vec<Value> = data.iter().filter_map(|data| serde_json::from_str(data).ok()).collect();
        let response_id = events.iter().find_map(|event| {
            let id = [&event["response"]["id"], &event["message"]["id"], &event["id"]];
            id.into_iter().find_map(Value::as_str).map(str::to_owned)
        });
        if events.iter().any(says_failed) {
            Self::Failed { response_id }
        } else if events.iter().any(says_finished) || data.last() == Some(&"[DONE]") {
            match response_id {
                Some(response_id) => Self::Complete { response_id },
                None => Self::Failed { response_id },
            }
        } else {
            Self::Cut
        }
    }
}

/// What stands before an answer.
#[derive(Clone, Debug)]
pub struct Head {
    pub status: StatusCode,
    pub retry_after: Option<String>,
}

impl Head {
    pub fn of(response: &reqwest::Response) -> Self {
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Self { status: response.status(), retry_after: retry_after.map(str::to_owned) }
    }
}

fn says_failed(event: &Value) -> bool {
    event["type"] == "response.failed" || event["type"] == "error" || event["error"].is_object()
}

fn says_finished(event: &Value) -> bool {
    let kinds = ["response.completed", "response.incomplete", "message_stop"];
    kinds.iter().any(|kind| event["type"] == *kind)
        || event["delta"]["stop_reason"].is_string()
        || event["choices"][0]["finish_reason"].is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_complete_from_the_first_frame_that_says_so_in_every_dialect() {
        for (frames, last) in [
            (
                r#"data: {"type":"response.created","response":{"id":"r"}}"#,
                r#"data: {"type":"response.completed","response":{"id":"r"}}"#,
            ),
            (
                r#"data: {"id":"r","choices":[{"delta":{},"finish_reason":null}]}"#,
                r#"data: {"id":"r","choices":[{"delta":{},"finish_reason":"stop"}]}"#,
            ),
            (
                r#"data: {"type":"message_start","message":{"id":"r"}}"#,
                r#"data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
            ),
        ] {
            assert_eq!(Told::by_stream(&format!("{frames}\n\n")), Told::Cut);
            assert_eq!(Told::by_stream(&format!("{frames}\n\n{last}")), Told::Cut, "half a line");
            let complete = Told::Complete { response_id: "r".into() };
            assert_eq!(Told::by_stream(&format!("{frames}\n\n{last}\n\n")), complete);
        }
    }

    #[test]
    fn a_failure_is_one_whatever_was_said_before() {
        let failed = Told::Failed { response_id: Some("r".into()) };
        let begun = "data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n";
        for last in [
            r#"data: {"type":"response.failed","response":{"id":"r"}}"#,
            r#"data: {"type":"error","error":{"type":"api_error"}}"#,
            r#"data: {"error":{"message":"no"}}"#,
        ] {
            assert_eq!(Told::by_stream(&format!("{begun}{last}\n\n")), failed);
        }
    }
}
