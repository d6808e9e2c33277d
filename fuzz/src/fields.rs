//! Inputs that are names with values and a body, in a form that people can write as seeds.

/// Names and values, one for each line until an empty one, then the body. Lines end with LF alone.
pub(crate) struct Fields<'a> {
    pub(crate) pairs: Vec<(&'a [u8], &'a [u8])>,
    /// What follows the empty line, if there is one.
    pub(crate) body: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// Takes an input apart. Everything is some fields: a line without the separator is a name with an empty value.
    pub(crate) fn parse(mut input: &'a [u8], separator: &[u8]) -> Self {
        let mut pairs = Vec::new();
        while !input.is_empty() {
            let (line, rest) = split(input, b"\n");
            input = rest;
            if line.is_empty() {
                return Self { pairs, body: Some(input) };
            }
            pairs.push(split(line, separator));
        }
        Self { pairs, body: None }
    }
}

/// What stands before and after the first separator.
fn split<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    let found = text.windows(separator.len()).position(|window| window == separator);
    found.map_or((text, &[]), |at| (&text[..at], &text[at + separator.len()..]))
}
