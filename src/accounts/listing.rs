//! Customers as operators look for them: newest first, or by how an id, a name or an address begins.

use std::collections::BTreeMap;

use anyhow::Context;
use chrono::{DateTime, Utc};
use codexapi_aggregates::money::MicroUsd;
use codexapi_projections::{MAX_PAGE, Page};
use sqlx::PgPool;
use uuid::Uuid;

use super::persons;

/// The longest text that is searched for, in characters.
pub const MAX_SEARCH_CHARS: usize = 100;

/// A customer with the wallet, as far as the read models have come.
#[derive(Clone, Debug)]
pub struct Customer {
    pub account_id: Uuid,
    pub name: Option<String>,
    pub email: Option<String>,
    pub registered_at: DateTime<Utc>,
    pub suspended_at: Option<DateTime<Utc>>,
    pub balance_micro: MicroUsd,
    pub held_micro: MicroUsd,
    pub debt_micro: MicroUsd,
    /// Ever charged for usage, less what was given back.
    pub charged_micro: MicroUsd,
    /// Place in the log; the key of paging.
    pub position: i64,
}

#[derive(sqlx::FromRow)]
struct Row {
    account_id: Uuid,
    person_id: Uuid,
    registered_at: DateTime<Utc>,
    suspended_at: Option<DateTime<Utc>>,
    balance_micro: i64,
    held_micro: i64,
    debt_micro: i64,
    charged_micro: i64,
    position: i64,
}

const SELECT: &str = "SELECT a.account_id, a.person_id, a.registered_at, a.suspended_at, a.position, \
     COALESCE(b.balance_micro, 0) AS balance_micro, COALESCE(b.held_micro, 0) AS held_micro, \
     COALESCE(b.debt_micro, 0) AS debt_micro, \
     COALESCE(b.charged_micro - b.reversed_micro, 0) AS charged_micro \
     FROM accounts a LEFT JOIN wallet_balances b USING (account_id)";

/// Customers, newest first; `search` is how an id, a name or an e-mail address begins, whatever its case.
pub async fn customers(
    pool: &PgPool,
    search: Option<&str>,
    before: Option<i64>,
    limit: u32,
) -> anyhow::Result<Page<Customer>> {
    let shown = limit.clamp(1, MAX_PAGE) as usize;
    let before = before.unwrap_or(i64::MAX);
    let more = i64::try_from(shown).unwrap_or(i64::MAX) + 1;
    let mut rows: Vec<Row> = match search {
        None => {
            let statement = format!("{SELECT} WHERE a.position < $1 ORDER BY a.position DESC LIMIT $2");
            sqlx::query_as(&statement).bind(before).bind(more).fetch_all(pool).await
        }
        Some(search) => {
            let (from, to) = ids_beginning_with(search).unzip();
            let statement = format!(
                "{SELECT} WHERE a.position < $1 AND (a.account_id BETWEEN $3 AND $4 OR a.person_id IN ( \
                     SELECT person_id FROM persons WHERE lower(name) LIKE $5 \
                     UNION SELECT person_id FROM persons WHERE lower(email) LIKE $5)) \
                 ORDER BY a.position DESC LIMIT $2"
            );
            let query = sqlx::query_as(&statement).bind(before).bind(more).bind(from).bind(to);
            query.bind(begins_with(search)).fetch_all(pool).await
        }
    }
    .context("listing customers")?;
    let next = (rows.len() > shown).then(|| rows[shown - 1].position);
    rows.truncate(shown);
    let ids: Vec<Uuid> = rows.iter().map(|row| row.person_id).collect();
    let mut persons = persons::by_ids(pool, &ids).await?;
    let rows = rows.into_iter().map(|row| customer(row, &mut persons)).collect();
    Ok(Page { rows, next })
}

fn customer(row: Row, persons: &mut BTreeMap<Uuid, persons::Person>) -> Customer {
    let person = persons.remove(&row.person_id);
    let (name, email) = person.map_or((None, None), |person| (person.name, person.email));
    Customer {
        account_id: row.account_id,
        name,
        email,
        registered_at: row.registered_at,
        suspended_at: row.suspended_at,
        balance_micro: MicroUsd(row.balance_micro),
        held_micro: MicroUsd(row.held_micro),
        debt_micro: MicroUsd(row.debt_micro),
        charged_micro: MicroUsd(row.charged_micro),
        position: row.position,
    }
}

/// The pattern of everything that begins with `text`, which stands for itself.
fn begins_with(text: &str) -> String {
    let mut pattern: String =
        text.to_lowercase().replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
    pattern.push('%');
    pattern
}

/// The first and the last id that begin with `text`; none where no id does.
fn ids_beginning_with(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let bound = |fill: &str| Uuid::parse_str(&format!("{digits}{}", fill.repeat(32 - digits.len()))).ok();
    bound("0").zip(bound("f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_stands_for_itself() {
        assert_eq!(begins_with("50%_Off\\"), r"50\%\_off\\%");
    }

    #[test]
    fn the_beginning_of_an_id_spans_every_id_that_has_it() {
        let (from, to) = ids_beginning_with("0190A0A0-7").expect("hexadecimal");
        assert_eq!(from.to_string(), "0190a0a0-7000-0000-0000-000000000000");
        assert_eq!(to.to_string(), "0190a0a0-7fff-ffff-ffff-ffffffffffff");
        for no_id in ["", "-", "grace", "0190a0a0-0000-7000-8000-0000000000011"] {
            assert_eq!(ids_beginning_with(no_id), None, "{no_id}");
        }
    }
}
