//! The one error type of the bus: what went wrong, during which operation, with which values, and whether trying again can help.

use std::{borrow::Cow, error::Error as StdError, fmt, sync::Arc};

/// A result whose error is the bus's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong. Decide on this, not on the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bus or the subscription was closed. Nothing more will succeed on it.
    Closed,
    /// The backend cannot be reached, or whether it took the event is unknown after every retry under the same id.
    Unavailable,
    /// The operation did not finish within its time.
    Timeout,
    /// The payload is larger than the bus accepts. Both figures are bytes.
    TooLarge {
        /// The most the bus accepts.
        limit: usize,
        /// What it was given.
        size: usize,
    },
    /// There is no room left: a hold, a buffer or a dead-letter store is at its limit.
    Full {
        /// How many entries fit.
        limit: usize,
    },
    /// A value breaks a rule of the vocabulary. The message names the value and the rule.
    Invalid,
    /// This backend cannot do what was asked of it. The message names the option and the backend.
    Unsupported,
    /// Something of that name exists with another declaration, and was left as it is.
    Conflict,
    /// The backend refused for want of permission, or refused the credentials.
    Denied,
    /// Bytes could not be turned into an event or into the type asked for.
    Decode,
    /// A value could not be turned into bytes.
    Encode,
    /// A handler failed. Reported through [`Bus::errors`](crate::Bus::errors), never returned by a publish.
    Handler,
}

impl ErrorKind {
    /// Whether the same call can succeed later with nothing changed by the caller.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::Full { .. })
    }

    const fn describe(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timed out",
            Self::TooLarge { .. } => "too large",
            Self::Full { .. } => "full",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::Conflict => "conflict",
            Self::Denied => "denied",
            Self::Decode => "cannot decode",
            Self::Encode => "cannot encode",
            Self::Handler => "handler failed",
        }
    }
}

/// Any failure of the bus. Cheap to clone, so that one failure can be both returned and reported.
///
/// `Display` is one line: operation, kind, message, context. The cause is reached through
/// [`source`](StdError::source). Neither form ever holds a password, token or key.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    retryable: bool,
    operation: &'static str,
    message: Cow<'static, str>,
    context: Vec<(&'static str, String)>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a message that names the value and the rule it broke.
    ///
    /// Whether a retry can help follows from the kind; [`retryable`](Self::retryable) overrules it.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            retryable: kind.is_transient(),
            operation: "",
            message: message.into(),
            context: Vec::new(),
            source: None,
        }))
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    #[must_use]
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::Unsupported`], naming the option and the backend that lacks it.
    #[must_use]
    pub fn unsupported(option: &str, backend: &str) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{option} is not supported by the {backend} backend"))
    }

    /// Shorthand for [`ErrorKind::Closed`].
    #[must_use]
    pub fn closed(operation: &'static str) -> Self {
        Self::new(ErrorKind::Closed, "the bus has been closed").during(operation)
    }

    /// Shorthand for [`ErrorKind::TooLarge`], in bytes.
    #[must_use]
    pub fn too_large(limit: usize, size: usize) -> Self {
        Self::new(ErrorKind::TooLarge { limit, size }, format!("a payload of {size} bytes is over the limit of {limit} bytes"))
    }

    /// Names the operation that failed, such as `"publish"`. The innermost name wins, since it is the most precise.
    #[must_use]
    pub fn during(mut self, operation: &'static str) -> Self {
        let inner = Arc::make_mut(&mut self.0);
        if inner.operation.is_empty() {
            inner.operation = operation;
        }
        self
    }

    /// Adds a value that helps to find the place, such as the event type or the group.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl fmt::Display) -> Self {
        Arc::make_mut(&mut self.0).context.push((key, value.to_string()));
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Arc::make_mut(&mut self.0).source = Some(Arc::from(source.into()));
        self
    }

    /// Overrules whether a retry can help.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        Arc::make_mut(&mut self.0).retryable = retryable;
        self
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call can succeed later with nothing changed by the caller.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// The operation that failed, or an empty string where none was named.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The message alone, without operation, kind and context.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The values attached with [`with`](Self::with), in the order they were added.
    pub fn context(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.context.iter().map(|(key, value)| (*key, value.as_str()))
    }

    /// The first value attached under `key`.
    #[must_use]
    pub fn context_value(&self, key: &str) -> Option<&str> {
        self.context().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &*self.0;
        if !inner.operation.is_empty() {
            write!(f, "{}: ", inner.operation)?;
        }
        f.write_str(inner.kind.describe())?;
        if !inner.message.is_empty() {
            write!(f, ": {}", inner.message)?;
        }
        for (position, (key, value)) in inner.context.iter().enumerate() {
            let open = if position == 0 { " (" } else { ", " };
            write!(f, "{open}{key}={value}")?;
        }
        if !inner.context.is_empty() {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error {{ {self}")?;
        if let Some(source) = &self.0.source {
            write!(f, "; caused by: {source}")?;
        }
        f.write_str(" }")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_operation_kind_message_and_context() {
        let error = Error::too_large(10, 11).during("publish").with("event_type", "order.placed").with("id", "e-1");
        assert_eq!(
            error.to_string(),
            "publish: too large: a payload of 11 bytes is over the limit of 10 bytes (event_type=order.placed, id=e-1)"
        );
        assert_eq!(error.kind(), ErrorKind::TooLarge { limit: 10, size: 11 });
        assert_eq!(error.context_value("id"), Some("e-1"));
    }

    #[test]
    fn the_innermost_operation_is_kept() {
        assert_eq!(Error::closed("encode").during("publish").operation(), "encode");
    }

    #[test]
    fn a_retry_helps_where_the_kind_says_so_unless_overruled() {
        assert!(Error::new(ErrorKind::Unavailable, "").is_retryable());
        assert!(!Error::invalid("").is_retryable());
        assert!(!Error::new(ErrorKind::Timeout, "").retryable(false).is_retryable());
    }

    #[test]
    fn the_cause_is_reachable_and_shown_by_debug() {
        let error = Error::invalid("x").caused_by("the cause");
        assert_eq!(error.source().unwrap().to_string(), "the cause");
        assert!(format!("{error:?}").contains("the cause"));
    }
}
