//! The folder shared beside the workspace. What it holds is read by tests where it lies, and is in
//! no commit.

use std::path::Path;

/// The recordings of an API, each with the name of its file, in the order of these; `None`, said
/// aloud, where they are absent, which in CI they must not be.
#[allow(clippy::disallowed_methods)]
pub(crate) fn recordings(api: &str) -> Option<Vec<(String, String)>> {
    let shared = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/recordings");
    let folder = Path::new(shared).join(api);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        let is_ci = std::env::var("CI").as_deref() == Ok("true");
        assert!(!is_ci, "{} is absent", folder.display());
        println!("skipped: {} is absent", folder.display());
        return None;
    };
    let mut all: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect();
    all.sort();
    Some(all)
}
