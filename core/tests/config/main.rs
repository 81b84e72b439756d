//! The config against what is known outside of the project.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::disallowed_types
)]

use std::path::Path;

use serde_json::Value;
use tollgate_core::config::traits_for;
use tollgate_core::dialect::ThinkingStyle;

const MODELS: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../shared/specs/models-dev.json"
);

#[test]
#[allow(clippy::disallowed_methods)]
fn the_public_model_table_agrees() {
    if !Path::new(MODELS).exists() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no {MODELS}");
        println!("skipped: no {MODELS}");
        return;
    }
    let table: Value = serde_json::from_slice(&std::fs::read(MODELS).unwrap()).unwrap();
    let mut seen = 0;
    for provider in ["anthropic", "google-vertex-anthropic"] {
        let models = table[provider]["models"].as_object().unwrap();
        for (name, model) in models {
            let told = traits_for(name);
            let options = model["reasoning_options"].as_array();
            let has = |kind| options.is_some_and(|all| all.iter().any(|o| o["type"] == kind));
            let fits = match told.thinking.unwrap() {
                ThinkingStyle::Adaptive => has("effort"),
                ThinkingStyle::Budget => has("budget_tokens"),
                ThinkingStyle::None => model["reasoning"] == false,
            };
            assert!(fits, "{name}: {:?} {options:?}", told.thinking);
            let most = model["limit"]["output"].as_u64().unwrap();
            assert!(told.output_tokens_default.unwrap() <= most, "{name}");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}
