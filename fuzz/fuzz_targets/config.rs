//! Any text as a config: a snapshot, or faults that can be printed and hold no secrets.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tollgate_core::config::{Surroundings, load};

const SECRET: &str = "sk-never-to-be-shown";

fuzz_target!(|text: &str| {
    let env = |name: &str| match name {
        "HTTPS_PROXY" => Some(format!("http://user:{SECRET}@proxy:3128")),
        _ if name.ends_with("KEY") => Some(SECRET.to_owned()),
        _ => None,
    };
    let read_file = |path: &str| match path {
        "missing" => Err("no such file".to_owned()),
        _ => Ok(SECRET.as_bytes().to_vec()),
    };
    let surroundings = Surroundings {
        env: &env,
        read_file: &read_file,
        roots: &[],
    };
    if text.contains(SECRET) {
        return;
    }
    let told = match load("fuzz.toml", text, &surroundings) {
        Ok(loaded) => {
            assert!(!loaded.listeners.is_empty());
            loaded.snapshot.resolve("a/model");
            format!("{loaded:?}")
        }
        Err(faults) => {
            let told = faults.to_string();
            assert!(!told.is_empty());
            told
        }
    };
    if let Some(at) = told.find(SECRET) {
        panic!(
            "a secret is told behind {:?}",
            told[..at].chars().rev().take(200).collect::<String>()
        );
    }
});
