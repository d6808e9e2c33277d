//! Events as people read them, and as programs do.

use crate::{exit::with_causes, json_text, output::Paint};
use eventbus::{Event, Payload, cloudevents};

/// An event as one line of CloudEvents JSON.
///
/// # Errors
/// Why it has no JSON form.
pub(crate) fn json_line(event: &Event) -> Result<String, eventbus::Error> {
    let bytes = cloudevents::json::encode(event)?;
    Ok(json_text::compact(&String::from_utf8_lossy(&bytes)).into_owned())
}

/// An event as two lines: what it is, and its data.
pub(crate) fn readable(event: &Event, paint: Paint) -> String {
    let time = event.time().map(|time| format!("{time}  ")).unwrap_or_default();
    let subject = event.subject().map(|subject| format!("  {subject}")).unwrap_or_default();
    let mut about = format!("id {}  source {}", event.id(), event.source());
    if let Some(correlation) = event.correlation_id() {
        about.push_str(&format!("  correlation {correlation}"));
    }
    format!("{}{}{subject}  {}\n  {}", paint.dim(time), paint.bold(event.event_type()), paint.dim(about), data(event.data()))
}

/// Data in words, where it is not text.
pub(crate) fn data(data: &Payload) -> String {
    let bytes = match data.to_bytes() {
        Ok(bytes) => bytes,
        Err(error) => return format!("({})", with_causes(&error)),
    };
    let media = data.content_type();
    match std::str::from_utf8(&bytes) {
        _ if bytes.is_empty() => "(no data)".to_owned(),
        Ok(text) if data.is_json() => json_text::compact(text).into_owned(),
        Ok(text) if media.is_some_and(|media| media.starts_with("text/")) && !text.contains(|c: char| c.is_control() && c != '\n') => {
            text.replace('\n', "\n  ")
        }
        _ => format!("({} bytes of {})", bytes.len(), media.unwrap_or("unknown type")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_json_line_is_one_line_and_keeps_numbers() {
        let event = Event::builder("a.b").id("e-1").json_text("{\n \"price\": 1.10 }").build().unwrap();
        let line = json_line(&event).unwrap();
        assert!(!line.contains('\n') && line.contains(r#""data":{"price":1.10}"#), "{line}");
    }

    #[test]
    fn a_readable_event_shows_what_it_is_about() {
        let event = Event::builder("order.placed")
            .id("e-1")
            .source("/shop")
            .subject("o-1")
            .correlation("c-1")
            .json_text("[1,\n2]")
            .build()
            .unwrap();
        let shown = readable(&event, Paint::NONE);
        for part in ["order.placed", "o-1", "id e-1", "source /shop", "correlation c-1", "\n  [1,2]"] {
            assert!(shown.contains(part), "{shown}");
        }
    }

    #[test]
    fn data_that_is_no_text_is_described() {
        assert_eq!(data(&Payload::empty()), "(no data)");
        assert_eq!(data(&Payload::bytes("image/png", vec![0xff, 0, 1]).unwrap()), "(3 bytes of image/png)");
        assert_eq!(data(&Payload::opaque("abc")), "(3 bytes of unknown type)");
        assert_eq!(data(&Payload::bytes("text/plain", "a\nb").unwrap()), "a\n  b");
        assert_eq!(data(&Payload::bytes("text/plain", "\u{1b}[2J").unwrap()), "(4 bytes of text/plain)");
    }
}
