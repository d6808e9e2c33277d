//! Names that belong to one run of the program, so that two runs on one broker do not disturb each other.

use std::fmt;

/// Eight letters that no other run has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RunId(String);

impl RunId {
    pub(crate) fn new() -> Self {
        // The end of a UUIDv7 is random.
        let id = fresh_event_id();
        Self(id[id.len() - 8..].to_owned())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id for an event that brings none.
pub(crate) fn fresh_event_id() -> String {
    eventbus::Event::new(Nothing).id().to_owned()
}

/// The data of an event that is made for its id.
#[derive(serde::Serialize, serde::Deserialize, eventbus::EventData)]
#[event(type = "nothing")]
struct Nothing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_different_names() {
        let (a, b) = (RunId::new(), RunId::new());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 8);
        assert!(eventbus::is_valid_event_type(&a.to_string()));
    }
}
