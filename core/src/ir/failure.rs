//! [`Failure`]: the one model of what goes wrong, whoever's fault it is and whatever API it is told
//! in.

use core::fmt;
use core::time::Duration;

use crate::base::{JsonStr, RawJson};

/// A failure of a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// Whose fault.
    pub blame: Blame,
    /// The upstream's HTTP status, when it told the failure by one.
    pub upstream_status: Option<u16>,
    /// What happened, for a person.
    pub message: JsonStr,
    /// The vendor's own type of it (`invalid_request_error`, `RESOURCE_EXHAUSTED`, …).
    pub kind: Option<JsonStr>,
    /// The vendor's code, a string or a number.
    pub code: Option<RawJson>,
    /// The field at fault, as a JSON path.
    pub param: Option<JsonStr>,
    /// How long to wait before trying again.
    pub retry_after: Option<Duration>,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blame {
    /// The client asked for what cannot be had.
    Client,
    /// Ours: a limit of the gateway, or its config.
    Gateway,
    /// The key with which the upstream was asked.
    Key,
    /// The upstream failed, or the network on the way to it.
    Upstream,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Class {
    /// No or a wrong key: 401.
    Authentication,
    /// The account is out of money or quota: 402.
    Billing,
    /// The provider's filter refuses the prompt: 400.
    ContentFilter,
    /// The prompt is longer than the model's context: 400.
    ContextLength,
    /// The upstream could not be reached, broke off, or answered nonsense: 502.
    BadGateway,
    /// The upstream failed inside: 500.
    Internal,
    /// The request is wrong: 400.
    InvalidRequest,
    /// The path exists, but not with this method: 405.
    MethodNotAllowed,
    /// No such model or path: 404.
    NotFound,
    /// Too busy: 529 to a Messages client, 503 elsewhere.
    Overloaded,
    /// The key may not do this: 403.
    Permission,
    /// Too many requests or tokens: 429.
    RateLimit,
    /// The client took too long to send its request: 408.
    RequestTimeout,
    /// The request is too large: 413.
    RequestTooLarge,
    /// The upstream took too long: 504.
    Timeout,
    /// The model produced a broken tool call and the provider answered with an error (Groq
    /// `tool_use_failed`): 400, but worth another try.
    ToolGeneration,
    /// The body is of a type that is not understood: 415.
    UnsupportedMediaType,
    /// Out of service for now, or shutting down: 503.
    Unavailable,
}

impl Failure {
    /// A failure of this class, with the class's usual blame.
    pub fn new(class: Class, message: impl AsRef<str>) -> Failure {
        Failure {
            class,
            blame: class.usual_blame(),
            upstream_status: None,
            message: JsonStr::escape(message.as_ref()),
            kind: None,
            code: None,
            param: None,
            retry_after: None,
        }
    }

    /// A request that is wrong at `path`.
    pub fn invalid(path: impl AsRef<str>, message: impl AsRef<str>) -> Failure {
        let path = path.as_ref();
        let mut failure = if path.is_empty() {
            Failure::new(Class::InvalidRequest, message)
        } else {
            let message = message.as_ref();
            Failure::new(Class::InvalidRequest, format!("{path}: {message}"))
        };
        failure.param = (!path.is_empty()).then(|| JsonStr::escape(path));
        failure
    }

    /// The same failure with another blame.
    #[must_use]
    pub fn blame(mut self, blame: Blame) -> Failure {
        self.blame = blame;
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.class, self.message)
    }
}

impl core::error::Error for Failure {}

impl Blame {
    /// What it is called in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Blame::Client => "client",
            Blame::Gateway => "gateway",
            Blame::Key => "key",
            Blame::Upstream => "upstream",
        }
    }
}

impl Class {
    /// What it is called in records and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Authentication => "authentication",
            Class::BadGateway => "bad_gateway",
            Class::Billing => "billing",
            Class::ContentFilter => "content_filter",
            Class::ContextLength => "context_length",
            Class::Internal => "internal",
            Class::InvalidRequest => "invalid_request",
            Class::MethodNotAllowed => "method_not_allowed",
            Class::NotFound => "not_found",
            Class::Overloaded => "overloaded",
            Class::Permission => "permission",
            Class::RateLimit => "rate_limit",
            Class::RequestTimeout => "request_timeout",
            Class::RequestTooLarge => "request_too_large",
            Class::Timeout => "timeout",
            Class::ToolGeneration => "tool_generation",
            Class::Unavailable => "unavailable",
            Class::UnsupportedMediaType => "unsupported_media_type",
        }
    }

    /// The HTTP status that says this in the APIs of OpenAI and Google; Messages differs in
    /// [`Class::Overloaded`] alone (529).
    pub const fn status(self) -> u16 {
        match self {
            Class::ContentFilter
            | Class::ContextLength
            | Class::InvalidRequest
            | Class::ToolGeneration => 400,
            Class::Authentication => 401,
            Class::Billing => 402,
            Class::Permission => 403,
            Class::NotFound => 404,
            Class::MethodNotAllowed => 405,
            Class::RequestTimeout => 408,
            Class::RequestTooLarge => 413,
            Class::UnsupportedMediaType => 415,
            Class::RateLimit => 429,
            Class::Internal => 500,
            Class::BadGateway => 502,
            Class::Overloaded | Class::Unavailable => 503,
            Class::Timeout => 504,
        }
    }

    /// The class of an HTTP status of an upstream that says nothing else about itself.
    pub const fn from_status(status: u16) -> Class {
        match status {
            401 => Class::Authentication,
            402 => Class::Billing,
            403 => Class::Permission,
            404 | 410 => Class::NotFound,
            405 => Class::MethodNotAllowed,
            408 | 504 | 524 => Class::Timeout,
            413 => Class::RequestTooLarge,
            415 => Class::UnsupportedMediaType,
            429 => Class::RateLimit,
            // Between the gateway and the model, a proxy, or a connection that leads elsewhere.
            407 | 421 => Class::BadGateway,
            // What the request meets, and would not the next time.
            409 | 423 | 425 => Class::Overloaded,
            400..=499 => Class::InvalidRequest,
            500 => Class::Internal,
            503 | 529 => Class::Overloaded,
            _ => Class::BadGateway,
        }
    }

    const fn usual_blame(self) -> Blame {
        match self {
            Class::ContentFilter
            | Class::ContextLength
            | Class::InvalidRequest
            | Class::MethodNotAllowed
            | Class::NotFound
            | Class::RequestTimeout
            | Class::RequestTooLarge
            | Class::UnsupportedMediaType => Blame::Client,
            Class::Authentication | Class::Billing | Class::Permission | Class::RateLimit => {
                Blame::Key
            }
            Class::BadGateway
            | Class::Internal
            | Class::Overloaded
            | Class::Timeout
            | Class::ToolGeneration
            | Class::Unavailable => Blame::Upstream,
        }
    }
}
