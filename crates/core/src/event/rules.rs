//! The rules that CloudEvents sets for attribute values (CloudEvents 1.0.2, sections 3 and 3.1).

use crate::{Error, Result, event_type::Excerpt, payload::JSON};
use fluent_uri::{Uri, UriRef};

fn broken(attribute: &str, value: &str, rule: &str) -> Error {
    Error::invalid(format!("attribute '{attribute}' {}: {rule}", Excerpt(value)))
}

/// A non-empty string of characters that CloudEvents allows.
pub(crate) fn non_empty(attribute: &str, value: &str) -> Result<()> {
    if value.is_empty() {
        return Err(broken(attribute, value, "it must not be empty"));
    }
    text(attribute, value)
}

/// A string without control characters and Unicode noncharacters.
pub(crate) fn text(attribute: &str, value: &str) -> Result<()> {
    // Most values are printable ASCII; looking at bytes first, and at all of them, keeps the common case cheap.
    if value.bytes().fold(true, |printable, byte| printable & (0x20..0x7f).contains(&byte)) {
        return Ok(());
    }
    match value.chars().find(|&c| !is_allowed(c)) {
        None => Ok(()),
        Some(found) => Err(broken(attribute, value, &format!("it holds U+{:04X}, a control character or noncharacter", found as u32))),
    }
}

/// Whether a CloudEvents string may hold `c`: no control characters, no noncharacters. A `char` is never a surrogate.
pub(crate) fn is_allowed(c: char) -> bool {
    let code = c as u32;
    let noncharacter = (0xFDD0..=0xFDEF).contains(&code) || code & 0xFFFE == 0xFFFE;
    !c.is_control() && !noncharacter
}

/// A non-empty RFC 3986 URI-reference, as `source` must be.
pub(crate) fn uri_reference(attribute: &str, value: &str) -> Result<()> {
    non_empty(attribute, value)?;
    match UriRef::parse(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(broken(attribute, value, "it must be a URI-reference (RFC 3986, section 4.1)")),
    }
}

/// A non-empty RFC 3986 absolute URI, as `dataschema` must be.
pub(crate) fn absolute_uri(attribute: &str, value: &str) -> Result<()> {
    non_empty(attribute, value)?;
    match Uri::parse(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(broken(attribute, value, "it must be an absolute URI (RFC 3986, section 4.3)")),
    }
}

/// A media type, as `datacontenttype` must be: `type/subtype`, then parameters that are kept unread.
pub(crate) fn media_type(attribute: &str, value: &str) -> Result<()> {
    // Nearly every event has this one.
    if value == JSON {
        return Ok(());
    }
    non_empty(attribute, value)?;
    let essence = value.split(';').next().unwrap_or_default().trim_end();
    match essence.split_once('/') {
        Some((kind, subtype)) if is_token(kind) && is_token(subtype) => Ok(()),
        _ => Err(broken(attribute, value, "it must be a media type such as application/json (RFC 2046)")),
    }
}

/// A token of RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_noncharacters_are_refused_and_named() {
        for (value, code) in [
            ("a\r\nb", "U+000D"),
            ("\0", "U+0000"),
            ("\u{7f}", "U+007F"),
            ("\u{85}", "U+0085"),
            ("\u{fdd0}", "U+FDD0"),
            ("\u{1ffff}", "U+1FFFF"),
        ] {
            let error = text("subject", value).unwrap_err().to_string();
            assert!(error.contains("'subject'") && error.contains(code), "{error}");
        }
        assert!(text("subject", "größe 🙂 ok").is_ok());
    }

    #[test]
    fn sources_are_uri_references() {
        for good in ["/shop", "shop", "https://example.com/a?b#c", "urn:uuid:6e8bc430-9c3a-11d9-9669-0800200c9a66", "mailto:a@b.c", "#x"] {
            assert!(uri_reference("source", good).is_ok(), "{good}");
        }
        for bad in ["", "has space", "%zz", "a\nb", "größe", "<x>"] {
            assert!(uri_reference("source", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn schemas_are_absolute() {
        assert!(absolute_uri("dataschema", "https://example.com/s.json").is_ok());
        assert!(absolute_uri("dataschema", "/s.json").is_err());
    }

    #[test]
    fn media_types_have_two_parts() {
        for good in ["application/json", "application/vnd.x+json; charset=utf-8", "text/plain ;a=b"] {
            assert!(media_type("datacontenttype", good).is_ok(), "{good}");
        }
        for bad in ["", "xyz", "a/", "/b", "a b/c", "text/ plain"] {
            assert!(media_type("datacontenttype", bad).is_err(), "{bad}");
        }
    }
}
