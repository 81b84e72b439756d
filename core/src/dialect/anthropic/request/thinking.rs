//! How much an upstream's model is told to think, and the token limit that goes with it.

use crate::dialect::{ThinkingStyle, Traits};
use crate::ir::{Effort, PartKind, Reasoning, ReasoningMode, Request, Role, ToolChoice};

/// The least that Messages takes as `budget_tokens`.
const BUDGET_MIN: u64 = 1024;
/// Room for the answer beside the thoughts, where the client set no limit.
const ANSWER_TOKENS: u64 = 4096;

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Plan {
    /// `thinking.type: adaptive`, with `output_config.effort`.
    Adaptive { effort: Option<Effort> },
    /// `thinking.type: enabled`, with these `budget_tokens`.
    Budget(u64),
    /// `thinking.type: disabled`.
    Off,
    /// Nothing.
    Unsaid,
    /// Nothing, though the client wanted it: the API would refuse the request, or the model cannot.
    Dropped,
}

impl Plan {
    /// Whether the model will think.
    pub(super) const fn thinks(self) -> bool {
        matches!(self, Plan::Adaptive { .. } | Plan::Budget(_))
    }
}

/// Decides by the client's wish, the model and what the API allows: no thinking beside a forced
/// tool call or a begun answer; with a budget also not in the middle of a round of tool calls whose
/// turns carry no signed thinking, and not in a limit that leaves no room for it.
pub(super) fn plan(request: &Request, traits: &Traits) -> Plan {
    let Some(reasoning) = &request.reasoning else {
        return Plan::Unsaid;
    };
    let off = reasoning.mode == ReasoningMode::Off || reasoning.effort == Some(Effort::None);
    match traits.thinking {
        ThinkingStyle::None if off => Plan::Unsaid,
        ThinkingStyle::None => Plan::Dropped,
        _ if off => Plan::Off,
        _ if forced(request) || begun(request) => Plan::Dropped,
        ThinkingStyle::Adaptive => Plan::Adaptive {
            effort: effort(reasoning),
        },
        ThinkingStyle::Budget if unsigned_round(request) => Plan::Dropped,
        ThinkingStyle::Budget => budget(request, reasoning),
    }
}

/// `max_tokens`: the client's own, or the model's default, raised where it leaves no room for an
/// answer beside the thoughts.
pub(super) fn default_limit(plan: Plan, traits: &Traits) -> u64 {
    match plan {
        Plan::Budget(budget) => traits
            .output_tokens_default
            .max(budget.saturating_add(ANSWER_TOKENS)),
        _ => traits.output_tokens_default,
    }
}

fn forced(request: &Request) -> bool {
    matches!(
        request.tool_choice,
        Some(
            ToolChoice::Named(_)
                | ToolChoice::Required
                | ToolChoice::Allowed { required: true, .. }
        )
    )
}

/// Whether the model is to go on with words that the client put in its mouth. (A turn that the
/// provider paused ends otherwise, with what its own tools gave.)
fn begun(request: &Request) -> bool {
    let last = request.messages.last();
    last.is_some_and(|message| {
        let end = message.parts.last().map(|part| &part.kind);
        message.role == Role::Assistant && matches!(end, Some(PartKind::Text { .. }))
    })
}

/// Whether the conversation stands in the middle of a round of tool calls, and a turn of it does
/// not begin with signed thinking, which the API demands of each while thinking is `enabled`.
fn unsigned_round(request: &Request) -> bool {
    let mut in_round = false;
    for message in request.messages.iter().rev() {
        let results = message
            .parts
            .iter()
            .any(|part| matches!(part.kind, PartKind::ToolResult(_)));
        match message.role {
            Role::Assistant if !in_round => return false,
            Role::Assistant => {
                let first = message.parts.first().map(|part| &part.kind);
                let signed = match first {
                    Some(PartKind::RedactedThinking { origin, .. }) => super::turns::own(*origin),
                    Some(PartKind::Thinking(thinking)) => {
                        super::turns::signature(thinking).is_some()
                    }
                    _ => false,
                };
                if !signed {
                    return true;
                }
            }
            _ if results => in_round = true,
            // Text after the results, or a reminder of the system, does not end the round.
            _ if !in_round => {}
            _ => return false,
        }
    }
    false
}

/// The words of Messages: it knows no `minimal`.
fn effort(reasoning: &Reasoning) -> Option<Effort> {
    let by_budget = || {
        let budget = reasoning.budget_tokens.as_ref()?;
        budget.as_u64().map(Effort::of_budget)
    };
    match reasoning.effort {
        Some(Effort::Minimal) => Some(Effort::Low),
        None => by_budget(),
        effort => effort,
    }
}

fn budget(request: &Request, reasoning: &Reasoning) -> Plan {
    let by_effort = match reasoning.effort {
        Some(Effort::None | Effort::Minimal) => BUDGET_MIN,
        Some(Effort::Low) => 2048,
        Some(Effort::Medium) | None => 8192,
        Some(Effort::High) => 16384,
        Some(Effort::XHigh) => 24576,
        Some(Effort::Max) => 31999,
    };
    let told = reasoning.budget_tokens.as_ref();
    let wanted = told
        .and_then(|tokens| tokens.as_u64())
        .unwrap_or(by_effort)
        .max(BUDGET_MIN);
    let limit = request.output_tokens_max.as_ref();
    match limit.and_then(|tokens| tokens.as_u64()) {
        // The client's limit counts the thoughts too: they may take three quarters of it.
        Some(limit) if limit / 4 * 3 < BUDGET_MIN => Plan::Dropped,
        Some(limit) => Plan::Budget(wanted.min(limit / 4 * 3)),
        None => Plan::Budget(wanted),
    }
}
