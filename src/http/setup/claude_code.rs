//! Claude Code: environment variables, kept in its own settings file.
//!
//! Traffic that is not the customer's work (telemetry, update checks) is switched off, because it goes to a host this
//! service has nothing to do with. Settings of the customer's own stay as they are: only these variables are set.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::scripts::{self, PLACEHOLDER, Scripts, powershell_block, quoted, shell_block};
use super::{CLAUDE_CODE_PACKAGE, CLAUDE_CODE_TESTED, INSTALL_TAG, npm_install};

const START: &str = "claude";
const RESUME: &str = "claude --continue\nclaude --resume";

/// Claude Code's settings for this service; wherever the token goes stands `tokenPlaceholder`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicClaudeCode {
    provider_id: String,
    provider_name: String,
    /// The newest version that was tested.
    official_cli_version: &'static str,
    official_install_tag: &'static str,
    official_install_command: String,
    /// For `ANTHROPIC_BASE_URL`; without `/v1`.
    base_url: String,
    /// The variable that holds the token.
    env_key: &'static str,
    wire_api: &'static str,
    model: String,
    /// For small requests in the background.
    small_fast_model: String,
    /// What the model is called where people read.
    model_display_name: String,
    messages_url: String,
    count_tokens_url: String,
    models_url: String,
    token_placeholder: &'static str,
    /// Every variable and its value.
    environment: Value,
    /// The same as `~/.claude/settings.json`.
    settings_json: Value,
    /// One session with these settings, nothing written.
    shell_command: String,
    windows_shell_command: String,
    /// Installs, writes the settings, starts.
    linux_setup_and_start_command: String,
    macos_setup_and_start_command: String,
    windows_setup_and_start_command: String,
    /// Writes the settings, and nothing else.
    linux_configure_command: String,
    macos_configure_command: String,
    windows_configure_command: String,
    future_start_command: &'static str,
    resume_last_command: &'static str,
    exec_smoke_test_command: String,
    windows_exec_smoke_test_command: String,
}

/// The payload for this host.
pub(super) fn payload(scripts: &Scripts) -> PublicClaudeCode {
    let (brand, public_url) = (scripts.brand, scripts.public_url);
    let environment = scripts.claude_environment();
    let configure = scripts.claude_configure_sh();
    let configured = shell_block(&[&configure], None);
    let in_powershell = scripts.claude_configure_ps1();
    let (dependencies, install) = (scripts::dependencies_ps1(), scripts::install_ps1(CLAUDE_CODE_PACKAGE));
    let smoke = format!("claude -p \"Say hello from {}.\"", brand.provider_name);
    PublicClaudeCode {
        provider_id: brand.provider_id.clone(),
        provider_name: brand.provider_name.clone(),
        official_cli_version: CLAUDE_CODE_TESTED,
        official_install_tag: INSTALL_TAG,
        official_install_command: npm_install(CLAUDE_CODE_PACKAGE),
        base_url: public_url.to_owned(),
        env_key: "ANTHROPIC_AUTH_TOKEN",
        wire_api: "messages",
        model: brand.claude_model.clone(),
        small_fast_model: brand.claude_small_model.clone(),
        model_display_name: brand.model_labels.of(&brand.claude_model).to_owned(),
        messages_url: format!("{public_url}/v1/messages"),
        count_tokens_url: format!("{public_url}/v1/messages/count_tokens"),
        models_url: format!("{public_url}/v1/models"),
        token_placeholder: PLACEHOLDER,
        settings_json: json!({ "env": environment }),
        shell_command: pairs(&environment, |name, value| format!("{name}={} ", quoted(value))) + START,
        windows_shell_command: pairs(&environment, |name, value| {
            format!("$env:{name} = {}\n", quoted(value))
        }) + START,
        environment,
        linux_setup_and_start_command: shell_block(
            &[&scripts::install_linux(CLAUDE_CODE_PACKAGE), &configure],
            Some(START),
        ),
        macos_setup_and_start_command: shell_block(
            &[&scripts::install_macos(CLAUDE_CODE_PACKAGE), &configure],
            Some(START),
        ),
        windows_setup_and_start_command: powershell_block(
            &[&dependencies, &install, &in_powershell],
            Some(START),
        ),
        linux_configure_command: configured.clone(),
        macos_configure_command: configured,
        windows_configure_command: powershell_block(&[&in_powershell], None),
        future_start_command: START,
        resume_last_command: RESUME,
        exec_smoke_test_command: format!("{smoke} </dev/null"),
        windows_exec_smoke_test_command: format!("$null | {smoke}"),
    }
}

fn pairs(environment: &Value, pair: impl Fn(&str, &str) -> String) -> String {
    let variables = environment.as_object().expect("made as an object");
    variables.iter().map(|(name, value)| pair(name, value.as_str().expect("made of texts"))).collect()
}
