//! The file in which objects outlive a restart, so that what a service remembers of them still exists.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::world::Objects;

pub struct Kept {
    file: PathBuf,
}

impl Kept {
    pub fn in_file(file: PathBuf) -> Self {
        Kept { file }
    }

    pub fn read(&self) -> anyhow::Result<Objects> {
        match fs::read(&self.file) {
            Ok(text) => serde_json::from_slice(&text)
                .with_context(|| format!("{} is not what this program wrote", self.file.display())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Objects::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", self.file.display())),
        }
    }

    /// Whole or not at all, whenever the program dies.
    pub fn write(&self, objects: &Objects) -> anyhow::Result<()> {
        let beside = beside(&self.file);
        fs::write(&beside, serde_json::to_vec(objects).context("objects are JSON")?)
            .and_then(|()| fs::rename(&beside, &self.file))
            .with_context(|| format!("cannot write {}", self.file.display()))
    }
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}
