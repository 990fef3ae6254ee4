//! What can be known of the blocks without the shells they are for.
//!
//! The shell blocks are run against the real clients by `tests/clients`; there is no PowerShell there, so its blocks
//! are held to its grammar here as far as that is cheap.

use std::io::Write as _;
use std::process::{Command, Stdio};

use clap::{Args as _, FromArgMatches as _};
use serde_json::Value;

use super::scripts::{PLACEHOLDER, Scripts};
use super::{claude_code, codex};
use crate::config::BrandSettings;

const URL: &str = "https://gateway.example";

fn brand() -> BrandSettings {
    let command = BrandSettings::augment_args(clap::Command::new("test").no_binary_name(true));
    let matches = command.mut_args(|arg| arg.env(clap::builder::Resettable::Reset)).get_matches_from([""; 0]);
    BrandSettings::from_arg_matches(&matches).expect("defaults")
}

fn payloads() -> [Value; 2] {
    let brand = brand();
    let scripts = Scripts { brand: &brand, public_url: URL };
    let codex = serde_json::to_value(codex::payload(&scripts)).expect("JSON");
    [codex, serde_json::to_value(claude_code::payload(&scripts)).expect("JSON")]
}

/// Every text of both payloads whose field's name passes, with that name.
fn texts(pick: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let fields = payloads().into_iter().flat_map(|payload| payload.as_object().expect("fields").clone());
    fields
        .filter(|(name, _)| pick(name))
        .filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())))
        .collect()
}

fn is_windows(name: &str) -> bool {
    name.starts_with("windows")
}

fn is_command(name: &str) -> bool {
    name.ends_with("Command")
}

#[test]
fn the_documented_fields_are_all_there() {
    let [codex, _] = payloads();
    let documented = [
        "providerId",
        "providerName",
        "officialCliVersion",
        "officialInstallTag",
        "officialInstallCommand",
        "baseUrl",
        "envKey",
        "wireApi",
        "model",
        "reasoningEffort",
        "modelsUrl",
        "responsesUrl",
        "codexHome",
        "configArgs",
        "persistentConfigToml",
        "linuxSetupAndStartCommand",
        "macosSetupAndStartCommand",
        "futureStartCommand",
        "startCommand",
        "execSmokeTestCommand",
        "loggedInOverrideCommand",
        "loggedInOverrideExecSmokeTestCommand",
        "resumeLastCommand",
        "windowsDependencyInstallCommand",
        "windowsVerifyDependenciesCommand",
        "windowsCodexInstallCommand",
        "windowsFullInstallCommand",
        "windowsSetupAndStartCommand",
        "windowsSetupCommand",
        "windowsStartCommand",
        "windowsResumeLastCommand",
        "windowsExecSmokeTestCommand",
        "macosStartCommand",
        "macosResumeLastCommand",
        "macosExecSmokeTestCommand",
        "configToml",
        "clientModelLabel",
        "displayModel",
        "modelDisplayName",
    ];
    for field in documented {
        assert!(codex.get(field).is_some_and(|value| !value.is_null()), "{field}");
    }
    assert_eq!(codex["baseUrl"], format!("{URL}/v1"));
    assert_eq!(codex["modelDisplayName"], "ChatGPT-5.5");
}

#[test]
fn both_configurations_are_toml_and_say_what_the_fields_say() {
    let [codex, _] = payloads();
    for field in ["persistentConfigToml", "configToml"] {
        let toml: toml::Table = codex[field].as_str().expect("text").parse().expect("TOML");
        assert_eq!(toml["model"].as_str(), codex["model"].as_str());
        let provider = &toml["model_providers"]["codexapi"];
        assert_eq!(provider["base_url"].as_str(), codex["baseUrl"].as_str());
        assert_eq!(provider["request_max_retries"].as_integer(), Some(0));
        assert_eq!(provider["stream_max_retries"].as_integer(), Some(2));
    }
    let arguments = codex["configArgs"].as_array().expect("arguments");
    assert!(arguments.contains(&"-c 'model_providers.codexapi.env_key=\"CODEXAPI_CODEX_API_KEY\"'".into()));
    assert!(arguments.contains(&"-c 'features.apps=false'".into()));
}

#[test]
fn full_access_never_goes_without_a_warning() {
    let [codex, _] = payloads();
    assert!(codex["warnings"][0].as_str().expect("text").contains("without asking"));
    for (name, text) in texts(|_| true) {
        if text.contains("sandbox_mode = \"danger-full-access\"") {
            assert!(text.contains("without asking and without a sandbox"), "{name}");
        }
    }
}

#[test]
fn the_token_stands_in_one_place_of_a_block_and_is_never_printed() {
    for (name, text) in texts(is_command) {
        let places = text.matches(PLACEHOLDER).count();
        assert!(places <= 1, "{name}: {places}");
        let writes = name.ends_with("ConfigureCommand") || name.contains("SetupAndStart");
        assert_eq!(places == 1, writes || text.contains(PLACEHOLDER), "{name}");
        for line in text.lines() {
            let prints = ["echo ", "Write-Host", "console."].iter().any(|verb| line.contains(verb));
            let token =
                ["$token", "${token}", "$Token.", "TOKEN", PLACEHOLDER].iter().any(|it| line.contains(it));
            assert!(!(prints && token), "{name}: {line}");
        }
    }
}

#[test]
fn shells_can_read_every_shell_block() {
    for (name, text) in texts(|name| is_command(name) && !is_windows(name)) {
        for shell in ["sh", "bash"] {
            assert!(reads(shell, &text), "{name} in {shell}:\n{text}");
            // What the here-document hands to `sh` is text to the outer shell.
            let Some((_, inside)) = text.split_once("SETUP_END' && ").or(text.split_once("SETUP_END'"))
            else {
                continue;
            };
            let inside = inside.split_once('\n').map_or("", |(_, rest)| rest).replace("\nSETUP_END", "\n");
            assert!(reads("sh", &inside), "the inside of {name}:\n{inside}");
        }
    }
}

fn reads(shell: &str, text: &str) -> bool {
    let mut child =
        Command::new(shell).arg("-n").stdin(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a shell");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    child.wait().expect("ended").success()
}

#[test]
fn powershell_blocks_keep_to_powershell() {
    let blocks = texts(|name| is_command(name) && is_windows(name));
    assert!(blocks.len() >= 10, "{}", blocks.len());
    for (name, text) in blocks {
        for bash in ["</dev/null", "<<", "&&", "||", "set -e", "export ", "; then", "; do"] {
            assert!(!text.contains(bash), "{name} holds {bash}");
        }
        balanced(&name, &without_here_strings(&name, &text));
    }
}

#[test]
fn what_powershell_writes_is_toml_and_json() {
    let configure = texts(|name| name == "windowsConfigureCommand");
    let codex = here_strings(&configure[0].1).remove(0).replace("$Token", "g2g-codex-x");
    assert!(!codex.contains('$') && !codex.contains('`'), "{codex}");
    let toml: toml::Table = codex.parse().expect("TOML");
    assert_eq!(
        toml["model_providers"]["codexapi"]["experimental_bearer_token"].as_str(),
        Some("g2g-codex-x")
    );
    let claude = here_strings(&configure[1].1).remove(0);
    let json: Value = serde_json::from_str(&claude).expect("JSON");
    assert_eq!(json["ANTHROPIC_BASE_URL"], URL);
}

/// The texts between `@"` or `@'` at a line's end and its counterpart at a line's beginning.
fn here_strings(text: &str) -> Vec<String> {
    let (mut found, mut open): (Vec<String>, Option<(char, Vec<&str>)>) = (vec![], None);
    for line in text.lines() {
        match open.take() {
            Some((quote, lines)) if line.starts_with(&format!("{quote}@")) => {
                assert_eq!(quote, line.chars().next().expect("a quote"));
                found.push(lines.join("\n"));
            }
            Some((quote, mut lines)) => {
                lines.push(line);
                open = Some((quote, lines));
            }
            None => {
                let quote = ['"', '\''].into_iter().find(|quote| line.ends_with(&format!("@{quote}")));
                open = quote.map(|quote| (quote, vec![]));
            }
        }
    }
    assert!(open.is_none(), "a here-string is not closed");
    found
}

fn without_here_strings(name: &str, text: &str) -> String {
    let mut rest = text.to_owned();
    for inside in here_strings(text) {
        rest = rest.replacen(&inside, "", 1);
    }
    assert!(!rest.is_empty(), "{name}");
    rest
}

/// Brackets outside of strings close in the order they were opened, and strings end on their line.
fn balanced(name: &str, text: &str) {
    let mut open = vec![];
    for line in text.lines().filter(|line| !line.ends_with("@\"") && !line.ends_with("@'")) {
        let line = line.trim_start_matches("\"@").trim_start_matches("'@");
        let mut quote = None;
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match (quote, character) {
                (_, '`') => {
                    characters.next();
                }
                (Some(begun), _) if begun == character => quote = None,
                (Some(_), _) => {}
                (None, '"' | '\'') => quote = Some(character),
                (None, '(' | '{' | '[') => open.push(character),
                (None, ')' | '}' | ']') => {
                    let opened = open.pop().unwrap_or_else(|| panic!("{name}: {character} too many: {line}"));
                    assert!(
                        matches!((opened, character), ('(', ')') | ('{', '}') | ('[', ']')),
                        "{name}: {line}"
                    );
                }
                (None, _) => {}
            }
        }
        assert_eq!(quote, None, "{name}: a string does not end: {line}");
    }
    assert!(open.is_empty(), "{name}: {open:?} stay open");
}
