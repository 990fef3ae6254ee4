//! The page at a session's `url`: what is bought, and buttons that pay, decline, or turn back.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Form, Path, State as Shared};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::cards::Card;
use crate::objects::checkout;
use crate::refusal::Refusal;
use crate::server::State;
use crate::world::{World, integer, text};

const SESSION_PLACEHOLDER: &str = "{CHECKOUT_SESSION_ID}";

pub fn router() -> Router<Arc<State>> {
    Router::new().route("/c/pay/{id}", get(show).post(press)).route("/c/left", get(left))
}

#[derive(Deserialize)]
struct Pressed {
    action: Action,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Pay,
    Decline,
    Cancel,
}

async fn show(Shared(state): Shared<Arc<State>>, Path(id): Path<String>) -> Response {
    state.change(|world| page(world, &id, None))
}

async fn press(
    Shared(state): Shared<Arc<State>>,
    Path(id): Path<String>,
    Form(pressed): Form<Pressed>,
) -> Response {
    state.change(|world| {
        let card = match pressed.action {
            Action::Pay => Card::Approves,
            Action::Decline => Card::GenericDecline,
            Action::Cancel => return turn_back(world, &id),
        };
        match checkout::pay(world, &id, card) {
            Ok(()) => Redirect::to(&success_url(world, &id)).into_response(),
            Err(refusal) => page(world, &id, Some(&refusal)),
        }
    })
}

/// Where merchants without a page of their own may send those who turn back.
async fn left() -> Html<String> {
    Html(document("<h1>Nothing was paid</h1><p>You can close this page.</p>"))
}

fn success_url(world: &World, id: &str) -> String {
    text(world.objects.expect(id), "success_url").replace(SESSION_PLACEHOLDER, id)
}

fn turn_back(world: &World, id: &str) -> Response {
    match world.objects.named("checkout.session", id, "session") {
        Ok(session) if !session["cancel_url"].is_null() => {
            Redirect::to(text(session, "cancel_url")).into_response()
        }
        _ => page(world, id, None),
    }
}

fn page(world: &World, id: &str, refusal: Option<&Refusal>) -> Response {
    let Ok(session) = world.objects.named("checkout.session", id, "session") else {
        let body = "<h1>Something went wrong</h1><p>The page you were looking for could not be found.</p>";
        return (StatusCode::NOT_FOUND, Html(document(body))).into_response();
    };
    let message = refusal.map(|refusal| refusal.body()["error"]["message"].clone());
    let message = message.as_ref().and_then(Value::as_str).unwrap_or_default();
    let status = if refusal.is_some() { StatusCode::PAYMENT_REQUIRED } else { StatusCode::OK };
    (status, Html(document(&body(session, message)))).into_response()
}

fn body(session: &Value, message: &str) -> String {
    let heading = match text(session, "mode") {
        "setup" => "Save your card".to_owned(),
        _ => format!("Pay {}", money(integer(session, "amount_total"), text(session, "currency"))),
    };
    let lines: String = session["_line_items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|line| {
            format!(
                "<tr><td>{}</td><td>{}</td><td class=\"amount\">{}</td></tr>",
                escaped(text(line, "description")),
                match integer(line, "quantity") {
                    1 => String::new(),
                    quantity => format!("&times; {quantity}"),
                },
                money(integer(line, "amount_total"), text(line, "currency")),
            )
        })
        .collect();
    let message = match message {
        "" => String::new(),
        message => format!("<p class=\"message\" role=\"alert\">{}</p>", escaped(message)),
    };
    let rest = match text(session, "status") {
        "open" => "<form method=\"post\">\
                   <button name=\"action\" value=\"pay\" class=\"pay\">Pay</button>\
                   <button name=\"action\" value=\"decline\">Decline</button>\
                   <button name=\"action\" value=\"cancel\">Cancel</button></form>"
            .to_owned(),
        "complete" => "<p>This is paid. You can close this page.</p>".to_owned(),
        _ => "<p>This page has expired: please begin again.</p>".to_owned(),
    };
    format!("<h1>{}</h1><table>{lines}</table>{message}{rest}", escaped(&heading))
}

fn document(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Checkout</title><style>{STYLE}</style></head>\
         <body><main><p class=\"test\">Test checkout: no money moves</p>{body}</main></body></html>"
    )
}

const STYLE: &str = "\
    body{font:16px/1.5 system-ui,sans-serif;background:#f6f7f9;color:#1a1f36;margin:0}\
    main{max-width:26rem;margin:8vh auto;padding:2rem;background:#fff;border-radius:.75rem;\
    box-shadow:0 2px 12px #1a1f3618}\
    h1{margin:.25rem 0 1rem;font-size:1.75rem}table{width:100%;border-collapse:collapse;margin-bottom:1.25rem}\
    td{padding:.4rem 0;border-top:1px solid #e3e8ee}.amount{text-align:right}\
    .test{margin:0;color:#9a6700;font-size:.85rem}.message{color:#b3093c}\
    button{font:inherit;padding:.6rem 1rem;margin-right:.5rem;border:1px solid #c9d0da;border-radius:.4rem;\
    background:#fff;cursor:pointer}.pay{background:#0a5;border-color:#0a5;color:#fff}";

fn money(cents: i64, currency: &str) -> String {
    let sign = if currency == "usd" { "$" } else { "" };
    let unit = if currency == "usd" { String::new() } else { format!(" {}", currency.to_ascii_uppercase()) };
    format!("{sign}{}.{:02}{}", cents / 100, cents % 100, escaped(&unit))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_bought_cannot_script_the_page() {
        let session = serde_json::json!({
            "mode": "payment", "amount_total": 123_405, "currency": "usd", "status": "open",
            "_line_items": [{ "description": "<script>", "quantity": 2, "amount_total": 5, "currency": "usd" }],
        });
        let shown = body(&session, "");
        assert!(
            shown.contains("Pay $1234.05") && shown.contains("&lt;script&gt;") && shown.contains("$0.05")
        );
        assert!(!shown.contains("<script>"));
    }
}
