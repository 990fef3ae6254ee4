//! A server's folder: held by one process at a time, with its logs and secrets inside.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

const LOCK_FILE: &str = "in-use.lock";
/// Of a log shown when a start fails.
const TAIL_BYTES: i64 = 4_096;

/// Exclusive use of a folder, until dropped or until this process dies.
///
/// The kernel's lock, not the file's existence, is what holds: a crash leaves the file but no lock.
#[derive(Debug)]
pub struct FolderLock {
    file: File,
}

impl FolderLock {
    /// Creates the folder if need be. Refuses at once, naming the holder's process id, if another process has it.
    pub fn acquire(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let path = folder.join(LOCK_FILE);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).context("cannot read the lock's holder")?;
                bail!(
                    "{} is in use by process {}; stop it, or choose another folder with --data",
                    folder.display(),
                    holder.trim()
                )
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        file.set_len(0)
            .and_then(|()| file.write_all(std::process::id().to_string().as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self { file })
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child being forked just now holds a copy of it until it runs its program.
        // Should unlocking fail, closing frees the folder a moment later.
        let _freed_when_closed = flock(&self.file, FlockOperation::Unlock);
    }
}

/// The secret kept in `path`, readable by its owner alone; made by `generate` the first time.
pub(crate) fn kept_secret(path: &Path, generate: impl FnOnce() -> String) -> anyhow::Result<String> {
    match fs::read_to_string(path) {
        Ok(secret) if !secret.trim().is_empty() => return Ok(secret.trim().to_owned()),
        Ok(_) => {
            bail!("{} is empty; restore it, or remove the whole data folder to start anew", path.display())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
    let secret = generate();
    // Written aside and renamed: a crash in between must not leave half a key.
    let unfinished = path.with_extension("new");
    write_private(&unfinished, &secret)?;
    fs::rename(&unfinished, path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(secret)
}

/// Writes a file that only its owner can read, replacing what was there.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

/// A child's log file: the last run's is kept beside it as `.1`.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    path: PathBuf,
}

impl LogFile {
    pub fn in_folder(folder: &Path, name: &str) -> Self {
        Self { path: folder.join(name) }
    }

    /// Moves the last run's log aside and opens a new one for appending.
    pub fn rotate(&self) -> anyhow::Result<File> {
        match fs::rename(&self.path, self.path.with_extension("log.1")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot rotate {}", self.path.display()));
            }
            _ => {}
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)
            .with_context(|| format!("cannot open {}", self.path.display()))
    }

    /// All of this run's log.
    pub fn text(&self) -> String {
        fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of this run's log with its path, for an error message.
    pub fn tail(&self) -> String {
        let read_end = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.path)?;
            let length = i64::try_from(file.metadata()?.len()).unwrap_or(i64::MAX);
            file.seek(SeekFrom::End(-length.min(TAIL_BYTES)))?;
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(end)
        };
        match read_end() {
            Ok(end) => {
                format!("{} ends with:\n{}", self.path.display(), String::from_utf8_lossy(&end).trim_end())
            }
            Err(error) => format!("{} cannot be read: {error}", self.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_held_folder_is_refused_with_the_holders_process_id_and_free_again_after() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let held = FolderLock::acquire(folder.path()).expect("free");

        let refusal = FolderLock::acquire(folder.path()).expect_err("held").to_string();
        assert!(refusal.contains(&format!("in use by process {};", std::process::id())), "{refusal}");

        drop(held);
        FolderLock::acquire(folder.path()).expect("free again");
    }

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_can_read_it() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("key");
        assert_eq!(kept_secret(&path, || "first".to_owned()).expect("made"), "first");
        assert_eq!(kept_secret(&path, || "second".to_owned()).expect("kept"), "first");
        assert_eq!(fs::metadata(&path).expect("exists").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_emptied_secret_is_refused_instead_of_replaced() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("key");
        fs::write(&path, "\n").expect("file");
        kept_secret(&path, || "new".to_owned()).expect_err("a new key would orphan what the old one sealed");
    }

    #[test]
    fn a_log_keeps_one_earlier_run_and_its_tail_names_the_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let log = LogFile::in_folder(folder.path(), "server.log");
        log.rotate().expect("opened").write_all(b"first run").expect("written");
        log.rotate().expect("opened").write_all(b"second run").expect("written");
        assert_eq!(fs::read_to_string(folder.path().join("server.log.1")).expect("kept"), "first run");
        assert!(log.tail().ends_with("server.log ends with:\nsecond run"), "{}", log.tail());
    }
}
