//! How customers' tools are pointed here: `GET /api/v1/cli/…`, readable by everybody.
//!
//! The field names are those that dashboards and launchers already read. Nothing secret is ever in an answer: where a
//! token goes there is a placeholder, whoever asks.

mod claude_code;
mod codex;
mod scripts;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

pub use claude_code::PublicClaudeCode;
pub use codex::{PublicCodex, WARNING};
pub use scripts::PLACEHOLDER;
use scripts::{Credential, Scripts};

use crate::app::App;
use crate::config::BrandSettings;

/// The oldest Codex CLI that is promised to work.
const CODEX_VERSION: &str = "0.141.0";

/// The newest Codex CLI that was driven against this service.
const CODEX_NEWEST_TESTED: &str = "0.169.0";

/// The newest Claude Code that was driven against this service.
const CLAUDE_CODE_TESTED: &str = "2.1.197";

const INSTALL_TAG: &str = "latest";
const CODEX_PACKAGE: &str = "@openai/codex@latest";
const CLAUDE_CODE_PACKAGE: &str = "@anthropic-ai/claude-code@latest";

/// Which Codex CLI goes with this service.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CodexVersion {
    /// The oldest version that is promised to work.
    #[schema(example = "0.141.0")]
    official_cli_version: &'static str,
    /// The newest version that was tested.
    #[schema(example = "0.169.0")]
    newest_tested_version: &'static str,
    official_install_tag: &'static str,
    official_install_command: String,
}

/// Which launcher customers must have.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LauncherVersion {
    package: String,
    /// An older launcher updates itself before it goes on.
    required_version: String,
    install_command: String,
}

/// Codex CLI's settings for this service, and blocks that write them.
#[utoipa::path(
    get, path = "/api/v1/cli/public-codex", tag = "setup",
    responses((status = 200, body = PublicCodex)), security(())
)]
pub async fn public_codex(State(app): State<Arc<App>>) -> Json<PublicCodex> {
    Json(codex::payload(&of(&app, &app.public_url())))
}

/// Claude Code's settings for this service, and blocks that write them.
#[utoipa::path(
    get, path = "/api/v1/cli/public-claude-code", tag = "setup",
    responses((status = 200, body = PublicClaudeCode)), security(())
)]
pub async fn public_claude_code(State(app): State<Arc<App>>) -> Json<PublicClaudeCode> {
    Json(claude_code::payload(&of(&app, &app.public_url())))
}

/// Which Codex CLI goes with this service.
#[utoipa::path(
    get, path = "/api/v1/cli/version", tag = "setup",
    responses((status = 200, body = CodexVersion)), security(())
)]
pub async fn codex_version() -> Json<CodexVersion> {
    Json(CodexVersion {
        official_cli_version: CODEX_VERSION,
        newest_tested_version: CODEX_NEWEST_TESTED,
        official_install_tag: INSTALL_TAG,
        official_install_command: npm_install(CODEX_PACKAGE),
    })
}

/// Which codexclaude launcher is required.
#[utoipa::path(
    get, path = "/api/v1/codexclaude/version", tag = "setup",
    responses((status = 200, body = LauncherVersion)), security(())
)]
pub async fn launcher_version(State(app): State<Arc<App>>) -> Json<LauncherVersion> {
    let brand = &app.config.brand;
    Json(LauncherVersion {
        package: brand.launcher_package.clone(),
        required_version: brand.launcher_version.clone(),
        install_command: npm_install(&format!("{}@{INSTALL_TAG}", brand.launcher_package)),
    })
}

/// Codex's `config.toml`, with the placeholder where the token goes.
pub fn codex_toml(brand: &BrandSettings, public_url: &str) -> String {
    Scripts { brand, public_url }.codex_toml(Credential::Placeholder)
}

/// Claude Code's `settings.json`, with the placeholder where the token goes.
pub fn claude_settings(brand: &BrandSettings, public_url: &str) -> String {
    let environment = Scripts { brand, public_url }.claude_environment();
    format!("{:#}", serde_json::json!({ "env": environment }))
}

fn of<'a>(app: &'a App, public_url: &'a str) -> Scripts<'a> {
    Scripts { brand: &app.config.brand, public_url }
}

fn npm_install(package: &str) -> String {
    format!("npm install -g {package}")
}
