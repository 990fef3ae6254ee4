//! The golden corpus of usage objects, and that no report whatever yields a wrong number.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::*;

/// A context of a million tokens and the longest answer.
const CEILING: u64 = 1_200_000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Golden {
    why: String,
    dialect: String,
    #[serde(default)]
    web_search_calls: u64,
    /// One report, or those of a stream in order.
    reports: Vec<Box<RawValue>>,
    buckets: Option<Usage>,
    rejected: Option<String>,
}

fn check(golden: &Golden) -> Result<Usage, UsageRejected> {
    let [first, ..] = &golden.reports[..] else { panic!("a report is needed: {}", golden.why) };
    match golden.dialect.as_str() {
        "responses" => {
            let web_search_calls = golden.web_search_calls;
            RawUsage::Responses { report: first.clone(), web_search_calls }.check(CEILING)
        }
        "chat" => parse_openai_chat(first, CEILING),
        "messages" => {
            let mut merged = MessagesReport::default();
            golden.reports.iter().for_each(|report| merged.update(report));
            RawUsage::Messages(merged).check(CEILING)
        }
        other => panic!("no such dialect: {other}"),
    }
}

#[test]
fn every_report_of_the_golden_corpus_has_its_buckets_or_its_reason() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/usage");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let golden: Golden = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        match (check(&golden), golden.buckets, golden.rejected) {
            (Ok(usage), Some(buckets), None) => assert_eq!(usage, buckets, "{name}: {}", golden.why),
            (Err(error), None, Some(reason)) => {
                assert_eq!(error.to_string(), reason, "{name}: {}", golden.why);
            }
            (got, ..) => panic!("{name}: {} but got {got:?}", golden.why),
        }
        seen += 1;
    }
    assert!(seen >= 30, "the corpus is there: {seen} files");
}

#[test]
fn a_whole_anthropic_report_is_one_report() {
    let report = to_raw_value(&json!({"input_tokens": 1, "output_tokens": 2})).unwrap();
    assert_eq!(parse_anthropic(&report, CEILING), Ok(Usage { input: 1, output: 2, ..Usage::default() }));
}

#[test]
fn the_ceiling_is_the_last_believable_sum() {
    let report = to_raw_value(&json!({"input_tokens": 90, "output_tokens": 10})).unwrap();
    assert!(parse_openai_responses(&report, 100).is_ok());
    let absurd = UsageRejected::Absurd { field: "the sum of tokens", figure: 100, ceiling: 99 };
    assert_eq!(parse_openai_responses(&report, 99), Err(absurd.clone()));
    assert_eq!(parse_anthropic(&report, 99), Err(absurd));
}

fn figure() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0u64..2_000).prop_map(Value::from),
        1 => any::<u64>().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
        1 => "[0-9a-z-]{0,4}".prop_map(Value::from),
        1 => Just(json!({})),
        1 => Just(json!([1])),
    ]
}

fn report() -> impl Strategy<Value = Value> {
    const NAMES: [&str; 12] = [
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "cache_read_input_tokens",
        "cache_creation_input_tokens",
        "ephemeral_5m_input_tokens",
        "ephemeral_1h_input_tokens",
        "web_search_requests",
    ];
    let flat = prop::collection::hash_map(prop::sample::select(&NAMES[..]), figure(), 0..12);
    let details = prop::collection::hash_map(
        prop::sample::select(&["cached_tokens", "cache_write_tokens", "reasoning_tokens"][..]),
        figure(),
        0..3,
    );
    (flat, details).prop_map(|(flat, details)| {
        let mut report = json!(flat);
        let details = json!(details);
        for name in [
            "input_tokens_details",
            "output_tokens_details",
            "prompt_tokens_details",
            "completion_tokens_details",
        ] {
            report[name] = details.clone();
        }
        let split = json!({
            "ephemeral_5m_input_tokens": report["ephemeral_5m_input_tokens"],
            "ephemeral_1h_input_tokens": report["ephemeral_1h_input_tokens"],
        });
        report["cache_creation"] = split;
        report["server_tool_use"] = json!({ "web_search_requests": report["web_search_requests"] });
        report
    })
}

proptest! {
    #[test]
    fn no_report_yields_more_than_was_possible_or_a_sum_that_differs(
        reports in prop::collection::vec(report(), 1..4),
    ) {
        let raw: Vec<_> = reports.iter().map(|report| to_raw_value(report).unwrap()).collect();
        let mut merged = MessagesReport::default();
        raw.iter().for_each(|report| merged.update(report));
        let web_search_calls = reports.len() as u64;
        let readings = [
            parse_openai_chat(&raw[0], CEILING),
            RawUsage::Responses { report: raw[0].clone(), web_search_calls }.check(CEILING),
            merged.check(CEILING),
        ];
        for usage in readings.into_iter().flatten() {
            // Checked sums: a wrapped figure would overflow or exceed the ceiling.
            let input = [usage.cached_input, usage.cache_write_5m, usage.cache_write_1h]
                .into_iter()
                .try_fold(usage.input, u64::checked_add)
                .unwrap();
            prop_assert!(input.checked_add(usage.output).unwrap() <= CEILING);
            prop_assert!(usage.reasoning <= usage.output);
            prop_assert!(usage.web_search_calls <= MAX_WEB_SEARCH_CALLS);
        }
        if let Ok(usage) = parse_openai_responses(&raw[0], CEILING) {
            prop_assert_eq!(Some(usage.total_input()), reports[0]["input_tokens"].as_u64());
            prop_assert_eq!(Some(usage.output), reports[0]["output_tokens"].as_u64());
            let total = &reports[0]["total_tokens"];
            prop_assert!(total.is_null() || total.as_u64() == Some(usage.total_tokens()));
        }
    }
}
