//! Codex CLI: one provider in its own configuration, and the commands around it.
//!
//! Besides what connects, two things are switched off because they serve nobody here: apps, which want a ChatGPT
//! sign-in, and analytics, which would tell a third party how this service is used. Everything else is left to the
//! customer.

use serde::Serialize;
use utoipa::ToSchema;

use super::scripts::{self, Credential, PLACEHOLDER, Scripts, powershell_block, quoted, shell_block};
use super::{CODEX_NEWEST_TESTED, CODEX_PACKAGE, CODEX_VERSION, INSTALL_TAG, npm_install};

const START: &str = "codex\ncodex --search";
const SEARCHING: &str = "codex --search";
const RESUME: &str = "codex resume --search\ncodex resume --last --search";
const VERIFY: &str = "node --version\nnpm.cmd --version\ngit --version";

/// Codex CLI's settings for this service; wherever the token goes stands `tokenPlaceholder`.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicCodex {
    provider_id: String,
    provider_name: String,
    /// The oldest version that is promised to work.
    official_cli_version: &'static str,
    newest_tested_version: &'static str,
    official_install_tag: &'static str,
    official_install_command: String,
    /// Ends with `/v1`.
    base_url: String,
    /// The variable that `configToml` and `configArgs` read the token from.
    env_key: String,
    wire_api: &'static str,
    model: String,
    reasoning_effort: String,
    models_url: String,
    responses_url: String,
    codex_home: &'static str,
    token_placeholder: &'static str,
    /// What to tell people beside these settings.
    warnings: Vec<&'static str>,
    /// The settings as arguments of one run, quoted for a shell.
    config_args: Vec<String>,
    /// `config.toml` with the token in it.
    persistent_config_toml: String,
    /// `config.toml` with the token in the environment.
    config_toml: String,
    /// Installs, writes the settings, starts.
    linux_setup_and_start_command: String,
    macos_setup_and_start_command: String,
    windows_setup_and_start_command: String,
    /// Writes the settings, and nothing else.
    linux_configure_command: String,
    macos_configure_command: String,
    windows_configure_command: String,
    start_command: String,
    future_start_command: &'static str,
    exec_smoke_test_command: String,
    /// One run with these settings whatever the configuration says, a ChatGPT sign-in included.
    logged_in_override_command: String,
    logged_in_override_exec_smoke_test_command: String,
    resume_last_command: &'static str,
    windows_dependency_install_command: String,
    windows_verify_dependencies_command: &'static str,
    windows_codex_install_command: String,
    windows_full_install_command: String,
    windows_setup_command: String,
    windows_start_command: &'static str,
    windows_resume_last_command: &'static str,
    windows_exec_smoke_test_command: String,
    macos_start_command: &'static str,
    macos_resume_last_command: &'static str,
    macos_exec_smoke_test_command: String,
    /// What the model is called where people read.
    client_model_label: String,
    display_model: String,
    model_display_name: String,
}

/// Beside `danger-full-access` and `never`, in plain words.
pub const WARNING: &str = "With these settings Codex runs commands and changes files without asking and without a \
    sandbox, anywhere your user account may. Use them on a machine and in folders where that is acceptable, or set \
    approval_policy = \"on-request\" and sandbox_mode = \"workspace-write\" to be asked first.";

/// The payload for this host.
pub(super) fn payload(scripts: &Scripts) -> PublicCodex {
    let brand = scripts.brand;
    let base_url = format!("{}/v1", scripts.public_url);
    let label = brand.model_labels.of(&brand.codex_model).to_owned();
    let smoke = smoke_test(brand, SEARCHING);
    let windows_smoke = windows_smoke_test(brand);
    let config_args = config_args(scripts);
    let configure = scripts.codex_configure_sh();
    let configured = shell_block(&[&configure], None);
    let on_linux = shell_block(&[&scripts::install_linux(CODEX_PACKAGE), &configure], Some(SEARCHING));
    let on_macos = shell_block(&[&scripts::install_macos(CODEX_PACKAGE), &configure], Some(SEARCHING));
    let overridden =
        format!("{}={} {SEARCHING} {}", brand.codex_env_key, quoted(PLACEHOLDER), config_args.join(" "));
    let windows = Windows::of(scripts);
    PublicCodex {
        provider_id: brand.provider_id.clone(),
        provider_name: brand.provider_name.clone(),
        official_cli_version: CODEX_VERSION,
        newest_tested_version: CODEX_NEWEST_TESTED,
        official_install_tag: INSTALL_TAG,
        official_install_command: npm_install(CODEX_PACKAGE),
        models_url: format!("{base_url}/models"),
        responses_url: format!("{base_url}/responses"),
        base_url,
        env_key: brand.codex_env_key.clone(),
        wire_api: "responses",
        model: brand.codex_model.clone(),
        reasoning_effort: brand.codex_effort.clone(),
        codex_home: "$HOME/.codex",
        token_placeholder: PLACEHOLDER,
        warnings: vec![WARNING],
        persistent_config_toml: scripts.codex_toml(Credential::Placeholder),
        config_toml: scripts.codex_toml(Credential::Variable),
        start_command: on_linux.clone(),
        linux_setup_and_start_command: on_linux,
        macos_setup_and_start_command: on_macos,
        linux_configure_command: configured.clone(),
        macos_configure_command: configured,
        future_start_command: START,
        logged_in_override_exec_smoke_test_command: smoke_test(brand, &overridden),
        logged_in_override_command: overridden,
        resume_last_command: RESUME,
        windows_setup_and_start_command: windows.setup_and_start,
        windows_configure_command: windows.configure,
        windows_dependency_install_command: windows.dependencies,
        windows_verify_dependencies_command: VERIFY,
        windows_codex_install_command: windows.install,
        windows_full_install_command: windows.full_install,
        windows_setup_command: windows.setup,
        windows_start_command: START,
        windows_resume_last_command: RESUME,
        windows_exec_smoke_test_command: windows_smoke,
        macos_start_command: START,
        macos_resume_last_command: RESUME,
        macos_exec_smoke_test_command: smoke.clone(),
        exec_smoke_test_command: smoke,
        client_model_label: label.clone(),
        display_model: label.clone(),
        model_display_name: label,
        config_args,
    }
}

struct Windows {
    dependencies: String,
    install: String,
    full_install: String,
    configure: String,
    setup: String,
    setup_and_start: String,
}

impl Windows {
    fn of(scripts: &Scripts) -> Self {
        let dependencies = scripts::dependencies_ps1();
        let install = scripts::install_ps1(CODEX_PACKAGE);
        let configure = scripts.codex_configure_ps1();
        Self {
            dependencies: powershell_block(&[&dependencies], None),
            install: powershell_block(&[&install], Some("codex --version")),
            full_install: powershell_block(&[&dependencies, &install], Some("codex --version")),
            configure: powershell_block(&[&configure], None),
            setup: powershell_block(&[&dependencies, &install, &configure], None),
            setup_and_start: powershell_block(&[&dependencies, &install, &configure], Some(SEARCHING)),
        }
    }
}

/// `config.toml` as `-c` arguments: one truth in two forms.
fn config_args(scripts: &Scripts) -> Vec<String> {
    let toml: toml::Table = scripts.codex_toml(Credential::Variable).parse().expect("our own TOML");
    let mut arguments = Vec::new();
    flatten("", &toml, &mut arguments);
    arguments
}

fn flatten(prefix: &str, table: &toml::Table, into: &mut Vec<String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            toml::Value::Table(inner) => flatten(&path, inner, into),
            toml::Value::String(_)
            | toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_)
            | toml::Value::Array(_) => into.push(format!("-c {}", quoted(&format!("{path}={value}")))),
        }
    }
}

/// Standard input is closed: Codex would wait for it.
fn smoke_test(brand: &crate::config::BrandSettings, codex: &str) -> String {
    format!("{codex} exec --skip-git-repo-check \"Say hello from {}.\" </dev/null", brand.provider_name)
}

fn windows_smoke_test(brand: &crate::config::BrandSettings) -> String {
    format!("$null | {SEARCHING} exec --skip-git-repo-check \"Say hello from {}.\"", brand.provider_name)
}
