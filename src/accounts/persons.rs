//! Personal data, in the one place it can be erased from.

use std::collections::BTreeMap;

use anyhow::Context;
use codexapi_aggregates::ids::PersonId;
use sqlx::PgPool;
use uuid::Uuid;

/// Who an event's person id means. `Debug` is for tests: never log a person.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Person {
    pub person_id: Uuid,
    pub name: Option<String>,
    pub email: Option<String>,
    /// Two letters.
    pub country: Option<String>,
    pub mobile: Option<String>,
}

/// Keeps a new person.
pub async fn store(pool: &PgPool, person: &Person) -> anyhow::Result<()> {
    sqlx::query("insert into persons (person_id, name, email, country, mobile) values ($1, $2, $3, $4, $5)")
        .bind(person.person_id)
        .bind(&person.name)
        .bind(&person.email)
        .bind(&person.country)
        .bind(&person.mobile)
        .execute(pool)
        .await
        .context("storing a person")?;
    Ok(())
}

/// Erases a person; the account's events stay and name nobody.
pub async fn forget(pool: &PgPool, person_id: PersonId) -> anyhow::Result<()> {
    sqlx::query("delete from persons where person_id = $1")
        .bind(person_id.0)
        .execute(pool)
        .await
        .context("erasing a person")?;
    Ok(())
}

/// The persons of one page of customers, by id; erased ones are missing.
pub async fn by_ids(pool: &PgPool, ids: &[Uuid]) -> anyhow::Result<BTreeMap<Uuid, Person>> {
    let persons: Vec<Person> = sqlx::query_as(
        "select person_id, name, email, country, mobile from persons where person_id = any($1)",
    )
    .bind(ids)
    .fetch_all(pool)
    .await
    .context("reading persons")?;
    Ok(persons.into_iter().map(|person| (person.person_id, person)).collect())
}
