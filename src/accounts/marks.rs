//! Keyed digests of where an account comes from: whether two of them are one person's, without keeping who that is.

use std::net::IpAddr;

use anyhow::Context;
use codexapi_aggregates::ids::AccountId;
use sqlx::PgPool;

use crate::secrets::TokenDigestKey;

/// What is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    Device,
    Network,
    Email,
}

/// One mark of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    pub kind: MarkKind,
    digest: [u8; 32],
}

impl MarkKind {
    const ALL: [Self; 3] = [Self::Device, Self::Network, Self::Email];

    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Network => "network",
            Self::Email => "email",
        }
    }
}

impl Mark {
    pub fn device(key: &TokenDigestKey, fingerprint: &str) -> Self {
        Self::new(key, MarkKind::Device, fingerprint.trim())
    }

    /// An IPv4 address, or the /64 that an IPv6 address is one customer's of.
    pub fn network(key: &TokenDigestKey, address: IpAddr) -> Self {
        let network = match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("{:x?}", &address.segments()[..4]),
        };
        Self::new(key, MarkKind::Network, &network)
    }

    pub fn email(key: &TokenDigestKey, email: &str) -> Self {
        Self::new(key, MarkKind::Email, &email.trim().to_lowercase())
    }

    fn new(key: &TokenDigestKey, kind: MarkKind, value: &str) -> Self {
        // Named, so that marks and tokens are never keyed alike.
        let digest = key.mac(format!("codexapi mark v1\0{}\0{value}", kind.name()).as_bytes());
        Self { kind, digest }
    }
}

/// Marks an account; marks it has change nothing.
pub async fn add(pool: &PgPool, account_id: AccountId, marks: &[Mark]) -> anyhow::Result<()> {
    sqlx::query(
        "INSERT INTO account_marks (account_id, kind, digest)
         SELECT $1, kind, digest FROM unnest($2::text[], $3::bytea[]) AS m(kind, digest)
         ON CONFLICT DO NOTHING",
    )
    .bind(account_id.0)
    .bind(marks.iter().map(|mark| mark.kind.name()).collect::<Vec<_>>())
    .bind(marks.iter().map(|mark| mark.digest.as_slice()).collect::<Vec<_>>())
    .execute(pool)
    .await
    .context("marking an account")?;
    Ok(())
}

/// Takes an account's marks away: it was not made after all, or is erased.
pub async fn forget(pool: &PgPool, account_id: AccountId) -> anyhow::Result<()> {
    sqlx::query("DELETE FROM account_marks WHERE account_id = $1")
        .bind(account_id.0)
        .execute(pool)
        .await
        .context("erasing an account's marks")?;
    Ok(())
}

/// Which of an account's marks another account has, too. Of two that are marked at once, both hear of it.
pub async fn repeated(pool: &PgPool, account_id: AccountId) -> anyhow::Result<Vec<MarkKind>> {
    let kinds: Vec<String> = sqlx::query_scalar(
        "SELECT DISTINCT own.kind FROM account_marks own
         WHERE own.account_id = $1 AND EXISTS (
             SELECT FROM account_marks other
             WHERE other.kind = own.kind AND other.digest = own.digest AND other.account_id <> own.account_id)",
    )
    .bind(account_id.0)
    .fetch_all(pool)
    .await
    .context("looking for repeated marks")?;
    Ok(MarkKind::ALL.into_iter().filter(|kind| kinds.iter().any(|known| known == kind.name())).collect())
}

/// Whether two accounts have a mark in common.
pub async fn shared(pool: &PgPool, one: AccountId, other: AccountId) -> anyhow::Result<bool> {
    sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM account_marks a JOIN account_marks b USING (kind, digest)
                        WHERE a.account_id = $1 AND b.account_id = $2)",
    )
    .bind(one.0)
    .bind(other.0)
    .fetch_one(pool)
    .await
    .context("comparing two accounts' marks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customers_addresses_are_one_network_and_kinds_are_never_mixed_up() {
        let key = TokenDigestKey::new([3; 32]);
        let network = |text: &str| Mark::network(&key, text.parse().expect("an address"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::9"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
        assert_eq!(Mark::email(&key, " Ada@Example.com "), Mark::email(&key, "ada@example.com"));
        assert_ne!(Mark::email(&key, "x").digest, Mark::device(&key, "x").digest);
        assert_ne!(Mark::device(&key, "x"), Mark::device(&TokenDigestKey::new([4; 32]), "x"));
    }
}
