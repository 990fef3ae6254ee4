//! The API's whole map.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawPathParams, Request, State as Shared};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};

use crate::objects::{
    charges, checkout, customers, disputes, events, invoices, payment_intents, payment_methods, prices,
    refunds, setup_intents, subscriptions,
};
use crate::server::{Handler, State, serve_call};

type Methods = MethodRouter<Arc<State>>;

pub fn router() -> Router<Arc<State>> {
    Router::new()
        .route("/v1/charges", reads(charges::list))
        .route("/v1/charges/{id}", reads(charges::retrieve))
        .route("/v1/checkout/sessions", reads(checkout::list).merge(does(checkout::create)))
        .route("/v1/checkout/sessions/{id}", reads(checkout::retrieve).merge(does(checkout::update)))
        .route("/v1/checkout/sessions/{id}/expire", does(checkout::expire))
        .route("/v1/checkout/sessions/{id}/line_items", reads(checkout::list_line_items))
        .route("/v1/customers", reads(customers::list).merge(does(customers::create)))
        .route(
            "/v1/customers/{id}",
            reads(customers::retrieve).merge(does(customers::update)).merge(deletes(customers::delete)),
        )
        .route("/v1/customers/{id}/payment_methods", reads(customers::payment_methods))
        .route("/v1/disputes", reads(disputes::list))
        .route("/v1/disputes/{id}", reads(disputes::retrieve))
        .route("/v1/disputes/{id}/close", does(disputes::close))
        .route("/v1/events", reads(events::list))
        .route("/v1/events/{id}", reads(events::retrieve))
        .route("/v1/invoice_payments", reads(invoices::list_payments))
        .route("/v1/invoice_payments/{id}", reads(invoices::retrieve_payment))
        .route("/v1/invoices", reads(invoices::list))
        .route("/v1/invoices/{id}", reads(invoices::retrieve))
        .route("/v1/invoices/{id}/pay", does(invoices::pay))
        .route("/v1/payment_intents", reads(payment_intents::list).merge(does(payment_intents::create)))
        .route(
            "/v1/payment_intents/{id}",
            reads(payment_intents::retrieve).merge(does(payment_intents::update)),
        )
        .route("/v1/payment_intents/{id}/cancel", does(payment_intents::cancel))
        .route("/v1/payment_intents/{id}/confirm", does(payment_intents::confirm))
        .route("/v1/payment_methods", reads(payment_methods::list).merge(does(payment_methods::create)))
        .route("/v1/payment_methods/{id}", reads(payment_methods::retrieve))
        .route("/v1/payment_methods/{id}/attach", does(payment_methods::attach))
        .route("/v1/payment_methods/{id}/detach", does(payment_methods::detach))
        .route("/v1/prices/{id}", reads(prices::retrieve_price))
        .route("/v1/products/{id}", reads(prices::retrieve_product))
        .route("/v1/refunds", reads(refunds::list).merge(does(refunds::create)))
        .route("/v1/refunds/{id}", reads(refunds::retrieve).merge(does(refunds::update)))
        .route("/v1/setup_intents/{id}", reads(setup_intents::retrieve))
        .route("/v1/subscriptions", reads(subscriptions::list))
        .route(
            "/v1/subscriptions/{id}",
            reads(subscriptions::retrieve)
                .merge(does(subscriptions::update))
                .merge(deletes(subscriptions::cancel)),
        )
}

fn reads(handler: Handler) -> Methods {
    get(move |Shared(state): Shared<Arc<State>>, path: RawPathParams, request: Request| {
        serve(state, handler, path, request)
    })
}

fn does(handler: Handler) -> Methods {
    post(move |Shared(state): Shared<Arc<State>>, path: RawPathParams, request: Request| {
        serve(state, handler, path, request)
    })
}

fn deletes(handler: Handler) -> Methods {
    delete(move |Shared(state): Shared<Arc<State>>, path: RawPathParams, request: Request| {
        serve(state, handler, path, request)
    })
}

async fn serve(state: Arc<State>, handler: Handler, path: RawPathParams, request: Request) -> Response {
    let id = path.iter().next().map(|(_, id)| id.to_owned()).unwrap_or_default();
    serve_call(&state, handler, id, request).await
}
