//! What models and endpoints can do: told by a model's name ([`traits_for`]), or set in the config.

use super::diagnose::Findings;
use super::section::Section;
use super::snapshot::Named;
use crate::dialect::{ReasoningField, ThinkingStyle, TokenLimitField, Traits};

/// The highest number of tokens that can be set as a default.
pub(super) const TOKENS_MAX: u64 = 10_000_000;

/// What a model's name tells of it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct NameTraits {
    /// How it is told to think.
    pub thinking: Option<ThinkingStyle>,
    /// A limit for answers whose client set none: high enough for any real answer, and no higher
    /// than the model allows.
    pub output_tokens_default: Option<u64>,
    /// Whether it takes `temperature`, `top_p` and `top_k`.
    pub sampling: Option<bool>,
    /// Whether it goes on from where the last message breaks off.
    pub prefill: Option<bool>,
    /// Tokens that a prompt may have.
    pub context_window: Option<u64>,
    /// Whether prompts may have images.
    pub images: Option<bool>,
    /// Whether it can be given tools.
    pub tools: Option<bool>,
}

/// What the name of a model tells of it: for Claude models by family and version, also where a
/// vendor stands before them (`anthropic/claude-sonnet-4.5`,
/// `anthropic.claude-opus-4-1-20250805-v1:0`). A Claude without a version number counts as a new
/// one. Of some other models what they cannot do is known, by the ends of their names.
///
/// Facts: the vendor's model table, 2026. `thinking.type: adaptive` came with 4.6 and is the only
/// way from 4.7 on, which take no sampling parameters; `budget_tokens` came with 3.7. From 4.6 on a
/// prefill is an error. Answers may
/// have 4096 tokens before 3.5, 8192 with 3.5, 32,000 with Opus 4 and 4.1, 64,000 or more since.
/// Before 4.5 a limit that does not fit into the context beside the prompt is an error, so that
/// those get half.
pub fn traits_for(model: &str) -> NameTraits {
    let Some(name) = claude_name(model) else {
        return super::abilities::told(model);
    };
    let version = claude_version(name);
    let thinking = match version {
        Some(version) if version < (3, 7) => ThinkingStyle::None,
        Some(version) if version < (4, 6) => ThinkingStyle::Budget,
        _ => ThinkingStyle::Adaptive,
    };
    let output_tokens = match version {
        Some(version) if version < (3, 5) => 4096,
        Some(version) if version < (3, 7) => 8192,
        Some(version) if version < (4, 5) => 32_000,
        _ => 64_000,
    };
    // Sonnet 4 and 4.5 can be asked for a window of a million.
    let is_sonnet_4 = || version >= Some((4, 0)) && name.contains("sonnet");
    let is_small = version.is_some_and(|it| it < (4, 6)) && !is_sonnet_4();
    NameTraits {
        context_window: is_small.then_some(200_000),
        images: None,
        tools: None,
        thinking: Some(thinking),
        output_tokens_default: Some(output_tokens),
        sampling: Some(version.is_some_and(|version| version < (4, 7))),
        prefill: Some(version.is_some_and(|version| version < (4, 6))),
    }
}

/// Whether the model called `model` thinks for long before it answers, and shows nothing of it:
/// those of OpenAI and Google on the Chat API, and Grok's.
pub fn hides_reasoning(model: &str) -> bool {
    const FAMILIES: [&str; 7] = [
        "gpt-5",
        "o1",
        "o3",
        "o4",
        "gemini-2.5",
        "gemini-3",
        "grok-4",
    ];
    let name = model.rsplit('/').next().unwrap_or(model);
    FAMILIES.iter().any(|family| {
        let rest = name.strip_prefix(family);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_ascii_alphanumeric()))
    })
}

/// What follows the last `claude-`. Every request that a pattern leads somewhere asks for it, and
/// names are too short for a searcher to pay for its making.
fn claude_name(model: &str) -> Option<&str> {
    let hyphens = model.bytes().enumerate().rev();
    let mut hyphens = hyphens.filter(|&(_, byte)| byte == b'-');
    hyphens.find_map(|(at, _)| {
        let (head, name) = model.split_at_checked(at + 1)?;
        head.ends_with("claude-").then_some(name)
    })
}

/// The version in `opus-4-1-20250805`, `sonnet-4.5`, `3-7-sonnet-latest` or `instant-1.2`: the
/// first number, and the next one if it follows at once. Longer numbers are dates.
fn claude_version(name: &str) -> Option<(u32, u32)> {
    let number = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() <= 2);
    let mut parts = name.split(['-', '.', '@', ':', '_']);
    let major = parts.find_map(number)?;
    let minor = parts.next().and_then(number).unwrap_or(0);
    Some((major, minor))
}

/// Traits as far as somebody set them.
#[derive(Clone, Debug, Default)]
pub(super) struct TraitsSet {
    pub(super) max_tokens: Option<u64>,
    thinking: Option<ThinkingStyle>,
    token_limit_field: Option<TokenLimitField>,
    cache_control: Option<bool>,
    reasoning_field: Option<ReasoningField>,
    stream_options: Option<bool>,
    developer_role: Option<bool>,
    sampling: Option<bool>,
    prefill: Option<bool>,
    context_window: Option<u64>,
    images: Option<bool>,
    tools: Option<bool>,
}

impl TraitsSet {
    /// Reads a table `traits`.
    pub(super) fn read(mut section: Section<'_, '_>, findings: &mut Findings<'_>) -> TraitsSet {
        let thinking = [
            ("adaptive", ThinkingStyle::Adaptive),
            ("budget", ThinkingStyle::Budget),
            ("none", ThinkingStyle::None),
        ];
        let token_limit = [
            ("max_tokens", TokenLimitField::MaxTokens),
            (
                "max_completion_tokens",
                TokenLimitField::MaxCompletionTokens,
            ),
        ];
        let reasoning = [
            ("none", ReasoningField::None),
            ("reasoning", ReasoningField::Reasoning),
            ("reasoning_content", ReasoningField::ReasoningContent),
            ("reasoning_details", ReasoningField::ReasoningDetails),
        ];
        let set = TraitsSet {
            max_tokens: section.count("max_tokens", 1..=TOKENS_MAX, findings),
            thinking: section.choice("thinking", &thinking, findings),
            token_limit_field: section.choice("token_limit_field", &token_limit, findings),
            cache_control: section.flag("cache_control", findings),
            reasoning_field: section.choice("reasoning_field", &reasoning, findings),
            stream_options: section.flag("stream_options", findings),
            developer_role: section.flag("developer_role", findings),
            sampling: section.flag("sampling", findings),
            prefill: section.flag("prefill", findings),
            context_window: section.count("context_window", 1..=TOKENS_MAX, findings),
            images: section.flag("images", findings),
            tools: section.flag("tools", findings),
        };
        section.finish(findings);
        set
    }

    /// These, and `below` where nothing is set.
    pub(super) fn over(&self, below: &TraitsSet) -> TraitsSet {
        TraitsSet {
            max_tokens: self.max_tokens.or(below.max_tokens),
            thinking: self.thinking.or(below.thinking),
            token_limit_field: self.token_limit_field.or(below.token_limit_field),
            cache_control: self.cache_control.or(below.cache_control),
            reasoning_field: self.reasoning_field.or(below.reasoning_field),
            stream_options: self.stream_options.or(below.stream_options),
            developer_role: self.developer_role.or(below.developer_role),
            sampling: self.sampling.or(below.sampling),
            prefill: self.prefill.or(below.prefill),
            context_window: self.context_window.or(below.context_window),
            images: self.images.or(below.images),
            tools: self.tools.or(below.tools),
        }
    }

    /// `base` with what is set here.
    pub(super) fn apply(&self, base: &Traits) -> Traits {
        Traits {
            output_tokens_default: self.max_tokens.unwrap_or(base.output_tokens_default),
            thinking: self.thinking.unwrap_or(base.thinking),
            token_limit_field: self.token_limit_field.unwrap_or(base.token_limit_field),
            cache_control: self.cache_control.unwrap_or(base.cache_control),
            reasoning_field: self.reasoning_field.unwrap_or(base.reasoning_field),
            stream_options: self.stream_options.unwrap_or(base.stream_options),
            developer_role: self.developer_role.unwrap_or(base.developer_role),
            sampling: self.sampling.unwrap_or(base.sampling),
            prefill: self.prefill.unwrap_or(base.prefill),
            context_window: self.context_window.or(base.context_window),
            images: self.images.unwrap_or(base.images),
            tools: self.tools.unwrap_or(base.tools),
        }
    }

    /// What is left to the model's name.
    pub(super) fn named(&self) -> Named {
        Named {
            output_tokens: self.max_tokens.is_none(),
            thinking: self.thinking.is_none(),
            sampling: self.sampling.is_none(),
            prefill: self.prefill.is_none(),
            context_window: self.context_window.is_none(),
            images: self.images.is_none(),
            tools: self.tools.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_claude_models_tell_their_traits() {
        use ThinkingStyle::{Adaptive, Budget, None};
        for (name, thinking, tokens) in [
            ("claude-opus-4-8", Adaptive, 64_000),
            ("claude-opus-4-6", Adaptive, 64_000),
            ("claude-opus-4-6@default", Adaptive, 64_000),
            ("anthropic/claude-sonnet-4.6", Adaptive, 64_000),
            ("claude-sonnet-5", Adaptive, 64_000),
            ("claude-opus-4-10", Adaptive, 64_000),
            ("claude-fable-5", Adaptive, 64_000),
            ("claude-next", Adaptive, 64_000),
            ("claude-haiku-4-5-20251001", Budget, 64_000),
            ("claude-sonnet-4-5", Budget, 64_000),
            ("openrouter/anthropic/claude-sonnet-4.5", Budget, 64_000),
            ("us.anthropic.claude-opus-4-1-20250805-v1:0", Budget, 32_000),
            ("claude-opus-4-20250514", Budget, 32_000),
            ("claude-sonnet-4@20250514", Budget, 32_000),
            ("claude-3-7-sonnet-latest", Budget, 32_000),
            ("claude-3.7-sonnet:thinking", Budget, 32_000),
            ("claude-3-5-sonnet-20241022", None, 8192),
            ("claude-3-opus-20240229", None, 4096),
            ("claude-2.1", None, 4096),
            ("claude-instant-1.2", None, 4096),
        ] {
            let told = traits_for(name);
            assert_eq!(told.thinking, Some(thinking), "{name}");
            assert_eq!(told.output_tokens_default, Some(tokens), "{name}");
        }
        for name in ["", "gpt-9", "claude", "kimi-k2", "claude3"] {
            assert_eq!(traits_for(name), NameTraits::default(), "{name}");
        }
    }
}
