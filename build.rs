//! Tells the compiler what it cannot see: migrations are embedded, and snapshots of folded state are
//! valid only for the very code that folded them.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::Path;

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=migrations");
    println!("cargo:rerun-if-changed=aggregates/src");
    let mut digest = DefaultHasher::new();
    hash_folder(Path::new("aggregates/src"), &mut digest)?;
    println!("cargo:rustc-env=CODEXAPI_FOLD_VERSION={:016x}", digest.finish());
    Ok(())
}

fn hash_folder(folder: &Path, digest: &mut DefaultHasher) -> io::Result<()> {
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        path.to_string_lossy().hash(digest);
        if path.is_dir() {
            hash_folder(&path, digest)?;
        } else {
            fs::read(&path)?.hash(digest);
        }
    }
    Ok(())
}
