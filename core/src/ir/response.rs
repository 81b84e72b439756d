//! A whole answer.

use super::finish::Finish;
use super::message::Part;
use super::usage::Usage;
use crate::base::{JsonStr, RawJson};

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Response {
    /// The provider's id for it.
    pub id: Option<JsonStr>,
    /// The model that answered, as the provider names it.
    pub model: Option<JsonStr>,
    /// Seconds since 1970.
    pub created: Option<u64>,
    /// The answers; one, unless more were asked for.
    pub choices: Vec<Choice>,
    /// What it took.
    pub usage: Option<Usage>,
    /// The price class that was used.
    pub service_tier: Option<JsonStr>,
    /// Identifies the provider's configuration (Chat `system_fingerprint`).
    pub fingerprint: Option<JsonStr>,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    /// What is said.
    pub parts: Vec<Part>,
    /// Why it ends.
    pub finish: Finish,
    /// Probabilities of the tokens, in the form of Chat's `logprobs`.
    pub logprobs: Option<RawJson>,
}
