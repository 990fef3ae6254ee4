//! Secrets that are known when they are seen, driven through everything the service does, and looked for wherever it
//! writes something down: its log in full detail, events, read tables, NATS, metrics, errors, documents, exports,
//! what its commands print, its command line.
//!
//! What may stand somewhere is named here, and nothing else may: people in their erasable table, prompts where their
//! owner had them stored, tokens sealed.

use std::collections::BTreeSet;
use std::path::Path;

use codexapi::embedded::simulated_providers;
use http::Method;
use serde_json::{Value, json};

use crate::cash::fake_gumroad::{FakeGumroad, PRODUCT};
use crate::faults::service::World;
use crate::harness::{TestDatabase, wait_for};
use crate::payments::Stripe;

const ADMIN_TOKEN: &str = "cdx-admin-canary-aK4ZpXw8Qe1r";
const OPERATOR_TOKEN: &str = "cdx-op-canary-bT7mNvYc2Ls9";
const PROVIDER_KEY: &str = "sk-canary-provider-cR5uJhGd3Fk6";
const SIGNED_IN_TOKEN: &str = "canary-signed-in-dW9oIyEt4Mv2";
const SEALING_KEY: &str = "ca11ab1e5ea11ca11ab1e5ea11ca11ab1e5ea11ca11ab1e5ea11ca11ab1e5ea1";
const WRONG_TOKEN: &str = "g2g-codex-canary-eB6xSzAq7Pn8";
const PROMPT: &str = "canary-prompt-fH3lKjVb5Cw1";
const STORED_PROMPT: &str = "canary-stored-prompt-gD8iUoTy2Rz4";
const NAME: &str = "Canary-Name-hN1qMwEr6Xs7";
const EMAIL: &str = "canary-email-jp5vzbnm9ka3@example.com";
const MOBILE: &str = "+4915227043618";
const FINGERPRINT: &str = "canary-device-kF2dGhJt4Uy6";
const LICENCE: &str = "GOOD-canary-licence-lS7aQwZx1Ec3";
const CLIENT_ADDRESS: &str = "203.0.113.227";

/// What customers are shown of themselves.
const OWN: [&str; 2] = ["a name", "an e-mail address"];

/// The only tables that a canary may stand in.
const PERSONS: &str = "persons";
const STORED: [&str; 2] = ["stored_responses", "stored_completions"];

const COMPANY: [(&str, &str); 4] = [
    ("CODEXAPI_COMPANY_NAME", "Example Company Ltd"),
    ("CODEXAPI_COMPANY_ADDRESS", "1 Example Street|Exampletown"),
    ("CODEXAPI_COMPANY_COUNTRY", "IE"),
    ("CODEXAPI_COMPANY_EMAIL", "billing@example.com"),
];

/// A service all of whose secrets are canaries.
struct Aviary {
    world: World,
    stripe: Stripe,
    canaries: Vec<(&'static str, String)>,
    /// What was answered, and what of it may be in it: an answer may say again what was asked.
    heard: Vec<(String, &'static [&'static str], String)>,
    _gumroad: FakeGumroad,
    _homes: tempfile::TempDir,
    _database: TestDatabase,
}

impl Aviary {
    async fn start() -> Self {
        let database = TestDatabase::new().await;
        let (stripe, gumroad) = (Stripe::start().await, FakeGumroad::start().await);
        let homes = tempfile::tempdir().expect("a folder");
        let auth =
            json!({"tokens": {"id_token": "i", "access_token": SIGNED_IN_TOKEN, "account_id": "account"}});
        std::fs::write(homes.path().join("auth.json"), auth.to_string()).expect("written");
        let home = homes.path().display().to_string();
        let more = [
            ("CODEXAPI_STATIC_ADMIN_TOKENS", ADMIN_TOKEN),
            ("CODEXAPI_STATIC_API_TOKENS", OPERATOR_TOKEN),
            ("CODEXAPI_SEALING_KEY", SEALING_KEY),
            ("CANARY_PROVIDER_KEY", PROVIDER_KEY),
            ("CODEXAPI_STRIPE_SECRET_KEY", crate::payments::KEY),
            ("CODEXAPI_STRIPE_WEBHOOK_SECRET", crate::payments::SECRET),
            ("CODEXAPI_STRIPE_API_BASE", stripe.fake.base_url()),
            ("CODEXAPI_GUMROAD_API_BASE", &gumroad.url),
            ("CODEXAPI_GUMROAD_PRODUCT_ID", PRODUCT),
            ("CODEXAPI_TRUSTED_PROXIES", "127.0.0.1"),
            // Providers are told to fail here.
            ("CODEXAPI_CIRCUIT_FAILURES", "0"),
            ("CODEXAPI_LOG", "trace"),
        ];
        let world = World::start_at(database.pool.clone(), &[&more[..], &COMPANY].concat(), |simulator| {
            providers(simulator, &home)
        })
        .await;
        stripe.tell(&world.base_url).await;
        let password = database_password(world.setting("DATABASE_URL"));
        let canaries = [
            ("the admin's token", ADMIN_TOKEN),
            ("the operator's token", OPERATOR_TOKEN),
            ("the provider's key", PROVIDER_KEY),
            ("the signed-in account's token", SIGNED_IN_TOKEN),
            ("Stripe's key", crate::payments::KEY),
            ("Stripe's webhook secret", crate::payments::SECRET),
            ("the sealing key", SEALING_KEY),
            ("the digest key", world.setting("CODEXAPI_TOKEN_DIGEST_KEY")),
            ("the database's password", &password),
            ("a stranger's token", WRONG_TOKEN),
            ("a prompt", PROMPT),
            ("a stored prompt", STORED_PROMPT),
            ("a name", NAME),
            ("an e-mail address", EMAIL),
            ("a mobile number", MOBILE),
            ("a device", FINGERPRINT),
            ("a licence key", LICENCE),
            ("a client's address", CLIENT_ADDRESS),
        ];
        let canaries = canaries.map(|(what, secret)| (what, secret.to_owned())).to_vec();
        let (_gumroad, _homes, _database) = (gumroad, homes, database);
        Self { world, stripe, canaries, heard: vec![], _gumroad, _homes, _database }
    }

    /// Sends a request as a client behind a proxy; the answer is kept to be searched.
    async fn ask(&mut self, method: Method, path: &str, token: &str, body: Option<Value>) -> Value {
        self.ask_and_hear(method, path, token, body, &[]).await
    }

    /// A generation: its answer may repeat what it was asked.
    async fn generate(&mut self, path: &str, token: &str, body: &Value) {
        self.ask_and_hear(Method::POST, path, token, Some(body.clone()), &["a prompt"]).await;
    }

    async fn ask_and_hear(
        &mut self,
        method: Method,
        path: &str,
        token: &str,
        body: Option<Value>,
        allowed: &'static [&'static str],
    ) -> Value {
        let text = self.ask_unheard(method.clone(), path, token, body).await;
        let value = serde_json::from_str(&text).unwrap_or(Value::Null);
        self.heard.push((format!("{method} {path}"), allowed, text));
        value
    }

    /// The same for what the caller may read.
    async fn ask_unheard(&self, method: Method, path: &str, token: &str, body: Option<Value>) -> String {
        let url = format!("{}{path}", self.world.base_url);
        let mut request = self.world.http.request(method, url).bearer_auth(token);
        request =
            request.header("x-forwarded-for", CLIENT_ADDRESS).header("content-type", "application/json");
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        request.send().await.expect("an answer").text().await.expect("text")
    }

    /// Keeps a secret that the service itself has made.
    fn hatches(&mut self, what: &'static str, secret: &str) {
        // The part before the last hyphen is the same for everybody.
        let own = secret.rsplit('-').next().expect("something");
        assert!(own.len() >= 16, "{what}");
        self.canaries.push((what, own.to_owned()));
    }

    fn found_in(&self, text: &[u8]) -> Vec<&'static str> {
        let contains = |secret: &str| memchr::memmem::find(text, secret.as_bytes()).is_some();
        self.canaries.iter().filter(|(_, secret)| contains(secret)).map(|(what, _)| *what).collect()
    }

    fn assert_only(&self, allowed: &[&str], place: &str, text: &[u8]) {
        let found = self.found_in(text);
        let strays = found.iter().any(|what| !allowed.contains(what));
        assert!(!strays, "{found:?} in {place}: {}", around(text, &self.canaries));
    }

    fn assert_none(&self, place: &str, text: &[u8]) {
        assert!(!text.is_empty(), "nothing to search: {place}");
        self.assert_only(&[], place, text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_stands_anywhere_but_where_it_must() {
    let mut aviary = Aviary::start().await;
    let (account, token) = an_account(&mut aviary).await;
    generations(&mut aviary, &token).await;
    refusals(&mut aviary, &token).await;
    payments(&mut aviary, &token).await;
    operators(&mut aviary, &account).await;
    aviary.world.projected().await;

    for (place, allowed, text) in &aviary.heard {
        aviary.assert_only(allowed, place, text.as_bytes());
    }
    documents(&aviary, &token).await;
    commands(&aviary, &account).await;
    tables(&aviary).await;
    let bus = files(&aviary.world.folder().join("nats"));
    aviary.assert_none("NATS", &bus);
    aviary.assert_none("the command line", &aviary.world.command_line());
    aviary.world.stop_service().await;
    aviary.assert_none("the log", &std::fs::read(aviary.world.service_log()).expect("a log"));
}

/// One by Gumroad, with everything personal there is; and what the command line makes.
async fn an_account(aviary: &mut Aviary) -> (String, String) {
    let sign_up = json!({
        "email": EMAIL, "name": NAME, "mobile": MOBILE, "country": "DE", "licenseKey": LICENCE,
        "deviceFingerprint": FINGERPRINT,
    });
    let text = aviary.ask_unheard(Method::POST, "/api/v1/gumroad/register", WRONG_TOKEN, Some(sign_up)).await;
    let made: Value = serde_json::from_str(&text).expect("JSON");
    let token = made["systemToken"].as_str().unwrap_or_else(|| panic!("{text}")).to_owned();
    let account = made["accountId"].as_str().expect("an id").to_owned();
    aviary.hatches("a System Token", &token);
    let output = aviary.world.run(&["admin", "--json", "customer", "key", "issue", &account]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let issued: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let key = issued["token"].as_str().unwrap_or_else(|| panic!("{issued}")).to_owned();
    aviary.hatches("an API key", &key);
    for made in [&token, &key] {
        wait_for("it works", async || {
            let told = aviary.ask_unheard(Method::GET, "/api/v1/me", made, None).await;
            told.contains(&account).then_some(())
        })
        .await;
    }
    (account, token)
}

/// In every dialect, streamed and not, served and failed, paid by the customer and the operator.
async fn generations(aviary: &mut Aviary, token: &str) {
    let told = |told: &str| format!("{PROMPT} [[sim:{{{told}}}]]");
    for directive in [r#""output_tokens":3"#, r#""status":400"#, r#""status":500"#, r#""status":429"#] {
        for stream in [false, true] {
            let text = told(directive);
            let responses = json!({
                "model": "gpt-5.5", "stream": stream, "store": false, "input": text, "instructions": PROMPT,
                "prompt_cache_key": PROMPT, "user": PROMPT, "metadata": {"note": PROMPT}, "max_output_tokens": 16,
            });
            let chat = json!({
                "model": "gpt-5.5", "stream": stream, "messages": [{"role": "user", "content": text}],
                "user": PROMPT, "max_completion_tokens": 16,
            });
            let messages = json!({
                "model": "claude-opus-4-8", "stream": stream, "messages": [{"role": "user", "content": text}],
                "system": PROMPT, "metadata": {"user_id": PROMPT}, "max_tokens": 16,
            });
            for payer in [token, OPERATOR_TOKEN] {
                aviary.generate("/v1/responses", payer, &responses).await;
                aviary.generate("/v1/chat/completions", payer, &chat).await;
                aviary.generate("/v1/messages", payer, &messages).await;
            }
        }
    }
    // A signed-in account serves only where a rule names it.
    let rule = json!({"model": "deepseek-v4-pro", "targets": [{"provider": "signed-in", "weight": 1}]});
    let ruled = json!({"targets": [rule]});
    aviary.ask(Method::POST, "/admin/api/manage-models", ADMIN_TOKEN, Some(ruled)).await;
    let signed_in = json!({
        "model": "deepseek-v4-pro", "stream": true, "store": false, "input": told(r#""output_tokens":3"#),
    });
    let text = aviary.ask_unheard(Method::POST, "/v1/responses", token, Some(signed_in)).await;
    assert!(text.contains("response.completed"), "{text}");
    let stored = json!({"model": "gpt-5.5", "input": STORED_PROMPT, "max_output_tokens": 16});
    let text = aviary.ask_unheard(Method::POST, "/v1/responses", token, Some(stored)).await;
    assert!(text.contains("\"id\":\"resp_"), "{text}");
}

/// Secrets where they do not belong: in paths, queries, bodies that are no JSON, other headers.
async fn refusals(aviary: &mut Aviary, token: &str) {
    for path in ["/v1/models", "/api/v1/me", "/admin/api/users", "/v1/responses/resp_1"] {
        aviary.ask(Method::GET, path, WRONG_TOKEN, None).await;
        aviary.ask_and_hear(Method::GET, path, token, None, &OWN).await;
    }
    for path in [
        format!("/v1/models?api_key={token}"),
        format!("/api/v1/me?token={token}&email={EMAIL}"),
        format!("/{token}"),
        format!("/v1/models/{token}"),
        format!("/v1/responses/{token}"),
        format!("/api/v1/receipts/{token}"),
        format!("/api/v1/billing/statement?from={token}"),
    ] {
        // The URL a caller asks for may come back to that caller; it is the log that this is about.
        aviary.ask_unheard(Method::GET, &path, token, None).await;
        aviary.ask_unheard(Method::GET, &path, WRONG_TOKEN, None).await;
    }
    for path in ["/v1/responses", "/v1/chat/completions", "/v1/messages", "/api/v1/gumroad/register"] {
        for body in [json!(PROMPT), json!({"model": PROMPT, "input": 7}), json!({"email": EMAIL, "name": 7})]
        {
            aviary.ask_unheard(Method::POST, path, token, Some(body)).await;
        }
    }
    let hook = json!({"id": "evt_1", "email": EMAIL, "secret": PROMPT});
    aviary.ask(Method::POST, "/api/v1/stripe/webhook", WRONG_TOKEN, Some(hook)).await;
}

/// A top-up, told of by the webhook, and a card that may be charged again.
async fn payments(aviary: &mut Aviary, token: &str) {
    let order = json!({"amountMicro": 10_000_000, "idempotencyKey": "load-1"});
    let page = aviary.ask(Method::POST, "/api/v1/cash-wallet/stripe/checkout", token, Some(order)).await;
    let session = page["sessionId"].as_str().unwrap_or_else(|| panic!("{page}"));
    aviary.stripe.control("POST", &format!("/checkout/sessions/{session}/pay"), json!({})).await;
    for event in aviary.stripe.held().await {
        assert_eq!(aviary.stripe.deliver(&event).await, Some(200));
        assert_eq!(
            aviary.stripe.deliver_spoiled(&event, json!({"secret": "whsec_another-one-altogether"})).await,
            Some(400)
        );
    }
    aviary.world.projected().await;
    let (payment, url) = (page["paymentId"].as_str().expect("an id"), &aviary.world.base_url);
    let receipt = aviary.world.http.get(format!("{url}/api/v1/receipts/{payment}.pdf")).bearer_auth(token);
    let pdf = receipt.send().await.expect("an answer").bytes().await.expect("a body");
    let printed = lopdf::Document::load_mem(&pdf).expect("a PDF").extract_text(&[1]).expect("text");
    aviary.assert_only(&OWN, "a receipt", printed.as_bytes());
    aviary.assert_only(&OWN, "a receipt's bytes", &pdf);
    let coupon = json!({"code": PROMPT});
    aviary.ask_unheard(Method::POST, "/api/v1/wallet/topup-discount", token, Some(coupon)).await;
}

/// What operators read, but for the lists of customers, which show people.
async fn operators(aviary: &mut Aviary, account: &str) {
    let own = [
        "/admin/api/billing",
        "/admin/api/users",
        "/admin/api/gumroad/pending",
        "/admin/api/payments",
        "/admin/api/receipts",
    ];
    let lists = codexapi::http::routes().into_iter().filter(|route| {
        let read = route.method == Method::GET && route.path.starts_with("/admin/api/");
        read && !route.path.contains("{receipt}") && !own.contains(&route.path)
    });
    for route in lists {
        let path = route.path.replace("{user_id}", account).replace("{invoice_id}", account);
        aviary.ask(Method::GET, &path, ADMIN_TOKEN, None).await;
    }
    for path in own {
        let shown = aviary.ask_unheard(Method::GET, path, ADMIN_TOKEN, None).await;
        aviary.assert_only(&["a name", "an e-mail address", "a mobile number"], path, shown.as_bytes());
    }
}

/// What everybody reads, what is exported, what is scraped.
async fn documents(aviary: &Aviary, token: &str) {
    let mut paths: Vec<String> = codexapi::http::routes()
        .into_iter()
        .filter(|route| route.method == Method::GET && !route.path.contains('{'))
        .filter(|route| !route.path.starts_with("/admin"))
        .map(|route| route.path.to_owned())
        .collect();
    let exports = ["statement?format=csv", "statement?format=json", "token-usage"];
    paths.extend(exports.map(|export| format!("/api/v1/billing/{export}")));
    for path in paths {
        let text = aviary.ask_unheard(Method::GET, &path, token, None).await;
        let allowed: &[&str] = if path == "/api/v1/me" { &OWN } else { &[] };
        aviary.assert_only(allowed, &path, text.as_bytes());
    }
    let metrics = format!("http://{}/metrics", aviary.world.setting("CODEXAPI_METRICS_LISTEN"));
    let scraped = aviary.world.http.get(metrics).send().await.expect("metrics").text().await.expect("text");
    assert!(scraped.contains("codexapi_requests"));
    aviary.assert_none("metrics", scraped.as_bytes());
}

/// What commands print with all secrets in their environment, and what they say of settings that are bad.
async fn commands(aviary: &Aviary, account: &str) {
    let printed: [&[&str]; 9] = [
        &["events", account],
        &["events", account, "--json"],
        &["verify", "--json"],
        &["serve", "--help"],
        &["admin", "--help"],
        &["admin", "queue"],
        &["admin", "margin"],
        &["admin", "pricing", "show"],
        &["admin", "customer", "transactions", account],
    ];
    for arguments in printed {
        let output = aviary.world.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = [output.stdout, output.stderr].concat();
        aviary.assert_none(&format!("{arguments:?}"), &text);
    }
    let bad = [
        ("DATABASE_URL", format!("mysql://user:{PROMPT}@host/db")),
        ("NATS_URL", format!("http://user:{PROMPT}@host")),
        ("CODEXAPI_TOKEN_DIGEST_KEY", PROMPT.into()),
        ("CODEXAPI_SEALING_KEY", PROMPT.into()),
        ("CODEXAPI_STATIC_ADMIN_TOKENS", format!("{PROMPT} {PROMPT}")),
        ("CODEXAPI_STRIPE_SECRET_KEY", format!("pk_live_{PROMPT}")),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", PROMPT.into()),
        ("DATABASE_URL", format!("postgres://user:{PROMPT}@127.0.0.1:9/db")),
    ];
    for (setting, value) in bad {
        let mut program = aviary.world.program(&["serve"], &[(setting, &value)]);
        let output = program.output().await.expect("the program runs");
        assert!(!output.status.success(), "{setting}");
        aviary.assert_none(setting, &[output.stdout, output.stderr].concat());
    }
}

/// Every table there is, row by row.
async fn tables(aviary: &Aviary) {
    let names: Vec<String> = sqlx::query_scalar(
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = 'public' AND table_type = 'BASE TABLE'",
    )
    .fetch_all(&aviary.world.pool)
    .await
    .expect("tables");
    assert!(names.len() > 20, "{names:?}");
    let mut found = BTreeSet::new();
    for name in names {
        let all = format!("SELECT row_to_json(t)::text FROM \"{name}\" t");
        let rows: Vec<String> = sqlx::query_scalar(&all).fetch_all(&aviary.world.pool).await.expect("rows");
        for row in rows {
            found.extend(aviary.found_in(row.as_bytes()).into_iter().map(|what| (name.clone(), what)));
        }
    }
    let allowed = |(table, what): &(String, &str)| match *what {
        "a name" | "an e-mail address" | "a mobile number" => table == PERSONS,
        "a stored prompt" => STORED.contains(&table.as_str()),
        _ => false,
    };
    let stray: Vec<_> = found.iter().filter(|place| !allowed(place)).collect();
    assert!(stray.is_empty(), "{stray:?}");
    assert!(found.contains(&(PERSONS.into(), "a name")), "the search finds what is there: {found:?}");
    assert!(found.iter().any(|(_, what)| *what == "a stored prompt"), "{found:?}");
}

fn providers(simulator: &str, codex_home: &str) -> String {
    let signed_in = format!(
        r#"
[[providers]]
name = "signed-in"
kind = "codex_home"
codex_home = "{codex_home}"
terms_allow_resale = true
base_url = "{simulator}/v1"
[[providers.models]]
model = "deepseek-v4-pro"
"#
    );
    simulated_providers(simulator, r#"api_key_env = "CANARY_PROVIDER_KEY""#) + &signed_in
}

fn database_password(url: &str) -> String {
    let url: reqwest::Url = url.parse().expect("a URL");
    url.password().expect("a password").to_owned()
}

/// All bytes of all files below `folder`.
fn files(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.extend(std::fs::read(&path).expect("a file"));
        }
    }
    all
}

/// The line that the first canary stands on.
fn around(text: &[u8], canaries: &[(&str, String)]) -> String {
    let text = String::from_utf8_lossy(text);
    let line = text.lines().find(|line| canaries.iter().any(|(_, secret)| line.contains(secret)));
    line.unwrap_or_default().chars().take(2_000).collect()
}
