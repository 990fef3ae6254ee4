//! The witness stands alone.

use std::process::Command;

use serde_json::Value;

/// Only a path dependency can lead to a crate of this workspace: what comes from
/// a registry cannot know them. So the declared dependencies are enough, and
/// reading them needs no network.
#[test]
fn the_fake_depends_on_no_other_crate_of_the_workspace() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("the members");
    let names: Vec<&Value> = packages.iter().map(|package| &package["name"]).collect();
    assert!(names.len() > 1, "the siblings are listed: {names:?}");
    let ours = packages
        .iter()
        .find(|package| package["name"] == env!("CARGO_PKG_NAME"))
        .expect("the fake is a member");
    let dependencies = ours["dependencies"].as_array().expect("a list");
    assert!(!dependencies.is_empty());
    for dependency in dependencies {
        assert!(!names.contains(&&dependency["name"]), "{dependency}");
        assert_eq!(dependency.get("path"), None, "{dependency}");
    }
}
