//! Header values (CloudEvents HTTP binding 1.0.2, section 3.1.3.2, which the NATS binding takes over).

use crate::{Error, ErrorKind, Result, event_type::Excerpt};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;

/// What must be encoded: everything outside U+0021 to U+007E, and the double quote and the percent sign.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// Percent-encodes a value as UTF-8 bytes.
pub(super) fn encode(value: &str) -> Cow<'_, str> {
    utf8_percent_encode(value, ENCODED).into()
}

/// Undoes [`encode`], and what other writers do: a value in double quotes, lower-case digits, encoding where none was needed, and
/// none where it was.
pub(super) fn decode(value: &str) -> Result<Cow<'_, str>> {
    let unquoted = unquote(value);
    if !unquoted.as_bytes().contains(&b'%') {
        return Ok(unquoted);
    }
    let refuse = |rule: &str| Error::new(ErrorKind::Decode, format!("header value {}: {rule}", Excerpt(value)));
    if !is_well_formed(&unquoted) {
        return Err(refuse("a percent sign must be followed by two hexadecimal digits"));
    }
    let decoded = percent_decode_str(&unquoted).decode_utf8().map(|text| Cow::Owned(text.into_owned()));
    decoded.map_err(|_| refuse("its percent-encoded bytes must be UTF-8"))
}

fn is_well_formed(text: &str) -> bool {
    text.as_bytes().iter().enumerate().filter(|(_, byte)| **byte == b'%').all(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// The content of a quoted string (RFC 9110, section 5.6.4); anything else as it is.
fn unquote(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return Cow::Borrowed(value);
    };
    if !inner.contains('\\') {
        return Cow::Borrowed(inner);
    }
    let mut out = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        out.push(if letter == '\\' { letters.next().unwrap_or('\\') } else { letter });
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification() {
        assert_eq!(encode("Euro € 😀"), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(encode("a\"b%c"), "a%22b%25c");
        assert_eq!(encode("a\r\nX-Injected: 1"), "a%0D%0AX-Injected:%201");
    }

    #[test]
    fn what_others_write_is_read() {
        for (written, read) in [
            ("plain", "plain"),
            ("with space", "with space"),
            ("\"quoted value\"", "quoted value"),
            (r#""a \"b\" \\ c""#, r#"a "b" \ c"#),
            ("%e2%82%ac", "€"),
            ("%41", "A"),
            ("%2525", "%25"),
            ("\"%20\"", " "),
            ("", ""),
        ] {
            assert_eq!(decode(written).unwrap(), read, "{written}");
        }
    }

    #[test]
    fn broken_encodings_are_refused() {
        for broken in ["%", "%2", "%zz", "a%", "%C0%A0", "%FF", "%E2%82"] {
            assert!(decode(broken).is_err(), "{broken}");
        }
    }

    proptest! {
        #[test]
        fn every_string_survives(text in any::<String>()) {
            let encoded = encode(&text);
            prop_assert!(encoded.bytes().all(|byte| (0x21..=0x7e).contains(&byte)));
            prop_assert_eq!(&*decode(&encoded).unwrap(), &*text);
        }
    }
}
