//! The subject to which the outcome of a delivery is sent, in which the server says where the message stands.
//!
//! `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<delivery>.<time>.<pending>`, or, since ADR-15, with a domain and the hash of an account
//! before the stream, and perhaps with more behind.

use async_nats::Subject;

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    /// Counted by deliveries of the consumer.
    pub(crate) delivery: u64,
    /// How often it was delivered, this time included.
    pub(crate) delivered: u64,
    /// How many follow that were not delivered yet.
    pub(crate) pending: u64,
    /// When it was stored, in nanoseconds since 1970.
    pub(crate) stored_at: u64,
}

/// Tokens before the first number without a domain, and with one: stream and consumer are among them.
const BARE: usize = 2;
const WITH_DOMAIN: usize = 4;
/// Tokens from the stream to the number of messages that are pending, both included.
const COMMON: usize = 7;

/// Reads such a subject. `None` where it is another one.
pub(crate) fn place(reply: &str) -> Option<Place> {
    let mut tokens = numbers(reply)?.map(number);
    let mut next = || tokens.next()?;
    let (delivered, sequence, delivery, stored_at, pending) = (next()?, next()?, next()?, next()?, next()?);
    Some(Place { sequence, delivery, delivered, pending, stored_at })
}

fn number(token: &[u8]) -> Option<u64> {
    let digit = |number: u64, digit: &u8| number.checked_mul(10)?.checked_add(u64::from(digit.is_ascii_digit().then(|| digit - b'0')?));
    token.iter().try_fold(0, digit).filter(|_| !token.is_empty())
}

/// The same subject with another number of the delivery.
pub(crate) fn renumbered(reply: &Subject, delivery: u64) -> Subject {
    let Some(old) = numbers(reply).and_then(|mut tokens| tokens.nth(2)) else { return reply.clone() };
    let at = old.as_ptr() as usize - reply.as_ptr() as usize;
    format!("{}{delivery}{}", &reply[..at], &reply[at + old.len()..]).into()
}

/// The subject of an event that was never seen.
pub(crate) fn unseen(stream: &str, consumer: &str, sequence: u64, delivery: u64) -> Subject {
    format!("$JS.ACK.{stream}.{consumer}.1.{sequence}.{delivery}.0.0").into()
}

/// The tokens behind the consumer.
fn numbers(reply: &str) -> Option<impl Iterator<Item = &[u8]>> {
    let rest = reply.as_bytes().strip_prefix(b"$JS.ACK.")?;
    let tokens = rest.iter().filter(|byte| **byte == b'.').count() + 1;
    let before = if tokens > COMMON { WITH_DOMAIN } else { BARE };
    (tokens >= before + COMMON - BARE).then(|| rest.split(|byte| *byte == b'.').skip(before))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { delivered: 2, sequence: 30, delivery: 41, stored_at: 500, pending: 6 };
    const REPLIES: [&str; 3] = [
        "$JS.ACK.events.group.2.30.41.500.6",
        "$JS.ACK._.hash.events.group.2.30.41.500.6",
        "$JS.ACK.hub.hash.events.group.2.30.41.500.6.x.y",
    ];

    #[test]
    fn a_reply_says_where_its_message_stands() {
        for reply in REPLIES {
            assert_eq!(place(reply), Some(PLACE), "{reply}");
        }
        for other in
            ["", "a.b", "$JS.ACK.events.group.2.30.41.500", "$JS.ACK.events.group.2.x.41.500.6", "$JS.ACK.a.events.group.2.30.41.500.6"]
        {
            assert_eq!(place(other), None, "{other}");
        }
    }

    #[test]
    fn a_reply_can_be_numbered_anew() {
        for reply in REPLIES {
            let renumbered = renumbered(&reply.into(), 1234);
            assert_eq!(place(&renumbered), Some(Place { delivery: 1234, ..PLACE }));
            assert_eq!(renumbered.replace("1234", "41"), reply);
        }
        assert_eq!(&*renumbered(&"else".into(), 1), "else");
        assert_eq!(place(&unseen("events", "group", 30, 41)).unwrap().sequence, 30);
    }
}
