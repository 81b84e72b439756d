//! [`Answer`]: what an answer says, in one form for both APIs, so that two answers can be compared.

use serde_json::Value as Json;

/// A whole answer, or one that failed on its way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// Messages has one; Chat may have more.
    pub(crate) choices: Vec<Said>,
    pub(crate) usage: Option<Usage>,
    /// It came to its own end.
    pub(crate) is_complete: bool,
    pub(crate) error: Option<Fault>,
}

/// What one choice says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) text: String,
    pub(crate) refusal: String,
    pub(crate) thinking: String,
    pub(crate) signatures: Vec<String>,
    pub(crate) redacted: Vec<String>,
    pub(crate) calls: Vec<Call>,
    pub(crate) finish: Option<Finish>,
}

/// A tool to be called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) arguments: String,
}

/// Why an answer ends, as far as both APIs can say it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Finish {
    Calls,
    Filter,
    Length,
    Stop,
}

/// Token counts; cached ones are part of the input, reasoning is part of the output.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Usage {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) reasoning: u64,
}

/// An error as it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Fault {
    pub(crate) kind: String,
    pub(crate) message: String,
}

impl Answer {
    /// An answer that is whole and says one thing.
    pub(crate) fn of(said: Said, usage: Option<Usage>) -> Answer {
        Answer {
            choices: vec![said],
            usage,
            is_complete: true,
            error: None,
        }
    }

    /// The one choice.
    pub(crate) fn said(&self) -> &Said {
        self.choices.first().expect("an answer that says something")
    }

    /// The choice of this index.
    pub(crate) fn choice(&mut self, index: usize) -> &mut Said {
        while self.choices.len() <= index {
            self.choices.push(Said::default());
        }
        &mut self.choices[index]
    }
}

impl Said {
    /// Whether it says anything.
    pub(crate) fn is_empty(&self) -> bool {
        let texts = [&self.text, &self.refusal, &self.thinking];
        let lists = self.calls.len() + self.signatures.len() + self.redacted.len();
        texts.iter().all(|text| text.is_empty()) && lists == 0
    }

    /// Why it ends, where the upstream gave none, or one that does not fit what it says.
    pub(crate) fn settle(&mut self) {
        if self.finish.is_none() || (self.finish == Some(Finish::Stop) && !self.refusal.is_empty())
        {
            self.finish = match self.refusal.is_empty() {
                true => Some(Finish::Stop),
                false => Some(Finish::Filter),
            };
        }
        let is_cut = matches!(self.finish, Some(Finish::Length | Finish::Filter));
        if !self.calls.is_empty() && !is_cut {
            self.finish = Some(Finish::Calls);
        }
        if self.calls.is_empty() && self.finish == Some(Finish::Calls) {
            self.finish = Some(Finish::Stop);
        }
    }
}

impl Call {
    /// Whether both are the same call: arguments as JSON where they are JSON, else as text.
    pub(crate) fn is_like(&self, other: &Call) -> bool {
        self.name == other.name && same_json(&self.arguments, &other.arguments)
    }
}

/// Whether two texts are the same JSON, or the same text where they are none. Nothing means `{}`.
pub(crate) fn same_json(one: &str, other: &str) -> bool {
    let filled = |text: &str| match text.trim() {
        "" => "{}".to_owned(),
        text => text.to_owned(),
    };
    let (one, other) = (filled(one), filled(other));
    let parsed = |text: &str| serde_json::from_str::<Json>(text).ok();
    match (parsed(&one), parsed(&other)) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

/// The text of a member, empty where there is none.
pub(crate) fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// The elements of an array, none where it is not one.
pub(crate) fn list(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}
