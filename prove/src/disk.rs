//! A small file system of its own for Postgres, so that its disk can be filled without anybody else's.
//!
//! It is a tmpfs in a mount namespace of this process: nobody else sees it, and it goes when the process does. Where
//! neither root nor a user namespace may mount one, Postgres stands on the ordinary disk and nothing fills it.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::process::{getegid, geteuid};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Room for a cluster, its log, and some databases.
const MIB: u32 = 320;

const FILLER: &str = "filler";

/// First in large pieces, then to the last page.
const PIECES: [usize; 2] = [1 << 20, 4 << 10];

/// Gives this process mounts of its own. Must be called before there is a second thread.
///
/// # Errors
/// Where the kernel does not allow it; nothing is changed then, or nothing that matters.
pub fn own_mounts() -> io::Result<()> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    if geteuid().is_root() {
        unshare(UnshareFlags::NEWNS)?;
    } else {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?)
}

fn unshare(flags: UnshareFlags) -> io::Result<()> {
    // SAFETY: dangerous where threads share what is unshared; there is one thread, and file descriptors stay shared.
    unsafe { unshare_unsafe(flags) }.map_err(Into::into)
}

/// A mounted tmpfs. Dropping it unmounts it.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    pub fn mount(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let options = CString::new(format!("size={MIB}m,mode=0711")).context("no zero in it")?;
        mount("codexapi-prove", &folder, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())
            .with_context(|| format!("cannot mount a tmpfs at {}", folder.display()))?;
        Ok(Self { folder })
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Leaves no room for another page.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut filler = File::create(self.folder.join(FILLER)).context("cannot make the filler")?;
        for piece in PIECES {
            let piece = vec![0; piece];
            loop {
                match filler.write(&piece) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error).context("cannot fill the disk"),
                }
            }
        }
        Ok(())
    }

    pub fn free(&self) -> anyhow::Result<()> {
        match fs::remove_file(self.folder.join(FILLER)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot free the disk"),
            _ => Ok(()),
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.folder, UnmountFlags::DETACH) {
            eprintln!("cannot unmount {}: {error}", self.folder.display());
        }
    }
}
