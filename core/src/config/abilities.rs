//! What models other than Claude cannot do, told by their names: a small context, no images. Only
//! what holds for a model wherever it is to be had; of what is not here everything is expected.

use super::traits::NameTraits;

/// What is known of the models whose names begin or are so.
#[derive(Clone, Copy)]
struct Ability {
    name: &'static str,
    /// Whether longer names that begin so are meant too.
    is_start: bool,
    context_window: Option<u64>,
    images: Option<bool>,
}

/// The first match counts.
///
/// Facts: the vendors' model pages and the public table models.dev, 2026. The windows of open
/// models are each server's own. Of the 400,000 tokens of GPT-5 a prompt may have 272,000.
const ABILITIES: &[Ability] = &[
    small("gpt-3.5-turbo", 16_385, Some(false)).longer(),
    small("gpt-4", 8_192, Some(false)),
    small("gpt-4-0613", 8_192, Some(false)),
    small("gpt-4-turbo", 128_000, None).longer(),
    small("gpt-4o", 128_000, None).longer(),
    small("gpt-5", 272_000, None),
    small("gpt-5-mini", 272_000, None),
    small("gpt-5-nano", 272_000, None),
    small("gpt-5-codex", 272_000, None),
    small("gpt-5.1", 272_000, None),
    small("gpt-5.1-codex", 272_000, None).longer(),
    small("gpt-5.2", 272_000, None),
    small("gpt-5.2-codex", 272_000, None),
    small("gpt-5.4-mini", 272_000, None),
    small("gpt-5.4-nano", 272_000, None),
    small("o1", 200_000, None),
    small("o3", 200_000, None),
    small("o3-mini", 200_000, Some(false)).longer(),
    small("o4-mini", 200_000, None).longer(),
    text_only("gpt-oss-"),
    text_only("llama-3.1-"),
    text_only("llama-3.3-"),
    text_only("qwen3-coder"),
    text_only("deepseek-r1"),
    text_only("deepseek-v3"),
];

const fn small(name: &'static str, context_window: u64, images: Option<bool>) -> Ability {
    Ability {
        name,
        is_start: false,
        context_window: Some(context_window),
        images,
    }
}

const fn text_only(name: &'static str) -> Ability {
    Ability {
        name,
        is_start: true,
        context_window: None,
        images: Some(false),
    }
}

impl Ability {
    const fn longer(mut self) -> Ability {
        self.is_start = true;
        self
    }
}

/// What the name of a model tells, with or without vendors before it.
pub(super) fn told(model: &str) -> NameTraits {
    let name = model.rsplit('/').next().unwrap_or(model).as_bytes();
    let is_it = |ability: &&Ability| {
        let head = name.get(..ability.name.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(ability.name.as_bytes()))
            && (ability.is_start || name.len() == ability.name.len())
    };
    let Some(known) = ABILITIES.iter().find(is_it) else {
        return NameTraits::default();
    };
    NameTraits {
        context_window: known.context_window,
        images: known.images,
        ..NameTraits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::traits_for;

    #[test]
    fn names_tell_what_models_cannot_do() {
        for (name, window, images) in [
            ("gpt-4", Some(8_192), Some(false)),
            ("gpt-4.1", None, None),
            ("openai/gpt-4o-mini", Some(128_000), None),
            ("gpt-5", Some(272_000), None),
            ("gpt-5.1-codex-max", Some(272_000), None),
            ("gpt-5.5", None, None),
            ("gpt-5.2-chat-latest", None, None),
            ("openrouter/openai/gpt-oss-120b:free", None, Some(false)),
            ("meta-llama/Llama-3.3-70B-Instruct", None, Some(false)),
            ("llama-4-scout", None, None),
            ("claude-haiku-4-5", Some(200_000), None),
            ("claude-3-7-sonnet-latest", Some(200_000), None),
            ("claude-sonnet-4-5", None, None),
            ("claude-opus-4-6", None, None),
            ("claude-next", None, None),
            ("", None, None),
            ("/", None, None),
        ] {
            let told = traits_for(name);
            assert_eq!(
                (told.context_window, told.images),
                (window, images),
                "{name}"
            );
        }
    }
}
