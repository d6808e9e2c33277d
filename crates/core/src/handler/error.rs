//! What a handler says when it fails.

use crate::{Error, ErrorKind};
use std::{any::Any, error::Error as StdError, fmt, time::Duration};

type Reason = Box<dyn StdError + Send + Sync>;

/// Why a handler failed, and what should become of the event.
///
/// `?` turns any error into [`HandlerError::retry`], except an [`Error`] of kind [`ErrorKind::Decode`]: that becomes a
/// [`HandlerError::reject`], since the same bytes cannot be decoded later either. Like `anyhow::Error`, this type does not implement
/// [`std::error::Error`] itself, so that it can be made from all that do.
pub struct HandlerError {
    verdict: Verdict,
    reason: Reason,
}

/// What should become of an event whose handler failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Try again after the delay that the subscription's [`Retry`](crate::Retry) gives.
    Retry,
    /// Try again after this delay.
    RetryAfter(Duration),
    /// Never try again: to the dead letters.
    Reject,
}

impl HandlerError {
    /// The event should be tried again, after the delay that the subscription's [`Retry`](crate::Retry) gives.
    pub fn retry(reason: impl Into<Reason>) -> Self {
        Self { verdict: Verdict::Retry, reason: reason.into() }
    }

    /// The event should be tried again after `delay`, which is taken as 1 ms at least and 30 days at most. This counts as an attempt like
    /// any other.
    pub fn retry_after(reason: impl Into<Reason>, delay: Duration) -> Self {
        Self { verdict: Verdict::RetryAfter(delay), reason: reason.into() }
    }

    /// Trying again cannot help: the event goes to the dead letters at once.
    pub fn reject(reason: impl Into<Reason>) -> Self {
        Self { verdict: Verdict::Reject, reason: reason.into() }
    }

    /// What should become of the event.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// Why the handler failed.
    #[must_use]
    pub fn reason(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.reason
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for HandlerError {
    fn from(error: E) -> Self {
        let of_bus = (&error as &dyn Any).downcast_ref::<Error>();
        match of_bus.map(Error::kind) {
            Some(ErrorKind::Decode) => Self::reject(error),
            _ => Self::retry(error),
        }
    }
}

impl fmt::Display for HandlerError {
    /// The reason and its causes on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.reason, f)?;
        let mut cause = self.reason.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HandlerError({:?}: {self})", self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_mark_retries() {
        fn parse() -> Result<u8, HandlerError> {
            Ok("x".parse::<u8>()?)
        }
        assert_eq!(parse().unwrap_err().verdict(), Verdict::Retry);
    }

    #[test]
    fn what_cannot_be_decoded_is_rejected_and_other_errors_of_the_bus_are_tried_again() {
        fn decode() -> Result<(), HandlerError> {
            crate::Event::json("a", "no number").unwrap().decode::<u8>()?;
            Ok(())
        }
        assert_eq!(decode().unwrap_err().verdict(), Verdict::Reject);
        assert_eq!(HandlerError::from(Error::new(ErrorKind::Unavailable, "away")).verdict(), Verdict::Retry);
    }

    #[test]
    fn a_reason_is_a_text_or_an_error() {
        assert_eq!(HandlerError::reject("no").to_string(), "no");
        let caused = Error::invalid("outer").caused_by("inner");
        assert!(HandlerError::retry(caused).to_string().ends_with("outer: inner"));
    }
}
