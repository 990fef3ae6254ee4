//! What time does by itself: sessions expire, subscriptions renew, invoices are tried again.

use serde_json::Value;

use crate::objects::{checkout, invoices, subscriptions};
use crate::world::{World, integer, text};

/// Far more than any test lets pass at once; a mistake ends here instead of nowhere.
const MOST_AT_ONCE: usize = 10_000;

enum Due {
    SessionExpires(String),
    SubscriptionRenews(String),
    InvoiceIsTriedAgain(String),
}

/// Does all that is due by now, in the order in which it became due.
pub fn run(world: &mut World) {
    let now = world.now();
    for _ in 0..MOST_AT_ONCE {
        let Some((time, due)) = next(world, now) else {
            return;
        };
        world.at(time, |world| act(world, &due));
    }
}

fn act(world: &mut World, due: &Due) {
    match due {
        Due::SessionExpires(id) => checkout::end(world, id),
        Due::SubscriptionRenews(id) => {
            subscriptions::renew(world, id).expect("only active ones are due");
        }
        Due::InvoiceIsTriedAgain(id) => {
            // Told by events.
            let _declined = invoices::try_to_pay(world, id);
        }
    }
}

fn next(world: &World, now: i64) -> Option<(i64, Due)> {
    let id = |object: &Value| text(object, "id").to_owned();
    let sessions = world
        .objects
        .of_kind("checkout.session")
        .filter(|session| session["status"] == "open")
        .map(|session| (integer(session, "expires_at"), Due::SessionExpires(id(session))));
    let renewals =
        world.objects.of_kind("subscription").filter(|subscription| subscription["status"] == "active").map(
            |subscription| {
                (subscriptions::period_end(subscription), Due::SubscriptionRenews(id(subscription)))
            },
        );
    let invoices = world
        .objects
        .of_kind("invoice")
        .filter(|invoice| invoice["status"] == "open" && !invoice["next_payment_attempt"].is_null())
        .map(|invoice| (integer(invoice, "next_payment_attempt"), Due::InvoiceIsTriedAgain(id(invoice))));
    sessions.chain(renewals).chain(invoices).filter(|(time, _)| *time <= now).min_by_key(|(time, _)| *time)
}
