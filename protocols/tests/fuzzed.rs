//! Every input that fuzzing begins with or has found, through the bodies of its targets.

#[path = "../../fuzz/src/targets/mod.rs"]
mod targets;

use std::path::Path;

use targets::TARGETS;

/// Regressions are `fuzz/regressions/<target>/<any name>`.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/regressions");

#[test]
fn no_seed_breaks_a_promise() {
    for target in &TARGETS {
        for seed in (target.seeds)() {
            eprintln!("{}: {}", target.name, String::from_utf8_lossy(&seed));
            (target.body)(&seed);
        }
    }
}

#[test]
fn what_fuzzing_once_found_is_mended() {
    let folders = std::fs::read_dir(REGRESSIONS).expect("findings are kept");
    let folders = folders.map(|entry| entry.expect("readable").path()).filter(|path| path.is_dir());
    for folder in folders {
        let name = folder.file_name().and_then(|name| name.to_str()).expect("a target's name");
        let target = TARGETS.iter().find(|target| target.name == name).expect("a target by that name");
        for input in inputs(&folder) {
            eprintln!("{name}: {input:?}");
            (target.body)(&std::fs::read(&input).expect("readable"));
        }
    }
}

#[test]
fn no_noise_breaks_a_promise() {
    for noise in targets::noise() {
        TARGETS.iter().for_each(|target| (target.body)(&noise));
    }
}

fn inputs(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("readable");
    entries.map(|entry| entry.expect("readable").path()).collect()
}
