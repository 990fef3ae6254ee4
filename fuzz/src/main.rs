//! Fuzzes one target; `scripts/fuzz` builds it and says which by `CODEXAPI_FUZZ_TARGET`.
//!
//! Asked for `CODEXAPI_FUZZ_SEEDS`, it writes every target's seeds into that folder instead and ends.

#![no_main]

mod memory;
mod targets;

use std::path::Path;
use std::sync::OnceLock;

use targets::{TARGETS, Target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: begin(),
    |data: &[u8]| memory::within_bounds(data, CHOSEN.get().expect("chosen at the start").body)
);

fn begin() {
    if let Some(folder) = std::env::var_os("CODEXAPI_FUZZ_SEEDS") {
        write_seeds(Path::new(&folder)).expect("the folder for seeds can be written");
        std::process::exit(0);
    }
    let name = std::env::var("CODEXAPI_FUZZ_TARGET").unwrap_or_default();
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("CODEXAPI_FUZZ_TARGET is `{name}`; known are {}", known.join(", "));
        std::process::exit(2);
    };
    // What is built once and stays (the tokenizer) is not counted against an input.
    (TARGETS[3].body)(br#"0{"input":"x"}"#);
    CHOSEN.get_or_init(|| target);
}

fn write_seeds(folder: &Path) -> std::io::Result<()> {
    for target in &TARGETS {
        let own = folder.join(target.name);
        std::fs::create_dir_all(&own)?;
        for (nth, seed) in (target.seeds)().into_iter().enumerate() {
            std::fs::write(own.join(format!("seed-{nth}")), seed)?;
        }
    }
    Ok(())
}
