//! What happens in a demo, as people and programs read it.

use super::{replay, shown_type};
use crate::output::Paint;
use eventbus::Event;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

/// How wide the first word of a line is.
pub(super) const LABEL: usize = 12;

/// Something that happened.
#[derive(Debug)]
pub(super) enum Occurrence {
    /// An event was published. The permit is given back once this was shown, so that what is shown does not fall behind without end.
    Published {
        event: Event,
        _room: Option<OwnedSemaphorePermit>,
    },
    Handled {
        service: &'static str,
        event: Event,
        attempt: u32,
    },
    /// An attempt failed, and the event comes back.
    Retried {
        service: &'static str,
        event: Event,
        attempt: u32,
        error: String,
    },
    /// The event goes to the dead letters.
    GivenUp {
        service: &'static str,
        event: Event,
        attempt: u32,
        error: String,
    },
    Redriven {
        service: &'static str,
        event: Event,
    },
    Asked(Asked),
    /// A line of the input that is no event, or none that the bus takes.
    BadLine {
        input: String,
        line: usize,
        fault: String,
    },
    /// The demo comes to its next part.
    Part(String),
}

/// A scatter-gather, and what it brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) question: String,
    /// The replies in words, with who replied.
    pub(super) replies: Vec<(String, String)>,
    pub(super) missing: Vec<String>,
    /// Why it counts as not answered.
    pub(super) fault: Option<String>,
}

impl Occurrence {
    /// Whether it is told where not everything is.
    pub(super) fn is_notable(&self) -> bool {
        !matches!(self, Self::Published { .. } | Self::Handled { .. })
    }

    /// One line for people.
    pub(super) fn line(&self, paint: Paint) -> String {
        let about = |event: &Event| {
            let subject = event.subject().map(|subject| format!(" {subject}")).unwrap_or_default();
            format!("{}{subject}", shown_type(event.event_type()))
        };
        match self {
            Self::Published { event, .. } => format!("{} {}", label(paint.cyan("published")), about(event)),
            Self::Handled { service, event, attempt } => {
                format!("{} {service}: {} {}", label(paint.green("handled")), about(event), paint.dim(format_args!("attempt {attempt}")))
            }
            Self::Retried { service, event, attempt, error } => {
                format!("{} {service}: {}, attempt {attempt} failed: {error}", label(paint.yellow("retry")), about(event))
            }
            Self::GivenUp { service, event, attempt, error } => {
                format!("{} {service}: {}, attempt {attempt} failed: {error}", label(paint.red("dead letter")), about(event))
            }
            Self::Redriven { service, event } => format!("{} {service}: {}", label(paint.cyan("redriven")), about(event)),
            Self::Asked(asked) => format!("{} {}", label(paint.cyan("asked")), asked.line()),
            Self::BadLine { input, line, fault } => format!("{} {input}: line {line}: {fault}", label(paint.red("bad line"))),
            Self::Part(part) => format!("{} {part}", label(paint.bold("demo"))),
        }
    }

    /// One line for programs.
    pub(super) fn document(&self) -> Value {
        let of = |what: &str, service: Option<&str>, event: &Event| {
            json!({
                "what": what, "service": service, "id": replay::given_id(event), "type": shown_type(event.event_type()),
                "source": event.source(), "subject": event.subject(),
            })
        };
        let with = |mut document: Value, more: Value| {
            if let (Value::Object(document), Value::Object(more)) = (&mut document, more) {
                document.extend(more);
                document.retain(|_, value| !value.is_null());
            }
            document
        };
        match self {
            Self::Published { event, .. } => with(of("published", None, event), json!({})),
            Self::Handled { service, event, attempt } => with(of("handled", Some(service), event), json!({"attempt": attempt})),
            Self::Retried { service, event, attempt, error } => {
                with(of("retried", Some(service), event), json!({"attempt": attempt, "error": error}))
            }
            Self::GivenUp { service, event, attempt, error } => {
                with(of("dead_lettered", Some(service), event), json!({"attempt": attempt, "error": error}))
            }
            Self::Redriven { service, event } => with(of("redriven", Some(service), event), json!({})),
            Self::Asked(asked) => asked.document(),
            Self::BadLine { line, fault, .. } => json!({"what": "bad_line", "line": line, "fault": fault}),
            Self::Part(part) => json!({"what": "part", "part": part}),
        }
    }
}

/// What happened, in a column of its own.
fn label(word: impl std::fmt::Display) -> String {
    format!("{word:<width$}", width = LABEL - 1)
}

impl Asked {
    pub(super) fn line(&self) -> String {
        let replies: Vec<String> = self.replies.iter().map(|(who, what)| format!("{who} {what}")).collect();
        let mut line = format!("{}: {}", self.question, if replies.is_empty() { "no reply".to_owned() } else { replies.join(", ") });
        if !self.missing.is_empty() {
            line.push_str(&format!("; no reply in time: {}", self.missing.join(", ")));
        }
        if let Some(fault) = &self.fault {
            line.push_str(&format!(" — {fault}"));
        }
        line
    }

    pub(super) fn document(&self) -> Value {
        let replies: Vec<Value> = self.replies.iter().map(|(who, what)| json!({"responder": who, "reply": what})).collect();
        json!({"what": "asked", "question": self.question, "replies": replies, "missing": self.missing, "answered": self.fault.is_none(), "fault": self.fault})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::builder("demo.order.placed").id("e-1").subject("o-1").json_text("1").build().unwrap()
    }

    #[test]
    fn a_line_has_its_words_in_columns() {
        let retried = Occurrence::Retried { service: "billing", event: event(), attempt: 2, error: "no".to_owned() };
        assert_eq!(retried.line(Paint::NONE), "retry       billing: order.placed o-1, attempt 2 failed: no");
        assert_eq!(
            Occurrence::BadLine { input: "x".to_owned(), line: 3, fault: "not JSON".to_owned() }.line(Paint::NONE),
            "bad line    x: line 3: not JSON"
        );
    }

    #[test]
    fn a_document_has_what_there_is_and_nothing_else() {
        let published = Occurrence::Published { event: event(), _room: None }.document();
        assert_eq!(
            (&published["what"], &published["type"], &published["id"]),
            (&"published".into(), &"order.placed".into(), &"e-1".into())
        );
        assert!(published.get("service").is_none());
        let given_up = Occurrence::GivenUp { service: "billing", event: event(), attempt: 4, error: "no".to_owned() }.document();
        assert_eq!((&given_up["service"], &given_up["attempt"]), (&"billing".into(), &4.into()));
    }

    #[test]
    fn an_answer_names_who_is_missing() {
        let asked = Asked {
            question: "a quote".to_owned(),
            replies: vec![("post".to_owned(), "4.20".to_owned())],
            missing: vec!["airship".to_owned()],
            fault: None,
        };
        assert_eq!(asked.line(), "a quote: post 4.20; no reply in time: airship");
        assert_eq!(asked.document()["answered"], true);
    }
}
