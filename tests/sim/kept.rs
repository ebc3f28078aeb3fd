//! The plans that are kept because they have found a fault.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::simulation::{plan::Plan, saved::Saved};

/// Where the kept plans are.
pub fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "sim", "plans"].iter().collect()
}

/// All files of a directory, by name, and the plans that they hold. An error names the file that
/// holds none.
pub fn load_all(directory: &Path) -> Result<Vec<(PathBuf, Plan)>, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", directory.display());
    let entries: Vec<fs::DirEntry> =
        fs::read_dir(directory).and_then(|all| all.collect()).map_err(failed)?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    if paths.is_empty() {
        return Err(format!("{}: there is no plan in it", directory.display()));
    }
    paths.sort();
    paths.into_iter().map(|path| Saved::load(&path).map(|saved| (path, saved.plan))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_plan_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let load = || load_all(directory.path()).expect_err("it holds no plan");
        assert!(load().contains("there is no plan in it"));
        let whole = Saved { fault: "a fault".to_owned(), plan: Plan::new(1) };
        whole.save(&directory.path().join("a.json")).expect("it can be written");
        assert_eq!(load_all(directory.path()).map(|all| all.len()), Ok(1));
        let broken = directory.path().join("b.json");
        for text in [
            String::new(),
            whole.to_text().replace("at_ms", "at"),
            whole.to_text().replace("a fault", ""),
        ] {
            fs::write(&broken, text).expect("it can be written");
            assert!(load().contains("b.json"), "{}", load());
        }
    }
}
