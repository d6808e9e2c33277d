//! Taking the server's answers apart.

use eventbus_core::{Error, ErrorKind, Result};
use redis::Value;

fn unexpected(what: &str) -> Error {
    Error::new(ErrorKind::Decode, format!("the server's answer is not understood: {what} was expected"))
}

/// The parts of an array. Nothing at all is an empty one.
pub(crate) fn array(value: Value) -> Result<Vec<Value>> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Map(pairs) => Ok(pairs.into_iter().flat_map(|(name, value)| [name, value]).collect()),
        Value::Nil => Ok(Vec::new()),
        _ => Err(unexpected("an array")),
    }
}

pub(crate) fn bytes(value: Value) -> Result<Vec<u8>> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        Value::VerbatimString { text, .. } => Ok(text.into_bytes()),
        Value::Int(number) => Ok(number.to_string().into_bytes()),
        Value::Okay => Ok(b"OK".to_vec()),
        _ => Err(unexpected("a text")),
    }
}

pub(crate) fn text(value: Value) -> Result<String> {
    String::from_utf8(bytes(value)?).map_err(|_| unexpected("UTF-8"))
}

pub(crate) fn integer(value: Value) -> Result<i64> {
    match value {
        Value::Int(number) => Ok(number),
        Value::Nil => Err(unexpected("a number")),
        other => text(other)?.parse().map_err(|_| unexpected("a number")),
    }
}

/// A number that counts something: never below zero.
pub(crate) fn count(value: Value) -> Result<u64> {
    Ok(u64::try_from(integer(value)?).unwrap_or(0))
}

/// The next part of an answer.
pub(crate) fn next(parts: &mut impl Iterator<Item = Value>) -> Result<Value> {
    parts.next().ok_or_else(|| unexpected("more"))
}

/// The values of an answer that is a list of names and values, such as that of `XINFO`.
pub(crate) fn field(pairs: &[Value], name: &str) -> Option<Value> {
    pairs.chunks_exact(2).find(|pair| matches!(&pair[0], Value::BulkString(known) if known == name.as_bytes())).map(|pair| pair[1].clone())
}
