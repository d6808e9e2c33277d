//! JSON as text. Numbers keep their letters, so nothing here goes through a parsed value.

use serde_json::value::RawValue;
use std::borrow::Cow;

/// The same JSON on one line: white space between tokens is left out, everything else is copied letter by letter.
pub(crate) fn compact(json: &str) -> Cow<'_, str> {
    if !json.bytes().any(is_space) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        if in_string {
            out.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
        } else if !c.is_ascii() || !is_space(c as u8) {
            in_string = c == '"';
            out.push(c);
        }
    }
    Cow::Owned(out)
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// JSON text as a part of a larger document.
///
/// `None` where it is not one JSON value.
pub(crate) fn raw(json: &str) -> Option<Box<RawValue>> {
    let value: &RawValue = serde_json::from_str(json).ok()?;
    RawValue::from_string(compact(value.get()).into_owned()).ok()
}

/// A text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// What a parser found wrong, without the line, which the caller knows better.
pub(crate) fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(what) => format!("{what} at column {}", error.column()),
        None => text,
    }
}

/// A message without the place at its end, which is counted from where the parser began and not from the begin of the input.
pub(crate) fn without_place(message: &str) -> &str {
    match message.rsplit_once(" at line ") {
        Some((what, place)) if place.split(' ').all(|word| word == "column" || word.parse::<u64>().is_ok()) => what,
        _ => message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_keep_their_letters() {
        let json = "{\n \"a b\" : [ 1.10 , 1152921504606846976123,\t1E+2 ],\r\n\"q\\\" \\\\\": \" x \\\" y \" }";
        assert_eq!(compact(json), "{\"a b\":[1.10,1152921504606846976123,1E+2],\"q\\\" \\\\\":\" x \\\" y \"}");
    }

    #[test]
    fn what_is_compact_is_not_copied() {
        assert!(matches!(compact("[1.10]"), Cow::Borrowed(_)));
    }

    #[test]
    fn raw_values_are_json_only() {
        assert_eq!(raw(" 1.10 ").unwrap().get(), "1.10");
        assert!(raw("{").is_none() && raw("1 2").is_none());
    }

    #[test]
    fn only_a_place_at_the_end_is_left_out() {
        assert_eq!(without_place("expected value at line 1 column 7"), "expected value");
        assert_eq!(without_place("queue at line of bus"), "queue at line of bus");
    }

    #[test]
    fn a_fault_names_its_column_alone() {
        let error = serde_json::from_str::<u8>("x").unwrap_err();
        assert_eq!(fault(&error), "expected value at column 1");
    }
}
