//! The account somebody has signed in to with Codex: its credentials are read where Codex keeps them.
//!
//! Codex itself renews them; they are read again when the file has changed, and never written. What the file
//! holds is shown nowhere: an error says only which file could not be used.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, ensure};
use http::HeaderValue;
use serde::Deserialize;
use tokio::sync::Mutex;

/// The most that is read of a credentials file.
const MOST_BYTES: u64 = 256 * 1024;

/// Credentials of a Codex home, as of the file's last change.
pub struct SignedIn {
    auth_file: PathBuf,
    known: Mutex<Option<(SystemTime, Arc<Credentials>)>>,
}

/// What a request carries.
pub struct Credentials {
    pub bearer: HeaderValue,
    /// ChatGPT's account; absent where Codex was given an API key.
    pub account_id: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct AuthFile {
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: Option<String>,
    tokens: Option<Tokens>,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: String,
    account_id: Option<String>,
}

impl SignedIn {
    pub fn new(codex_home: &std::path::Path) -> Self {
        Self { auth_file: codex_home.join("auth.json"), known: Mutex::default() }
    }

    /// # Errors
    /// Nobody is signed in there, or the file cannot be read or understood.
    pub async fn credentials(&self) -> anyhow::Result<Arc<Credentials>> {
        let unusable = || format!("{} cannot be used", self.auth_file.display());
        let file = tokio::fs::metadata(&self.auth_file).await.with_context(unusable)?;
        let changed = file.modified().with_context(unusable)?;
        let mut known = self.known.lock().await;
        if let Some((when, credentials)) = known.as_ref()
            && *when == changed
        {
            return Ok(credentials.clone());
        }
        ensure!(file.len() <= MOST_BYTES, "{}: it is too large", unusable());
        let text = tokio::fs::read(&self.auth_file).await.with_context(unusable)?;
        let credentials = Arc::new(read(&text).with_context(unusable)?);
        *known = Some((changed, credentials.clone()));
        Ok(credentials)
    }
}

fn read(text: &[u8]) -> anyhow::Result<Credentials> {
    // serde's own message would quote what it found.
    let file: AuthFile =
        serde_json::from_slice(text).map_err(|_| anyhow::anyhow!("it is not what Codex writes"))?;
    let (secret, account_id) = match (file.tokens, file.api_key) {
        (Some(tokens), _) => (tokens.access_token, tokens.account_id),
        (None, Some(api_key)) => (api_key, None),
        (None, None) => anyhow::bail!("nobody is signed in"),
    };
    let mut bearer = header(&format!("Bearer {secret}"))?;
    bearer.set_sensitive(true);
    Ok(Credentials { bearer, account_id: account_id.as_deref().map(header).transpose()? })
}

fn header(text: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(text).map_err(|_| anyhow::anyhow!("a credential in it cannot stand in a header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn credentials_are_read_where_codex_keeps_them_and_again_when_they_change() {
        let home = tempfile::tempdir().expect("a folder");
        let signed_in = SignedIn::new(home.path());
        assert!(signed_in.credentials().await.is_err(), "nobody is signed in");
        let write = |text: &str, second| {
            let path = home.path().join("auth.json");
            std::fs::write(&path, text).expect("written");
            let file = std::fs::File::options().write(true).open(path).expect("opened");
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(second))
                .expect("dated");
        };
        write(
            r#"{"OPENAI_API_KEY":null,"tokens":{"id_token":"i","access_token":"a1","account_id":"acc"}}"#,
            1,
        );
        let first = signed_in.credentials().await.expect("signed in");
        assert_eq!(first.bearer, "Bearer a1");
        assert_eq!(first.account_id.as_ref().expect("an account"), "acc");
        write(r#"{"OPENAI_API_KEY":"sk-1","tokens":null}"#, 2);
        let second = signed_in.credentials().await.expect("a key");
        assert_eq!(second.bearer, "Bearer sk-1");
        assert!(second.account_id.is_none());
    }

    #[test]
    fn what_cannot_be_used_is_told_without_what_it_holds() {
        for text in [r#"{"tokens":{"access_token":7,"secret":"hunter2"}}"#, "hunter2", r#"{"tokens":null}"#] {
            let error = format!("{:#}", read(text.as_bytes()).err().expect("unusable"));
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
