//! What is wrong is found, and made small: a read table that somebody has edited, and a bill that the oracle lost.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A plain generation of the second customer's.
fn generation(id: u32) -> Value {
    json!({ "id": id, "at_ms": 100 * id, "act": { "generate": {
        "customer": 1, "with_key": false, "node": 0, "dialect": "chat", "model": "gpt", "stream": true,
        "input_tokens": 120, "cached_tokens": 20, "output_tokens": 30, "deltas": 3, "first_byte_ms": 10,
        "chunk_ms": 5, "provider": "answers", "abort": null,
    } } })
}

fn prove(folder: &Path, steps: &[Value], more: &[&str]) -> Output {
    let plan = json!({ "seed": 7, "nodes": 1, "customers": 2, "steps": steps });
    let file = folder.join("plan.json");
    std::fs::write(&file, plan.to_string()).expect("a file");
    Command::new(env!("CARGO_BIN_EXE_codexapi-prove"))
        .arg("--plan")
        .arg(file)
        .arg("--out")
        .arg(folder)
        .args(more)
        .output()
        .expect("the program runs")
}

/// The steps of the smallest plan that failed.
fn smallest(folder: &Path) -> Vec<Value> {
    let written = std::fs::read_to_string(folder.join("smallest-7.json")).expect("a plan was written");
    let plan: Value = serde_json::from_str(&written).expect("JSON");
    plan["steps"].as_array().expect("steps").clone()
}

#[test]
fn an_edited_read_table_is_found_and_the_one_step_that_did_it_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // The first customer's, whose row nothing folds again.
    let tamper = json!({ "id": 3, "at_ms": 250, "act": { "tamper": { "customer": 0 } } });
    let output = prove(folder.path(), &[generation(1), generation(2), tamper, generation(4)], &[]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("by the read table") && said.contains("FAILED, seed 7"), "{said}");
    assert!(said.contains("verify: "), "verify sees it too: {said}");
    let left = smallest(folder.path());
    assert_eq!(left.iter().map(|step| &step["id"]).collect::<Vec<_>>(), [&json!(3)], "{said}");
}

#[test]
fn a_bill_that_the_oracle_lost_is_missed_and_one_generation_is_left() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = prove(folder.path(), &[generation(1), generation(2)], &["--drop-bill"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("which nobody billed"), "{said}");
    assert_eq!(smallest(folder.path()).len(), 1, "{said}");
}
