//! Receipts and credit notes as PDF. The read model numbers them; here they are worded and drawn, anew each time they
//! are asked for: as long as nothing was refunded since and the settings stayed, to the same bytes.

mod document;
pub mod latin;
mod sheet;
pub mod vat;

#[cfg(test)]
mod tests;

use anyhow::Context;
use codexapi_projections::ReadError;
use codexapi_projections::accounts;
use codexapi_projections::receipts::{self, DocumentNumber, Receipt};
use sqlx::PgPool;
use uuid::Uuid;

use crate::accounts::persons::{self, Person};
use crate::config::company::Company;
use document::Document;

/// A document of a payment: its receipt, or one of its credit notes.
#[derive(Clone, Debug)]
pub struct Found {
    pub number: DocumentNumber,
    pub receipt: Receipt,
}

/// The document of this name: its number, or a payment's id for the payment's receipt. Either may end in `.pdf`.
pub async fn find(pool: &PgPool, name: &str) -> Result<Option<Found>, ReadError> {
    let name = name.strip_suffix(".pdf").unwrap_or(name);
    if let Ok(number) = name.parse::<DocumentNumber>() {
        let receipt = receipts::by_number(pool, &number).await?;
        return Ok(receipt.map(|receipt| Found { number, receipt }));
    }
    let Ok(payment_id) = name.parse::<Uuid>() else { return Ok(None) };
    let receipt = receipts::of_payment(pool, payment_id).await?;
    Ok(receipt.map(|receipt| Found { number: receipt.number(), receipt }))
}

/// The document as PDF, with what is known of the customer now.
pub async fn print(pool: &PgPool, company: Company<'_>, found: &Found) -> anyhow::Result<Vec<u8>> {
    let Found { number, receipt } = found;
    let account_id = receipt.payment.account_id;
    let account = accounts::get(pool, account_id).await.context("reading the payer")?;
    let person = match account.map(|account| account.person_id) {
        Some(person_id) => persons::by_ids(pool, &[person_id]).await?.remove(&person_id),
        None => None,
    };
    Ok(drawn(company, person.as_ref(), receipt, *number))
}

fn drawn(
    company: Company<'_>,
    customer: Option<&Person>,
    receipt: &Receipt,
    number: DocumentNumber,
) -> Vec<u8> {
    let note = receipt.reversals.iter().find(|reversal| reversal.number() == Some(number));
    Document { company, customer, receipt, note }.draw()
}
