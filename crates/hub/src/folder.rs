//! Where the folder of weights is.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The manifest's name in its folder.
pub(crate) const MANIFEST: &str = "manifest.toml";

/// The folder of weights, if there is one; a folder that `CIRIO_WEIGHTS` names is taken as it is.
pub(crate) fn locate() -> Option<PathBuf> {
    let here = env::current_dir().ok();
    let program = env::current_exe().ok();
    first(env::var_os("CIRIO_WEIGHTS"), here.as_deref(), program.as_deref().and_then(Path::parent), &workspace())
}

/// An environment variable that is set to something.
pub(crate) fn set(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// The folder of this user's caches.
pub(crate) fn caches() -> PathBuf {
    set("XDG_CACHE_HOME").map_or_else(|| env::home_dir().unwrap_or_default().join(".cache"), PathBuf::from)
}

/// The folder for what is kept: `CIRIO_CACHE`, or `cirio` among the caches.
pub(crate) fn cache() -> PathBuf {
    set("CIRIO_CACHE").map_or_else(|| caches().join("cirio"), PathBuf::from)
}

/// The weights of the checkout that this crate was compiled in, so that a built command works from any folder.
fn workspace() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).join("weights")
}

/// The named folder; else `weights` in the current folder or above it; else beside the program or above it; else the
/// workspace's.
fn first(named: Option<OsString>, here: Option<&Path>, program: Option<&Path>, workspace: &Path) -> Option<PathBuf> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let upward = [here, program].into_iter().flatten().flat_map(Path::ancestors).map(|folder| folder.join("weights"));
    upward.chain([workspace.to_owned()]).find(|folder| folder.join(MANIFEST).is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_nearest_folder_wins_in_the_stated_order() -> std::io::Result<()> {
        let root = tempfile::tempdir()?;
        let make = |folder: &str| -> std::io::Result<PathBuf> {
            let folder = root.path().join(folder);
            fs::create_dir_all(folder.join("weights"))?;
            Ok(folder)
        };
        let with_manifest = |folder: &Path| fs::write(folder.join("weights").join(MANIFEST), "");
        let (here, program, workspace) = (make("a/b/c")?, make("program/bin")?, make("workspace")?);
        let workspace = workspace.join("weights");
        let find = |named: Option<&str>| first(named.map(OsString::from), Some(&here), Some(&program), &workspace);

        assert_eq!(find(None), None, "a `weights` folder without a manifest is not ours");
        fs::write(workspace.join(MANIFEST), "")?;
        assert_eq!(find(None), Some(workspace.clone()));
        with_manifest(&program)?;
        assert_eq!(find(None), Some(program.join("weights")));
        let above = make("a")?;
        with_manifest(&above)?;
        assert_eq!(find(None), Some(above.join("weights")));
        with_manifest(&here)?;
        assert_eq!(find(None), Some(here.join("weights")));
        assert_eq!(find(Some("elsewhere")), Some("elsewhere".into()));
        assert_eq!(find(Some("")), Some(here.join("weights")));
        assert_eq!(first(None, None, None, &workspace), Some(workspace.clone()));
        Ok(())
    }
}
