//! Which account the Postgres server runs as, and whether it can reach its folder.
//!
//! Postgres refuses to run as root, which is what containers and fresh machines often give us. Then it runs as the
//! owner of an existing cluster, or as one of the accounts every Debian has.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, bail};

/// Tried in this order when root starts a new cluster.
const ACCOUNTS: [&str; 2] = ["postgres", "nobody"];

/// An account of this machine that is not root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    /// `None`: run as who we are. `cluster` may not exist yet.
    pub fn for_cluster(cluster: &Path) -> anyhow::Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Ok(metadata) = fs::metadata(cluster)
            && metadata.uid() != 0
        {
            return Ok(Some(Self { uid: metadata.uid(), gid: metadata.gid() }));
        }
        let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        match ACCOUNTS.iter().find_map(|name| find_account(&accounts, name)) {
            Some(user) => Ok(Some(user)),
            None => bail!(
                "Postgres does not run as root, and this machine has none of the accounts {ACCOUNTS:?}; \
                 create one (`adduser --system --group postgres`) or start this as another user"
            ),
        }
    }

    /// Refuses a folder that this account cannot walk to, naming the first folder that stops it.
    pub fn check_reach(&self, folder: &Path) -> anyhow::Result<()> {
        let folder = folder.canonicalize().with_context(|| format!("cannot resolve {}", folder.display()))?;
        let mut path_from_root: Vec<&Path> = folder.ancestors().collect();
        path_from_root.reverse();
        for step in path_from_root {
            let metadata =
                fs::metadata(step).with_context(|| format!("cannot look at {}", step.display()))?;
            if !self.can_enter(&metadata) {
                bail!(
                    "Postgres does not run as root, and user id {uid}, as which it would run, cannot enter {step}; \
                     choose a data folder elsewhere (such as /var/lib/codexapi-dev), \
                     or open this one with `chmod o+x {step}`",
                    uid = self.uid,
                    step = step.display(),
                )
            }
        }
        Ok(())
    }

    fn can_enter(&self, metadata: &fs::Metadata) -> bool {
        let mode = metadata.permissions().mode();
        let execute = if metadata.uid() == self.uid {
            0o100
        } else if metadata.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        mode & execute != 0
    }
}

/// One line of passwd(5) is `name:password:uid:gid:…`.
fn find_account(accounts: &str, wanted: &str) -> Option<ServerUser> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (name == wanted && uid != 0).then_some(ServerUser { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_found_by_its_whole_name_and_root_is_never_taken() {
        let accounts = "root:x:0:0::/root:/bin/sh\npostgresql:x:7:8::/:/bin/sh\npostgres:x:101:104::/:/bin/sh\n\
                        toor:x:0:0::/root:/bin/sh\nbroken line\n";
        assert_eq!(find_account(accounts, "postgres"), Some(ServerUser { uid: 101, gid: 104 }));
        assert_eq!(find_account(accounts, "toor"), None);
        assert_eq!(find_account(accounts, "nobody"), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_named() {
        let outer = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("temporary folder");
        let inner = outer.path().join("postgres");
        fs::create_dir(&inner).expect("folder");
        // Nobody has this id, so it owns nothing here.
        let stranger = ServerUser { uid: 4_000_000_000, gid: 4_000_000_000 };

        let refusal = stranger.check_reach(&inner).expect_err("the outer folder is closed").to_string();
        let outer_path = outer.path().canonicalize().expect("exists");
        assert!(refusal.contains(&format!("cannot enter {};", outer_path.display())), "{refusal}");

        fs::set_permissions(outer.path(), fs::Permissions::from_mode(0o711)).expect("chmod");
        fs::set_permissions(&inner, fs::Permissions::from_mode(0o711)).expect("chmod");
        stranger.check_reach(&inner).expect("now it can be reached");
    }
}
