//! Calls and results belong together: each call is answered once, by the turn behind it, and
//! nothing is answered that was not called. Providers refuse other conversations, in words that do
//! not say where.

use super::encode::refused;
use crate::base::JsonStr;
use crate::ir::{Failure, Message, PartKind, Role};

/// Checks the turns.
///
/// # Errors
/// A request that is wrong at the message named.
pub(super) fn check(messages: &[Message]) -> Result<(), Box<Failure>> {
    let mut open: Vec<&JsonStr> = Vec::new();
    let mut answering = false;
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System => {}
            Role::Assistant => {
                if answering {
                    all_answered(at, &open)?;
                }
                answering = false;
                open.extend(message.parts.iter().filter_map(|part| match &part.kind {
                    PartKind::ToolCall(call) => Some(&call.id),
                    _ => None,
                }));
            }
            Role::User => {
                answering = true;
                for part in &message.parts {
                    if let PartKind::ToolResult(result) = &part.kind {
                        answered(at, &result.call_id, &mut open)?;
                    }
                }
            }
        }
    }
    if answering {
        all_answered(messages.len(), &open)?;
    }
    Ok(())
}

fn answered(at: usize, id: &JsonStr, open: &mut Vec<&JsonStr>) -> Result<(), Box<Failure>> {
    let Some(found) = open.iter().position(|call| *call == id) else {
        let reason = format!("the result of `{id}` answers no open tool call");
        return Err(refused(&format!("messages[{at}]"), &reason));
    };
    open.remove(found);
    Ok(())
}

/// `at` is the message that comes too early.
fn all_answered(at: usize, open: &[&JsonStr]) -> Result<(), Box<Failure>> {
    let Some(id) = open.first() else {
        return Ok(());
    };
    let reason = format!("the tool call `{id}` is not answered by a result");
    let path = format!("messages[{}]", at.saturating_sub(1));
    Err(refused(&path, &reason))
}
