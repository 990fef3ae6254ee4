//! The secrets a development server makes for itself, the same over restarts.
//!
//! One file each, mode 0600, in the data folder: what they seal and digest lies in that folder's database, so they
//! live and are removed together. A production server takes its own from the environment instead.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, anyhow};

use crate::embedded::kept_secret;

/// 128 bits, what a System Token must have at least.
type TokenBytes = [u8; 16];

/// Printing it with `{:?}` shows no secret.
pub struct DevSecrets {
    /// Seals the copies of tokens that an operator may show again.
    pub sealing_key: [u8; 32],
    /// Keys the digests by which tokens are found.
    pub token_digest_key: [u8; 32],
    /// Authenticates node to node.
    pub node_key: [u8; 32],
    /// The demo customer's System Token.
    pub customer_token: String,
    /// The operator's static key.
    pub admin_key: String,
    /// What the fake Stripe signs webhooks with.
    pub stripe_webhook_secret: String,
}

impl DevSecrets {
    /// Reads them from `folder`, making the folder and what is missing.
    ///
    /// # Errors
    /// When a file cannot be read or written, or holds something else than its secret: a damaged key is never
    /// replaced, since what it sealed would be lost.
    pub fn load_or_create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close {}", folder.display()))?;
        let token = |name: &str, prefix: &str| {
            kept_secret(&folder.join(name), || {
                format!("{prefix}{}", hex::encode(rand::random::<TokenBytes>()))
            })
        };
        Ok(Self {
            sealing_key: key(&folder.join("sealing-key"))?,
            token_digest_key: key(&folder.join("token-digest-key"))?,
            node_key: key(&folder.join("node-key"))?,
            customer_token: token("customer-token", "g2g-codex-")?,
            admin_key: token("admin-key", "g2g-admin-")?,
            stripe_webhook_secret: token("stripe-webhook-secret", "whsec_")?,
        })
    }
}

impl fmt::Debug for DevSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DevSecrets { .. }")
    }
}

fn key(path: &Path) -> anyhow::Result<[u8; 32]> {
    let text = kept_secret(path, || hex::encode(rand::random::<[u8; 32]>()))?;
    // The decoder's own error would quote characters of the key.
    let mut bytes = [0; 32];
    hex::decode_to_slice(&text, &mut bytes)
        .map_err(|_| anyhow!("{} should hold 64 hexadecimal digits; restore it", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_the_same_at_the_next_start_and_differ_between_folders() {
        let (folder, other) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let first = DevSecrets::load_or_create(folder.path()).expect("made");
        let again = DevSecrets::load_or_create(folder.path()).expect("read");
        let elsewhere = DevSecrets::load_or_create(other.path()).expect("made");
        assert_eq!(first.sealing_key, again.sealing_key);
        assert_eq!(first.token_digest_key, again.token_digest_key);
        assert_eq!(first.node_key, again.node_key);
        assert_eq!(first.customer_token, again.customer_token);
        assert_eq!(first.admin_key, again.admin_key);
        assert_ne!(first.sealing_key, first.token_digest_key);
        assert_ne!(first.sealing_key, elsewhere.sealing_key);
        assert_ne!(first.customer_token, elsewhere.customer_token);
    }

    #[test]
    fn a_damaged_key_is_refused_without_being_quoted() {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("sealing-key"), "zz-not-a-key").expect("written");
        let refusal = format!("{:#}", DevSecrets::load_or_create(folder.path()).expect_err("damaged"));
        assert!(refusal.contains("sealing-key should hold 64 hexadecimal digits"), "{refusal}");
        assert!(!refusal.contains("zz"), "{refusal}");
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let folder = tempfile::tempdir().expect("folder");
        let secrets = DevSecrets::load_or_create(folder.path()).expect("made");
        let shown = format!("{secrets:?}");
        assert!(!shown.contains(&secrets.admin_key) && !shown.contains(&secrets.customer_token), "{shown}");
    }
}
