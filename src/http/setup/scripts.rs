//! The blocks customers paste: shell for Linux and macOS, PowerShell for Windows.
//!
//! A block is handed over as a whole (a here-document for `sh`, a script block for PowerShell), so that it reads the
//! same in every interactive shell, and one that fails stops where it failed without ending the customer's terminal.
//! What it writes it writes once: a second run changes nothing, a run over something else keeps a copy of that first.
//! The token stands in one place, is never printed, and the file it goes into is for its owner alone.

use askama::Template;
use serde_json::{Value, json};

use crate::config::BrandSettings;

/// What stands where the customer's token goes.
pub const PLACEHOLDER: &str = "<CODEXAPI_API_KEY>";

/// No retries of single requests: Codex multiplies them by those of the stream, and 30 requests would follow one
/// failure by default. The stream's retries cover every failure that another try can mend.
pub const REQUEST_MAX_RETRIES: u32 = 0;

/// Twice: a connection lost on the way, and a "try again in 10s", which Codex obeys.
pub const STREAM_MAX_RETRIES: u32 = 2;

/// The same for Claude Code, whose default would repeat a refusal for minutes.
const CLAUDE_MAX_RETRIES: &str = "3";

/// Where and for whom the blocks are made.
#[derive(Clone, Copy)]
pub struct Scripts<'a> {
    pub brand: &'a BrandSettings,
    /// Without a trailing slash and without `/v1`.
    pub public_url: &'a str,
}

/// How Codex's configuration names the token.
#[derive(Clone, Copy)]
pub enum Credential {
    /// The placeholder, to be replaced.
    Placeholder,
    /// The environment variable of the brand.
    Variable,
    /// `${token}` of the shell block.
    Shell,
    /// `$Token` of the PowerShell block.
    PowerShell,
}

impl Scripts<'_> {
    /// Codex's `config.toml`, ending with a newline.
    pub fn codex_toml(&self, credential: Credential) -> String {
        let bearer = |token: &str| format!("experimental_bearer_token = \"{token}\"");
        let credential = match credential {
            Credential::Placeholder => bearer(PLACEHOLDER),
            Credential::Variable => format!("env_key = \"{}\"", self.brand.codex_env_key),
            Credential::Shell => bearer("${token}"),
            Credential::PowerShell => bearer("$Token"),
        };
        let base_url = format!("{}/v1", self.public_url);
        let toml = CodexToml {
            brand: self.brand,
            base_url: &base_url,
            credential: &credential,
            request_max_retries: REQUEST_MAX_RETRIES,
            stream_max_retries: STREAM_MAX_RETRIES,
        };
        rendered(&toml) + "\n"
    }

    /// Writes Codex's configuration; the inside of a shell block.
    pub fn codex_configure_sh(&self) -> String {
        let toml = self.codex_toml(Credential::Shell);
        let (brand, toml) = (self.brand, toml.trim_end());
        rendered(&CodexConfigureSh { brand, placeholder: PLACEHOLDER, toml })
    }

    /// Writes Codex's configuration; the inside of a PowerShell block.
    pub fn codex_configure_ps1(&self) -> String {
        let toml = self.codex_toml(Credential::PowerShell);
        let (brand, toml) = (self.brand, toml.trim_end());
        rendered(&CodexConfigurePs1 { brand, placeholder: PLACEHOLDER, toml })
    }

    /// What Claude Code is told, by its environment variables; the token is the placeholder.
    pub fn claude_environment(&self) -> Value {
        json!({
            "ANTHROPIC_BASE_URL": self.public_url,
            "ANTHROPIC_AUTH_TOKEN": PLACEHOLDER,
            "ANTHROPIC_MODEL": self.brand.claude_model,
            "ANTHROPIC_SMALL_FAST_MODEL": self.brand.claude_small_model,
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_MAX_RETRIES": CLAUDE_MAX_RETRIES,
        })
    }

    /// Writes Claude Code's settings; the inside of a shell block.
    pub fn claude_configure_sh(&self) -> String {
        let environment = self.environment_without_token();
        rendered(&ClaudeConfigureSh {
            brand: self.brand,
            placeholder: PLACEHOLDER,
            environment: &environment,
        })
    }

    /// Writes Claude Code's settings; the inside of a PowerShell block.
    pub fn claude_configure_ps1(&self) -> String {
        let environment = self.environment_without_token();
        rendered(&ClaudeConfigurePs1 {
            brand: self.brand,
            placeholder: PLACEHOLDER,
            environment: &environment,
        })
    }

    /// The token stands in one place of a block, not in two.
    fn environment_without_token(&self) -> String {
        let mut environment = self.claude_environment();
        environment["ANTHROPIC_AUTH_TOKEN"] = "".into();
        format!("{environment:#}")
    }
}

/// Installs an npm package on Linux; the inside of a shell block.
pub fn install_linux(package: &str) -> String {
    rendered(&InstallLinux { package })
}

/// Installs an npm package on macOS; the inside of a shell block.
pub fn install_macos(package: &str) -> String {
    rendered(&InstallMacos { package })
}

/// Installs Node.js and Git on Windows where they are missing; the inside of a PowerShell block.
pub fn dependencies_ps1() -> String {
    rendered(&DependenciesPs1)
}

/// Installs an npm package on Windows; the inside of a PowerShell block.
pub fn install_ps1(package: &str) -> String {
    rendered(&InstallPs1 { package })
}

/// One shell block that runs `parts` in order and then, where all of them succeed, `start`.
pub fn shell_block(parts: &[&str], start: Option<&str>) -> String {
    let start = start.map(|start| format!(" && {start}")).unwrap_or_default();
    format!("sh <<'SETUP_END'{start}\n{}\nSETUP_END", parts.join("\n"))
}

/// The same for PowerShell; its here-strings must begin their lines, so nothing is indented.
pub fn powershell_block(parts: &[&str], start: Option<&str>) -> String {
    let mut lines = vec!["& {"];
    lines.extend(parts);
    lines.extend(start);
    lines.push("}");
    lines.join("\n")
}

/// A one-line word for shells, in single quotes; `text` holds none.
pub fn quoted(text: &str) -> String {
    format!("'{text}'")
}

fn rendered(template: &impl Template) -> String {
    template.render().expect("writing to a string does not fail")
}

#[derive(Template)]
#[template(path = "setup/codex.toml", escape = "none")]
struct CodexToml<'a> {
    brand: &'a BrandSettings,
    base_url: &'a str,
    credential: &'a str,
    request_max_retries: u32,
    stream_max_retries: u32,
}

#[derive(Template)]
#[template(path = "setup/codex_configure.sh", escape = "none")]
struct CodexConfigureSh<'a> {
    brand: &'a BrandSettings,
    placeholder: &'a str,
    toml: &'a str,
}

#[derive(Template)]
#[template(path = "setup/codex_configure.ps1", escape = "none")]
struct CodexConfigurePs1<'a> {
    brand: &'a BrandSettings,
    placeholder: &'a str,
    toml: &'a str,
}

#[derive(Template)]
#[template(path = "setup/claude_configure.sh", escape = "none")]
struct ClaudeConfigureSh<'a> {
    brand: &'a BrandSettings,
    placeholder: &'a str,
    environment: &'a str,
}

#[derive(Template)]
#[template(path = "setup/claude_configure.ps1", escape = "none")]
struct ClaudeConfigurePs1<'a> {
    brand: &'a BrandSettings,
    placeholder: &'a str,
    environment: &'a str,
}

#[derive(Template)]
#[template(path = "setup/install_linux.sh", escape = "none")]
struct InstallLinux<'a> {
    package: &'a str,
}

#[derive(Template)]
#[template(path = "setup/install_macos.sh", escape = "none")]
struct InstallMacos<'a> {
    package: &'a str,
}

#[derive(Template)]
#[template(path = "setup/dependencies.ps1", escape = "none")]
struct DependenciesPs1;

#[derive(Template)]
#[template(path = "setup/install.ps1", escape = "none")]
struct InstallPs1<'a> {
    package: &'a str,
}
