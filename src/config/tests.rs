use clap::CommandFactory;
use clap::Parser;

use super::*;

#[derive(Parser)]
struct Serve {
    #[command(flatten)]
    config: Config,
}

fn required() -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", "postgres://u:hunter2@localhost/db".into()),
        ("NATS_URL", "nats://u:hunter3@localhost:4222".into()),
        ("CODEXAPI_TOKEN_DIGEST_KEY", "a1".repeat(32)),
    ]
}

fn with(name: &'static str, value: &str) -> Result<Config, SettingError> {
    let others = required().into_iter().filter(|(other, _)| *other != name);
    Config::from_pairs(others.chain([(name, value.to_owned())]))
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Config::from_pairs(required()).expect("enough");
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
    assert!(config.http.metrics_listen.ip().is_loopback());
    assert_eq!(config.wallet.terms(), codexapi_aggregates::wallet::WalletTerms::default());
    assert_eq!(config.catalog.prices, prices::PriceList::built_in());
    assert!(config.catalog.providers.is_empty());
    assert!(config.credentials.sealer().is_none());
}

#[test]
fn each_required_setting_is_named_when_it_is_missing() {
    for (name, _) in required() {
        let pairs = required().into_iter().filter(|(other, _)| *other != name);
        let refusal = Config::from_pairs(pairs).expect_err("incomplete");
        assert_eq!(refusal.setting, name);
        assert!(refusal.problem.starts_with("is not set. It is: "), "{refusal}");
    }
}

#[test]
fn a_node_that_listens_everywhere_must_say_where_others_reach_it() {
    let refusal = with("CODEXAPI_NODE_LISTEN", "0.0.0.0:9470").expect_err("nowhere to send to");
    assert_eq!(refusal.setting, "CODEXAPI_NODE_ADDRESS");
    with("CODEXAPI_NODE_LISTEN", "10.0.0.2:9470").expect("reached where it listens");
    let settings = [("CODEXAPI_NODE_LISTEN", "[::]:9470"), ("CODEXAPI_NODE_ADDRESS", "codexapi-2:9470")];
    let settings = settings.map(|(name, value)| (name, value.to_owned()));
    let config = Config::from_pairs(required().into_iter().chain(settings)).expect("said");
    assert_eq!(config.node.node_address.as_deref(), Some("codexapi-2:9470"));
}

#[test]
fn each_setting_is_named_when_it_is_bad() {
    let bad = [
        ("DATABASE_URL", "mysql://localhost"),
        ("NATS_URL", "localhost"),
        ("CODEXAPI_LISTEN", "8080"),
        ("CODEXAPI_METRICS_LISTEN", "everywhere"),
        ("CODEXAPI_PUBLIC_URL", "https://host/path"),
        ("CODEXAPI_NODE_NAME", "two words"),
        ("CODEXAPI_NODE_LISTEN", "9470"),
        ("CODEXAPI_NODE_ADDRESS", "node-2"),
        ("CODEXAPI_TOKEN_DIGEST_KEY", "abc"),
        ("CODEXAPI_SEALING_KEY", "xyz"),
        ("CODEXAPI_STATIC_API_TOKENS", "short"),
        ("CODEXAPI_STATIC_ADMIN_TOKENS", "short"),
        ("CODEXAPI_NATS_PREFIX", "a.b"),
        ("CODEXAPI_PROVIDERS_FILE", "/nowhere/providers.toml"),
        ("CODEXAPI_PRICES_FILE", "/nowhere/prices.toml"),
        ("CODEXAPI_LOG", "=="),
        ("CODEXAPI_LOG_FORMAT", "xml"),
        ("CODEXAPI_HOLD_MAX_AGE_SECONDS", "0"),
        ("CODEXAPI_LEASE_RENEW_SECONDS", "0"),
        ("CODEXAPI_LEASE_LAPSE_SECONDS", "x"),
        ("CODEXAPI_SWEEP_SECONDS", "-1"),
        ("CODEXAPI_LEAK_FLOOR_USD", "two"),
        ("CODEXAPI_LEAK_BASIS_POINTS", "10001"),
        ("CODEXAPI_INSURED_USD_PER_DAY", "1.0000001"),
        ("CODEXAPI_BODY_LIMIT_BYTES", "1"),
        ("CODEXAPI_CLIENT_CONNECTIONS", "0"),
        ("CODEXAPI_CLIENT_CONNECTIONS_PER_ADDRESS", "0"),
        ("CODEXAPI_CLIENT_HEAD_SECONDS", "0"),
        ("CODEXAPI_CLIENT_BODY_SECONDS", "0"),
        ("CODEXAPI_CLIENT_IDLE_SECONDS", "0"),
        ("CODEXAPI_CLIENT_STALLED_SECONDS", "for ever"),
        ("CODEXAPI_GUMROAD_API_BASE", "http://api.gumroad.com"),
        ("CODEXAPI_PROVIDER_ID", "Codex API"),
        ("CODEXAPI_PROVIDER_NAME", "a\"b"),
        ("CODEXAPI_CODEX_ENV_KEY", "1_KEY"),
        ("CODEXAPI_CODEX_MODEL", "$(id)"),
        ("CODEXAPI_CODEX_EFFORT", "some"),
        ("CODEXAPI_CLAUDE_MODEL", "a b"),
        ("CODEXAPI_CLAUDE_SMALL_MODEL", "a b"),
        ("CODEXAPI_MODEL_LABELS", "gpt-5.5"),
        ("CODEXAPI_LAUNCHER_PACKAGE", "a b"),
        ("CODEXAPI_LAUNCHER_VERSION", "two"),
        ("CODEXAPI_SETTLEMENT_QUEUE", "0"),
        ("CODEXAPI_IN_DOUBT_SECONDS", "601"),
        ("CODEXAPI_STORED_DAYS", "for ever"),
        ("CODEXAPI_STORED_LIMIT_BYTES", "1"),
        ("CODEXAPI_BACKGROUND_PER_NODE", "many"),
        ("CODEXAPI_BACKGROUND_PER_OWNER", "1001"),
        ("CODEXAPI_STRIPE_SECRET_KEY", ""),
        ("CODEXAPI_STRIPE_SECRET_KEY", "pk_test_0123456789abcdef"),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", ""),
        ("CODEXAPI_STRIPE_WEBHOOK_SECRET", "whsec_ short"),
        ("CODEXAPI_STRIPE_API_BASE", "http://api.stripe.com"),
        ("CODEXAPI_STRIPE_API_BASE", "https://api.stripe.com/v1"),
        ("CODEXAPI_STRIPE_SUCCESS_URL", "wallet"),
        ("CODEXAPI_STRIPE_CANCEL_URL", "javascript:alert(1)"),
        ("CODEXAPI_STRIPE_RECONCILE_SECONDS", "0"),
        ("CODEXAPI_COMPANY_NAME", "株式会社"),
        ("CODEXAPI_COMPANY_ADDRESS", "1|2|3|4|5|6"),
        ("CODEXAPI_COMPANY_COUNTRY", "Germany"),
        ("CODEXAPI_COMPANY_EMAIL", "billing"),
        ("CODEXAPI_COMPANY_VAT_ID", ""),
        ("CODEXAPI_COMPANY_VAT_BASIS_POINTS", "19%"),
        ("CODEXAPI_RECEIPT_NOTE", " "),
    ];
    for (name, value) in bad {
        let refusal = with(name, value).expect_err(name);
        assert_eq!(refusal.setting, name);
        assert!(refusal.problem.contains("It is: "), "{refusal}");
    }
}

#[test]
fn a_lease_must_outlive_its_renewals() {
    let refusal =
        Config::from_pairs(required().into_iter().chain([("CODEXAPI_LEASE_LAPSE_SECONDS", "5".to_owned())]))
            .expect_err("as long as the renewal");
    assert_eq!(refusal.setting, "CODEXAPI_LEASE_LAPSE_SECONDS");
}

#[test]
fn neither_of_stripes_two_secrets_stands_without_the_other() {
    let key = ("CODEXAPI_STRIPE_SECRET_KEY", "sk_test_0123456789abcdef");
    let secret = ("CODEXAPI_STRIPE_WEBHOOK_SECRET", "whsec_0123456789abcdef");
    for ((name, value), (missing, _)) in [(key, secret), (secret, key)] {
        let refusal = with(name, value).expect_err("half of it");
        assert_eq!(refusal.setting, missing);
        assert!(!refusal.problem.contains(value), "{refusal}");
    }
    let both = [key, secret].map(|(name, value)| (name, value.to_owned()));
    let config = Config::from_pairs(required().into_iter().chain(both)).expect("both");
    let (key, _) = config.stripe.secrets().expect("payments are taken");
    assert!(!key.is_live());
    let shown = format!("{:?}", config.stripe);
    assert!(!shown.contains("0123456789abcdef"), "{shown}");
    assert!(Config::from_pairs(required()).expect("neither").stripe.secrets().is_none());
}

#[test]
fn receipts_need_all_of_a_company_and_a_vat_id_with_its_rate() {
    let company = [
        ("CODEXAPI_COMPANY_NAME", "Acme"),
        ("CODEXAPI_COMPANY_ADDRESS", "Main Street 1|Springfield"),
        ("CODEXAPI_COMPANY_COUNTRY", "US"),
        ("CODEXAPI_COMPANY_EMAIL", "billing@example.com"),
    ];
    let vat = [("CODEXAPI_COMPANY_VAT_ID", "X1"), ("CODEXAPI_COMPANY_VAT_BASIS_POINTS", "1900")];
    let set = |pairs: Vec<(&'static str, &str)>| {
        let pairs = pairs.into_iter().map(|(name, value)| (name, value.to_owned()));
        Config::from_pairs(required().into_iter().chain(pairs))
    };
    let without = |name: &str| {
        [company.as_slice(), &vat].concat().into_iter().filter(|(other, _)| *other != name).collect()
    };
    for (name, _) in company.into_iter().chain(vat) {
        assert_eq!(set(without(name)).expect_err(name).setting, name);
    }
    assert_eq!(set(vat.to_vec()).expect_err("no company").setting, "CODEXAPI_COMPANY_NAME");
    assert!(set(company.to_vec()).expect("a company").company.company().expect("printed").vat.is_none());
    assert!(
        set([company.as_slice(), &vat].concat())
            .expect("both")
            .company
            .company()
            .expect("printed")
            .vat
            .is_some()
    );
    assert!(set(vec![]).expect("neither").company.company().is_none());
}

#[test]
fn an_unknown_setting_is_refused() {
    let refusal = with("CODEXAPI_LISTNE", "127.0.0.1:1").expect_err("misspelt");
    assert_eq!(refusal.setting, "CODEXAPI_LISTNE");
}

#[test]
fn a_bad_secret_is_never_quoted() {
    let secret = "hunter2hunter2hunter2hunter2,x";
    let names =
        ["CODEXAPI_SEALING_KEY", "CODEXAPI_TOKEN_DIGEST_KEY", "CODEXAPI_STATIC_API_TOKENS", "NATS_URL"];
    for name in names {
        let refusal = with(name, secret).expect_err(name).to_string();
        assert!(!refusal.contains("hunter2"), "{refusal}");
    }
}

#[test]
fn an_address_is_quoted_without_its_password() {
    let names = ["CODEXAPI_PUBLIC_URL", "CODEXAPI_STRIPE_API_BASE", "CODEXAPI_GUMROAD_API_BASE"];
    for (name, password) in
        names.into_iter().flat_map(|name| ["hunter2", "hun/ter2@x"].map(|given| (name, given)))
    {
        let refusal =
            with(name, &format!("https://u:{password}@host.example/x")).expect_err(name).to_string();
        assert!(refusal.contains("…@host.example"), "{refusal}");
        assert!(!refusal.contains("ter2"), "{refusal}");
    }
}

#[test]
fn debug_output_shows_no_secret() {
    let token = "cdx-admin-averylongtokenindeed";
    let config = with("CODEXAPI_STATIC_ADMIN_TOKENS", token).expect("good");
    let shown = format!("{config:?}");
    for secret in ["hunter2", "hunter3", "a1a1", token] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn the_help_lists_every_setting_with_its_variable() {
    let help = Serve::command().render_long_help().to_string();
    let command = Serve::command();
    let settings: Vec<_> = command.get_arguments().filter(|arg| arg.get_id() != "help").collect();
    assert!(settings.len() > 30, "only {} settings", settings.len());
    for arg in settings {
        let variable = arg.get_env().unwrap_or_else(|| panic!("{} has no variable", arg.get_id()));
        assert!(help.contains(&*variable.to_string_lossy()), "{variable:?} is not in the help");
        assert!(arg.get_help().is_some(), "{variable:?} is not documented");
    }
}

#[test]
fn a_secret_given_as_a_flag_is_refused() {
    let command = Serve::command();
    let refusal = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        secret_on_command_line(&command, &arguments)
    };
    let secrets: Vec<_> = command.get_arguments().filter(|arg| arg.is_hide_env_values_set()).collect();
    assert_eq!(secrets.len(), 9);
    for arg in secrets {
        let flag = format!("--{}", arg.get_long().expect("a flag"));
        for given in [vec![flag.as_str(), "hunter2"], vec![&format!("{flag}=hunter2")]] {
            let refused = refusal(&given).unwrap_or_else(|| panic!("{given:?} was taken"));
            assert_eq!(Some(refused.setting.as_ref()), arg.get_env());
            assert!(refused.problem.contains("is a secret") && !refused.problem.contains("hunter2"));
        }
    }
    assert_eq!(refusal(&["--node-name=node-7", "--", "--token-digest-key"]), None);
}

#[test]
fn the_help_names_secrets_as_variables_and_never_as_flags() {
    let mut command = without_secret_flags(Serve::command());
    for help in [command.render_help(), command.render_long_help()].map(|help| help.to_string()) {
        for arg in Serve::command().get_arguments().filter(|arg| arg.is_hide_env_values_set()) {
            let (flag, variable) = (arg.get_long().expect("a flag"), arg.get_env().expect("a variable"));
            assert!(!help.contains(&format!("--{flag} ")), "--{flag} in {help}");
            assert!(help.contains(&*variable.to_string_lossy()), "{variable:?} is not in {help}");
        }
    }
}

#[test]
fn a_misspelt_setting_is_named_with_the_one_that_was_meant() {
    let command = Serve::command();
    let config = Config {
        catalog: CatalogSettings {
            providers: providers::Providers::parse(KEYED_PROVIDER, |_| Some("hunter2".into())).expect("good"),
            ..Config::from_pairs(required()).expect("enough").catalog
        },
        ..Config::from_pairs(required()).expect("enough")
    };
    let said = |name: &str| {
        let unknown = unknown_settings(&command, &config, [name.into()]);
        unknown.first().map(ToString::to_string)
    };
    for fine in [
        "PATH",
        "CODEXAPI_LISTEN",
        "CODEXAPI_CRASH_AT",
        "CODEXAPI_CODEX_API_KEY",
        "CODEXAPI_HOUSE_KEY",
        "DATABASE_ULR",
    ] {
        assert_eq!(said(fine), None, "{fine}");
    }
    for (misspelt, meant) in [
        ("CODEXAPI_LISTNE", "CODEXAPI_LISTEN"),
        ("CODEXAPI_PROVIDER_FILE", "CODEXAPI_PROVIDERS_FILE"),
        ("CODEXAPI_DATABASE_URL", "DATABASE_URL"),
    ] {
        let said = said(misspelt).expect("unknown");
        assert!(said.starts_with(&format!("{misspelt} is not a setting")), "{said}");
        assert!(said.contains(&format!("{meant} is the nearest")), "{said}");
    }
    let said = said("CODEXAPI_QWERTYUIOPASDF").expect("unknown");
    assert!(!said.contains("nearest"), "{said}");
}

/// A provider whose key has a name like a setting's.
const KEYED_PROVIDER: &str = r#"
[[providers]]
name = "house"
protocol = "chat"
base_url = "https://api.example.com"
api_key_env = "CODEXAPI_HOUSE_KEY"
[[providers.models]]
model = "gpt-5.5"
"#;
