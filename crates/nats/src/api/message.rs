//! Messages as a stream stores them.

use async_nats::HeaderMap;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use eventbus_core::{Error, ErrorKind, Result};
use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Envelope {
    pub(super) message: Written,
}

#[derive(Deserialize)]
pub(super) struct Written {
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

/// A message of a stream.
#[derive(Debug)]
pub(crate) struct StoredMessage {
    pub(crate) sequence: u64,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    pub(crate) time: String,
}

impl Written {
    pub(super) fn read(self) -> Result<StoredMessage> {
        let decode = |text: &str| BASE64_STANDARD.decode(text).map_err(|fault| unreadable(self.seq).caused_by(fault.to_string()));
        Ok(StoredMessage {
            headers: read_headers(&decode(&self.hdrs)?),
            payload: decode(&self.data)?.into(),
            sequence: self.seq,
            time: self.time,
        })
    }
}

/// Reads a block of headers as it was sent: a line for the version, and one for each header. What is no header is passed over.
fn read_headers(block: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(block).split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let (Ok(name), Ok(value)) = (name.parse::<async_nats::HeaderName>(), value.trim_start().parse::<async_nats::HeaderValue>()) else {
            continue;
        };
        headers.append(name, value);
    }
    headers
}

fn unreadable(sequence: u64) -> Error {
    Error::new(ErrorKind::Decode, "a stored message cannot be read").with("sequence", sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_they_were_sent() {
        let headers = read_headers(b"NATS/1.0\r\nce-id: a:b\r\nX:1\r\nX: 2\r\n\r\n");
        assert_eq!(headers.get("ce-id").unwrap().as_str(), "a:b");
        assert_eq!(headers.get_all("X").map(|value| value.as_str().to_owned()).collect::<Vec<_>>(), ["1", "2"]);
        assert!(read_headers(b"").is_empty());
    }
}
