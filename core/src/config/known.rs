//! The providers that tollgate knows by name: where they are, what they speak, which variable holds
//! their key, and the habits of their endpoints.
//!
//! Sources: the vendors' API references and the public table models.dev, 2026.

use crate::dialect::{Dialect, ReasoningField, TokenLimitField, Traits};
use crate::policy::keys::KeyLimits;

/// What is known of a provider.
#[derive(Debug)]
pub struct Known {
    /// Its name in the config and in `provider/model`.
    pub name: &'static str,
    /// The API it speaks.
    pub dialect: Dialect,
    /// Where it is.
    pub base_url: &'static str,
    /// Environment variables that may hold its key, the first one set is taken. None for a local
    /// server, which needs no key.
    pub key_variables: &'static [&'static str],
    /// The field that carries the key, where that is not `authorization: Bearer`.
    pub key_field: Option<&'static str>,
    /// Fields of every request to it.
    pub headers: &'static [(&'static str, &'static str)],
    /// Fields of clients that it understands; a trailing `*` stands for any ending.
    pub client_headers: &'static [&'static str],
    /// Names of models that are its own.
    pub models: &'static [&'static str],
    /// Names that begin with the provider's own name and are still whole names of models.
    pub whole_names: &'static [&'static str],
    /// Whether all names of models have a vendor before them, so that `provider/model` with no
    /// further slash is a whole name too.
    pub vendor_names: bool,
    /// Models to list: current ones that most people ask for.
    pub listed: &'static [&'static str],
    /// What it allows each key, where that is the same for everybody.
    pub key_limits: KeyLimits,
    /// The habits of its endpoint.
    traits: Habits,
}

/// The traits of a Chat endpoint that differ between vendors.
#[derive(Clone, Copy, Debug)]
struct Habits {
    token_limit_field: TokenLimitField,
    reasoning_field: ReasoningField,
    cache_control: bool,
    stream_options: bool,
    developer_role: bool,
}

/// What most who imitate OpenAI's API understand.
const COMPATIBLE: Habits = Habits {
    token_limit_field: TokenLimitField::MaxTokens,
    reasoning_field: ReasoningField::None,
    cache_control: false,
    stream_options: true,
    developer_role: false,
};

/// The same, and earlier reasoning in `reasoning_content`.
const REASONING_CONTENT: Habits = Habits {
    reasoning_field: ReasoningField::ReasoningContent,
    ..COMPATIBLE
};

/// The same, and earlier reasoning in `reasoning`.
const REASONING: Habits = Habits {
    reasoning_field: ReasoningField::Reasoning,
    ..COMPATIBLE
};

/// Aggregators before many vendors.
const AGGREGATOR: Habits = Habits {
    reasoning_field: ReasoningField::ReasoningDetails,
    cache_control: true,
    ..COMPATIBLE
};

/// Vendors that tell usage in every stream and refuse `stream_options`.
const NO_STREAM_OPTIONS: Habits = Habits {
    stream_options: false,
    ..COMPATIBLE
};

/// A Chat provider with nothing special; the base of the table.
const CHAT: Known = Known {
    name: "",
    dialect: Dialect::OpenAiChat,
    base_url: "",
    key_variables: &[],
    key_field: None,
    headers: &[],
    client_headers: &[],
    models: &[],
    whole_names: &[],
    vendor_names: false,
    listed: &[],
    key_limits: KeyLimits {
        requests_per_minute: None,
        tokens_per_minute: None,
        concurrent: None,
    },
    traits: COMPATIBLE,
};

impl Known {
    /// The provider called `name`.
    pub fn find(name: &str) -> Option<&'static Known> {
        PROVIDERS.iter().find(|known| known.name == name)
    }

    /// The traits of its models, as far as their names tell nothing else.
    pub fn traits(&self) -> Traits {
        traits_of(self.traits)
    }
}

/// The traits of a provider that is not known.
pub(super) fn unknown_traits() -> Traits {
    traits_of(COMPATIBLE)
}

fn traits_of(habits: Habits) -> Traits {
    Traits {
        token_limit_field: habits.token_limit_field,
        reasoning_field: habits.reasoning_field,
        cache_control: habits.cache_control,
        stream_options: habits.stream_options,
        developer_role: habits.developer_role,
        ..Traits::default()
    }
}

/// All known providers. Where the environment configures them this is their order, and the first
/// whose patterns match a name wins: vendors of models before those who serve models of others.
pub static PROVIDERS: &[Known] = &[
    Known {
        name: "anthropic",
        dialect: Dialect::Anthropic,
        base_url: "https://api.anthropic.com",
        key_variables: &["ANTHROPIC_API_KEY"],
        key_field: Some("x-api-key"),
        headers: &[("anthropic-version", "2023-06-01")],
        client_headers: &["anthropic-beta", "anthropic-*", "x-claude-code-*"],
        models: &["claude-*"],
        listed: &[
            "claude-opus-4-8",
            "claude-sonnet-5",
            "claude-sonnet-4-6",
            "claude-haiku-4-5",
        ],
        ..CHAT
    },
    Known {
        name: "openai",
        base_url: "https://api.openai.com/v1",
        key_variables: &["OPENAI_API_KEY"],
        models: &[
            "gpt-*",
            "o1*",
            "o3*",
            "o4*",
            "chatgpt-*",
            "codex-*",
            "ft:gpt-*",
        ],
        listed: &["gpt-5.5", "gpt-5.4", "gpt-5.4-mini", "gpt-5.4-nano"],
        traits: Habits {
            token_limit_field: TokenLimitField::MaxCompletionTokens,
            developer_role: true,
            ..COMPATIBLE
        },
        ..CHAT
    },
    Known {
        name: "gemini",
        base_url: "https://generativelanguage.googleapis.com/v1beta/openai",
        key_variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        models: &["gemini-*", "gemma-*"],
        listed: &["gemini-3.5-flash", "gemini-3.1-pro-preview"],
        ..CHAT
    },
    Known {
        name: "deepseek",
        base_url: "https://api.deepseek.com",
        key_variables: &["DEEPSEEK_API_KEY"],
        models: &["deepseek-*"],
        listed: &["deepseek-v4-pro", "deepseek-v4-flash"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "mistral",
        base_url: "https://api.mistral.ai/v1",
        key_variables: &["MISTRAL_API_KEY"],
        models: &[
            "mistral-*",
            "ministral-*",
            "codestral-*",
            "devstral-*",
            "magistral-*",
            "pixtral-*",
            "open-mistral-*",
        ],
        listed: &[
            "mistral-large-latest",
            "mistral-medium-latest",
            "devstral-latest",
        ],
        traits: NO_STREAM_OPTIONS,
        ..CHAT
    },
    Known {
        name: "xai",
        base_url: "https://api.x.ai/v1",
        key_variables: &["XAI_API_KEY"],
        models: &["grok-*"],
        listed: &["grok-4.3"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "zai",
        base_url: "https://api.z.ai/api/paas/v4",
        key_variables: &["ZAI_API_KEY", "ZHIPU_API_KEY"],
        models: &["glm-*"],
        listed: &["glm-5.2", "glm-5-turbo"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "moonshot",
        base_url: "https://api.moonshot.ai/v1",
        key_variables: &["MOONSHOT_API_KEY"],
        models: &["kimi-*", "moonshot-*"],
        listed: &["kimi-k2.7-code", "kimi-k2.6"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "alibaba",
        base_url: "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        key_variables: &["DASHSCOPE_API_KEY"],
        models: &["qwen*", "qwq-*", "qvq-*"],
        listed: &["qwen3.7-max", "qwen3.7-plus"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "perplexity",
        base_url: "https://api.perplexity.ai",
        key_variables: &["PERPLEXITY_API_KEY"],
        models: &["sonar", "sonar-*"],
        listed: &["sonar", "sonar-pro"],
        traits: NO_STREAM_OPTIONS,
        ..CHAT
    },
    Known {
        name: "groq",
        base_url: "https://api.groq.com/openai/v1",
        key_variables: &["GROQ_API_KEY"],
        models: &["llama-3*", "meta-llama/*", "openai/gpt-oss-*"],
        whole_names: &["groq/compound*"],
        listed: &["llama-3.3-70b-versatile", "openai/gpt-oss-120b"],
        traits: Habits {
            token_limit_field: TokenLimitField::MaxCompletionTokens,
            ..REASONING
        },
        ..CHAT
    },
    Known {
        name: "cerebras",
        base_url: "https://api.cerebras.ai/v1",
        key_variables: &["CEREBRAS_API_KEY"],
        models: &["gpt-oss-*", "zai-glm-*"],
        listed: &["gpt-oss-120b", "zai-glm-4.7"],
        traits: Habits {
            token_limit_field: TokenLimitField::MaxCompletionTokens,
            ..REASONING
        },
        ..CHAT
    },
    Known {
        name: "nvidia",
        base_url: "https://integrate.api.nvidia.com/v1",
        key_variables: &["NVIDIA_API_KEY", "NVIDIA_NIM_API_KEY"],
        models: &[
            "meta/*",
            "deepseek-ai/*",
            "qwen/*",
            "moonshotai/*",
            "minimaxai/*",
            "mistralai/*",
            "microsoft/*",
            "z-ai/*",
            "stepfun-ai/*",
            "openai/gpt-oss-*",
        ],
        vendor_names: true,
        listed: &["nvidia/nemotron-3-ultra-550b-a55b", "moonshotai/kimi-k2.6"],
        key_limits: KeyLimits {
            requests_per_minute: Some(40),
            tokens_per_minute: None,
            concurrent: Some(8),
        },
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "together",
        base_url: "https://api.together.xyz/v1",
        key_variables: &["TOGETHER_API_KEY"],
        models: &[
            "zai-org/*",
            "Qwen/*",
            "MiniMaxAI/*",
            "deepseek-ai/*",
            "moonshotai/*",
        ],
        listed: &["zai-org/GLM-5.2", "moonshotai/Kimi-K2.6"],
        traits: REASONING,
        ..CHAT
    },
    Known {
        name: "fireworks",
        base_url: "https://api.fireworks.ai/inference/v1",
        key_variables: &["FIREWORKS_API_KEY"],
        models: &["accounts/*"],
        listed: &["accounts/fireworks/models/glm-5p2"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "deepinfra",
        base_url: "https://api.deepinfra.com/v1/openai",
        key_variables: &["DEEPINFRA_API_KEY"],
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "openrouter",
        base_url: "https://openrouter.ai/api/v1",
        key_variables: &["OPENROUTER_API_KEY"],
        models: &["*/*"],
        vendor_names: true,
        listed: &[
            "anthropic/claude-sonnet-5",
            "z-ai/glm-5.2",
            "moonshotai/kimi-k2.7-code",
        ],
        traits: AGGREGATOR,
        ..CHAT
    },
    Known {
        name: "vercel",
        base_url: "https://ai-gateway.vercel.sh/v1",
        key_variables: &["AI_GATEWAY_API_KEY"],
        models: &["*/*"],
        traits: AGGREGATOR,
        ..CHAT
    },
    Known {
        name: "ollama",
        base_url: "http://127.0.0.1:11434/v1",
        traits: REASONING,
        ..CHAT
    },
    Known {
        name: "lmstudio",
        base_url: "http://127.0.0.1:1234/v1",
        traits: REASONING_CONTENT,
        ..CHAT
    },
    Known {
        name: "llamacpp",
        base_url: "http://127.0.0.1:8080/v1",
        traits: REASONING_CONTENT,
        ..CHAT
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{url, value};

    #[test]
    fn the_table_is_sound() {
        for (at, known) in PROVIDERS.iter().enumerate() {
            assert!(core::ptr::eq(
                Known::find(known.name).unwrap(),
                &PROVIDERS[at]
            ));
            let base = url::base_url(known.base_url, known.dialect).expect(known.name);
            assert_eq!(
                base.https,
                !known.key_variables.is_empty(),
                "{}",
                known.name
            );
            for (name, text) in known.headers {
                assert_eq!(value::field_name(name).as_deref(), Ok(*name));
                assert!(value::field_value(text).is_ok());
            }
            for name in known.client_headers {
                assert_eq!(value::field_pattern(name).as_deref(), Ok(*name));
            }
            for pattern in known.models.iter().chain(known.whole_names) {
                assert!(value::pattern(pattern).is_ok(), "{pattern}");
            }
            assert!(known.listed.iter().all(|name| !name.contains('*')));
        }
    }
}
