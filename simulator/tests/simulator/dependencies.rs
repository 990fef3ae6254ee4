//! The witness stands alone.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_simulator_depends_on_no_other_crate_of_the_workspace() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--locked"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let members = metadata["workspace_members"].as_array().expect("members");
    let nodes = metadata["resolve"]["nodes"].as_array().expect("nodes");
    let node = |id: &Value| {
        nodes
            .iter()
            .find(|node| node["id"] == *id)
            .expect("every package is resolved")
    };
    let ours = members
        .iter()
        .find(|id| id.as_str().is_some_and(|id| id.contains("simulator")))
        .expect("the simulator is a member");

    let mut seen = vec![ours];
    let mut at = 0;
    while at < seen.len() {
        for dependency in node(seen[at])["dependencies"].as_array().expect("a list") {
            if !seen.contains(&dependency) {
                seen.push(dependency);
            }
        }
        at += 1;
    }
    let siblings: Vec<_> = seen[1..].iter().filter(|id| members.contains(id)).collect();
    assert!(seen.len() > 1, "the graph was read");
    assert!(siblings.is_empty(), "depends on {siblings:?}");
}
