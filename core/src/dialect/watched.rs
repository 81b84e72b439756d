//! [`Watched`]: what is learnt of an answer that passes untouched.

use crate::base::JsonStr;
use crate::ir::{FinishReason, Usage};

/// What is learnt of an answer that passes untouched; for records.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    /// What it took.
    pub usage: Usage,
    /// The model that answered.
    pub model: Option<JsonStr>,
    /// Why it ended.
    pub finish: Option<FinishReason>,
}
