//! What `serve` refuses to start with, each by the name of what is wrong.

use std::process::Stdio;

use sqlx::ConnectOptions;
use tokio::process::Command;

use crate::harness::{PATIENCE, TestServer};

/// Settings that are good enough to start with, but for the database.
const GOOD: [(&str, &str); 4] = [
    ("NATS_URL", "nats://127.0.0.1:9"),
    ("CODEXAPI_TOKEN_DIGEST_KEY", "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"),
    ("CODEXAPI_LISTEN", "127.0.0.1:0"),
    ("CODEXAPI_METRICS_LISTEN", "127.0.0.1:0"),
];

/// Why `codexapi serve` with exactly these settings ends at once.
async fn refusal(settings: &[(&str, &str)]) -> String {
    let serving = Command::new(env!("CARGO_BIN_EXE_codexapi"))
        .arg("serve")
        .env_clear()
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, serving).await.expect("it ends").expect("it starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn a_postgres_that_forgets_in_a_power_cut_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let server = TestServer::start(&[&format!("{setting}=off")]).await;
        let url = server.database().await.connect_options().to_url_lossy().to_string();
        let said = refusal(&[&GOOD[..], &[("DATABASE_URL", &url)]].concat()).await;
        assert!(said.contains(&format!("{setting} = off")), "{said}");
    }
}

#[tokio::test]
async fn a_missing_setting_is_named() {
    let url = ("DATABASE_URL", "postgres://codexapi:secret@127.0.0.1:9/codexapi");
    for missing in ["DATABASE_URL", "NATS_URL", "CODEXAPI_TOKEN_DIGEST_KEY"] {
        let all = GOOD.into_iter().chain([url]);
        let settings: Vec<(&str, &str)> = all.filter(|(name, _)| *name != missing).collect();
        let said = refusal(&settings).await;
        assert!(said.contains(missing), "{said}");
    }
}

#[tokio::test]
async fn a_bad_setting_is_named_and_no_secret_shown() {
    let url = ("DATABASE_URL", "postgres://codexapi:secret@127.0.0.1:9/codexapi");
    for bad in [
        ("DATABASE_URL", "mysql://codexapi:secret@127.0.0.1/codexapi"),
        ("NATS_URL", "http://user:secret@127.0.0.1"),
        ("CODEXAPI_TOKEN_DIGEST_KEY", "secret"),
        ("CODEXAPI_LISTEN", "everywhere"),
        ("CODEXAPI_LEASE_LAPSE_SECONDS", "3"),
        ("CODEXAPI_PROVIDERS_FILE", "/nowhere/providers.toml"),
    ] {
        let all = GOOD.into_iter().chain([url]).filter(|(name, _)| *name != bad.0);
        let settings: Vec<(&str, &str)> = all.chain([bad]).collect();
        let said = refusal(&settings).await;
        assert!(said.contains(bad.0), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[tokio::test]
async fn a_misspelt_setting_is_named_once_and_its_value_never() {
    let given = [
        ("DATABASE_URL", "postgres://codexapi:secret@127.0.0.1:9/codexapi"),
        ("CODEXAPI_SEALING_KYE", "secret"),
        ("CODEXAPI_NOTHING_LIKE_ANY", "secret"),
    ];
    let said = refusal(&[&GOOD[..], &given].concat()).await;
    for name in ["CODEXAPI_SEALING_KYE", "CODEXAPI_NOTHING_LIKE_ANY"] {
        assert_eq!(said.matches(name).count(), 1, "{said}");
    }
    assert!(said.contains("CODEXAPI_SEALING_KEY is the nearest"), "{said}");
    assert!(!said.contains("secret") && !said.contains("CODEXAPI_LISTEN"), "{said}");
}
