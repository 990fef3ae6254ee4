//! What `codexapi dev` prints when it is ready: each kind of client, ready to paste.
//!
//! The whole text is a shell script, headings being comments, so a part or all of it can be pasted as it stands.
//! Nothing in it touches the user's own client settings: Codex gets a home of its own, Claude Code its environment.

/// What the text is made of. Values go into shell words unquoted by us: they are URLs, tokens and model names.
#[derive(Clone, Copy)]
pub struct Banner<'a> {
    /// Without a trailing slash, e.g. `http://127.0.0.1:8787`.
    pub base_url: &'a str,
    pub customer_token: &'a str,
    /// The demo customer's balance as shown, e.g. `$10.00`.
    pub balance: &'a str,
    /// `Some` when answers come from the simulator and not from a provider.
    pub simulator_url: Option<&'a str>,
    /// The fake Stripe's address.
    pub stripe_url: &'a str,
    pub data_dir: &'a str,
    /// Where Prometheus would read.
    pub metrics_url: &'a str,
    /// A file of exports for the operator's commands.
    pub environment: &'a str,
    /// This program's path.
    pub program: &'a str,
    pub customer_id: &'a str,
    pub openai_model: &'a str,
    pub anthropic_model: &'a str,
}

impl Banner<'_> {
    /// The text, ending with a newline.
    pub fn text(&self) -> String {
        let parts = [
            self.introduction(),
            self.curl(),
            self.codex(),
            self.claude_code(),
            self.python(),
            self.account(),
            self.top_up(),
            self.operator(),
            "# Ctrl-C stops everything; the data stays.\n".to_owned(),
        ];
        parts.join("\n")
    }

    fn introduction(&self) -> String {
        let Self { base_url, customer_token, balance, stripe_url, data_dir, metrics_url, .. } = self;
        let upstream = match self.simulator_url {
            Some(url) => {
                format!("the built-in simulator ({url}): no provider is configured, no model is called")
            }
            None => "the configured providers".to_owned(),
        };
        format!(
            "# codexapi is ready.\n\
             #   base URL        {base_url}/v1\n\
             #   demo customer   {customer_token}   (balance {balance})\n\
             #   answers from    {upstream}\n\
             #   paid with       the built-in fake Stripe ({stripe_url}): no card is charged\n\
             #   metrics         {metrics_url}\n\
             #   data folder     {data_dir}\n"
        )
    }

    fn curl(&self) -> String {
        let Self { base_url, customer_token, openai_model, anthropic_model, .. } = self;
        format!(
            r#"# --- curl: Responses, streamed
curl -sN {base_url}/v1/responses -H 'Authorization: Bearer {customer_token}' -H 'Content-Type: application/json' \
  -d '{{"model":"{openai_model}","input":"Say hello","stream":true}}'

# --- curl: Chat Completions
curl -s {base_url}/v1/chat/completions -H 'Authorization: Bearer {customer_token}' -H 'Content-Type: application/json' \
  -d '{{"model":"{openai_model}","messages":[{{"role":"user","content":"Say hello"}}]}}'

# --- curl: Anthropic Messages
curl -s {base_url}/v1/messages -H 'x-api-key: {customer_token}' -H 'anthropic-version: 2023-06-01' \
  -H 'Content-Type: application/json' \
  -d '{{"model":"{anthropic_model}","max_tokens":256,"messages":[{{"role":"user","content":"Say hello"}}]}}'
"#
        )
    }

    fn codex(&self) -> String {
        let config = self.codex_config();
        format!(
            r#"# --- Codex CLI (npm install -g @openai/codex@latest), in a home of its own
mkdir -p "$HOME/.codexapi-dev/codex"
cat > "$HOME/.codexapi-dev/codex/config.toml" <<'TOML'
{config}TOML
CODEX_HOME="$HOME/.codexapi-dev/codex" codex exec --skip-git-repo-check "Say hello" </dev/null
"#
        )
    }

    /// The `config.toml` for Codex CLI: retries few, since each is a request to be metered anew; no contact with any
    /// host but ours.
    fn codex_config(&self) -> String {
        let Self { base_url, customer_token, openai_model, .. } = self;
        format!(
            r#"model = "{openai_model}"
model_provider = "codexapi"
check_for_update_on_startup = false

[model_providers.codexapi]
name = "codexapi"
base_url = "{base_url}/v1"
experimental_bearer_token = "{customer_token}"
wire_api = "responses"
supports_websockets = false
request_max_retries = 0
stream_max_retries = 1

[analytics]
enabled = false

[features]
apps = false
plugins = false
"#
        )
    }

    fn claude_code(&self) -> String {
        let Self { base_url, customer_token, anthropic_model, .. } = self;
        format!(
            r#"# --- Claude Code (npm install -g @anthropic-ai/claude-code)
ANTHROPIC_BASE_URL={base_url} ANTHROPIC_AUTH_TOKEN={customer_token} ANTHROPIC_MODEL={anthropic_model} \
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 claude -p "Say hello"
"#
        )
    }

    fn python(&self) -> String {
        let Self { base_url, customer_token, openai_model, anthropic_model, .. } = self;
        format!(
            r#"# --- OpenAI SDK (pip install openai)
python3 - <<'PY'
from openai import OpenAI
client = OpenAI(base_url="{base_url}/v1", api_key="{customer_token}")
print(client.responses.create(model="{openai_model}", input="Say hello").output_text)
PY

# --- Anthropic SDK (pip install anthropic)
python3 - <<'PY'
from anthropic import Anthropic
client = Anthropic(base_url="{base_url}", api_key="{customer_token}")
message = client.messages.create(model="{anthropic_model}", max_tokens=256,
                                 messages=[{{"role": "user", "content": "Say hello"}}])
print("".join(block.text for block in message.content if block.type == "text"))
PY
"#
        )
    }

    fn operator(&self) -> String {
        let Self { environment, program, customer_id, .. } = self;
        format!(
            "# --- the operator's side: every event of the wallet, a proof of it all, the margin\n\
             # (Postgres has another port after each start: read the file again then)\n\
             . {environment}\n\
             {program} events {customer_id}\n\
             {program} verify\n\
             {program} admin margin\n"
        )
    }

    /// The page's button is pressed by `curl` here, so that the whole text runs; a browser does the same.
    fn top_up(&self) -> String {
        let Self { base_url, customer_token, .. } = self;
        format!(
            r#"# --- top up, $5 for $30 of credit: open the page in a browser and press Pay, or let the line after it do so
PAGE=$(curl -s {base_url}/api/v1/wallet/stripe/checkout -H 'Authorization: Bearer {customer_token}' \
  -H 'Content-Type: application/json' --data '{{"planId":"starter","saveCard":true}}' | sed 's/.*"url":"\([^"]*\)".*/\1/')
echo "$PAGE"
curl -s "$PAGE" --data action=pay && sleep 1
curl -s {base_url}/api/v1/wallet/status -H 'Authorization: Bearer {customer_token}'
"#
        )
    }

    fn account(&self) -> String {
        let Self { base_url, customer_token, .. } = self;
        format!(
            "# --- what it cost: the balance, then every charge\n\
             curl -s {base_url}/api/v1/wallet/status -H 'Authorization: Bearer {customer_token}'\n\
             curl -s {base_url}/api/v1/billing/token-usage -H 'Authorization: Bearer {customer_token}'\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    const BANNER: Banner<'static> = Banner {
        base_url: "http://127.0.0.1:8787",
        customer_token: "g2g-codex-0123456789abcdef",
        balance: "$10.00",
        simulator_url: Some("http://127.0.0.1:20001"),
        stripe_url: "http://127.0.0.1:20002",
        data_dir: "/var/lib/codexapi-dev",
        metrics_url: "http://127.0.0.1:20003/metrics",
        environment: "/var/lib/codexapi-dev/secrets/environment",
        program: "target/debug/codexapi",
        customer_id: "0de00000-0000-7000-8000-000000000001",
        openai_model: "gpt-5.5",
        anthropic_model: "claude-opus-4-8",
    };

    #[test]
    fn the_whole_text_is_a_shell_script() {
        let mut shell = Command::new("sh").arg("-n").stdin(Stdio::piped()).spawn().expect("sh");
        shell.stdin.take().expect("piped").write_all(BANNER.text().as_bytes()).expect("written");
        assert!(shell.wait().expect("ended").success());
    }

    #[test]
    fn every_json_body_is_json_with_a_configured_model() {
        let text = BANNER.text();
        let bodies: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("-d '")?.strip_suffix('\''))
            .map(|body| serde_json::from_str(body).expect("JSON"))
            .collect();
        let models: Vec<&str> = bodies.iter().map(|body| body["model"].as_str().expect("a model")).collect();
        assert_eq!(models, ["gpt-5.5", "gpt-5.5", "claude-opus-4-8"]);
    }

    #[test]
    fn the_codex_block_is_toml_that_points_at_us_without_websockets_or_piled_up_retries() {
        let text = BANNER.text();
        let block =
            text.split("<<'TOML'\n").nth(1).and_then(|rest| rest.split("TOML\n").next()).expect("a block");
        let config: toml::Table = toml::from_str(block).expect("TOML");
        assert_eq!(config["model_provider"].as_str(), Some("codexapi"));
        let provider = &config["model_providers"]["codexapi"];
        assert_eq!(provider["base_url"].as_str(), Some("http://127.0.0.1:8787/v1"));
        assert_eq!(provider["experimental_bearer_token"].as_str(), Some(BANNER.customer_token));
        assert_eq!(provider["wire_api"].as_str(), Some("responses"));
        assert_eq!(provider["supports_websockets"].as_bool(), Some(false));
        assert_eq!(provider["request_max_retries"].as_integer(), Some(0));
        assert_eq!(provider["stream_max_retries"].as_integer(), Some(1));
    }

    #[test]
    fn it_says_so_when_answers_are_simulated_and_only_then() {
        assert!(BANNER.text().contains("simulator (http://127.0.0.1:20001)"));
        assert!(!Banner { simulator_url: None, ..BANNER }.text().contains("simulator"));
    }
}
