//! What the server and its client say went wrong, in the words of the bus.

use eventbus_core::{Error, ErrorKind};
use redis::RedisError;

/// The error of the bus for one of the client's.
pub(crate) fn translate(error: &RedisError) -> Error {
    let text = error.to_string();
    let code = code(error, &text);
    let said = |kind, message: &str| Error::new(kind, format!("{message}: {}", describe(&code, error)));
    match &*code {
        "OOM" => said(ErrorKind::Full { limit: 0 }, "the server is at its maxmemory and may evict nothing"),
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Error::new(ErrorKind::Denied, denied(&code)),
        "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK" | "BUSY" | "MISCONF" | "NOREPLICAS" => {
            said(ErrorKind::Unavailable, "the server takes nothing at the moment")
        }
        "WRONGTYPE" => said(ErrorKind::Conflict, "a key of this name holds something else"),
        // Another attempt finds what is there now.
        "NOGROUP" | "NOSCRIPT" | "UNBLOCKED" => said(ErrorKind::Unavailable, "the server has lost what it had"),
        _ => by_kind(error, &text),
    }
}

fn by_kind(error: &RedisError, text: &str) -> Error {
    use redis::ErrorKind as Kind;
    match error.kind() {
        Kind::AuthenticationFailed => Error::new(ErrorKind::Denied, denied("WRONGPASS")),
        Kind::InvalidClientConfig => Error::new(ErrorKind::Invalid, text.to_owned()),
        Kind::Io | Kind::MasterNameNotFoundBySentinel | Kind::NoValidReplicasFoundBySentinel | Kind::ClusterConnectionNotFound => {
            Error::new(ErrorKind::Unavailable, text.to_owned())
        }
        Kind::RESP3NotSupported => Error::new(ErrorKind::Unsupported, "the server does not speak RESP3, which Redis has from 6.0 on"),
        Kind::Server(_) if text.contains("max number of clients") => Error::new(ErrorKind::Unavailable, "the server has its `maxclients`"),
        Kind::Server(_) | Kind::Extension if text.contains("unknown command") => {
            Error::new(ErrorKind::Unsupported, format!("the server cannot do this: {text}"))
        }
        Kind::Server(_) | Kind::Extension => Error::new(ErrorKind::Invalid, format!("the server refused: {text}")),
        _ => Error::new(ErrorKind::Unavailable, text.to_owned()),
    }
}

/// How servers before and from 7.2 on say that a command of a script is not allowed.
const DENIED_IN_SCRIPT: [&str; 2] = ["The user executing the script can't", "ACL failure in script"];

/// The word that says what kind of error it is. Old servers wrap the error of a script's command.
fn code<'a>(error: &'a RedisError, text: &'a str) -> std::borrow::Cow<'a, str> {
    const WRAPPED: [&str; 14] = [
        "OOM",
        "NOPERM",
        "NOAUTH",
        "WRONGPASS",
        "READONLY",
        "LOADING",
        "MASTERDOWN",
        "CLUSTERDOWN",
        "MISCONF",
        "NOREPLICAS",
        "WRONGTYPE",
        "NOGROUP",
        "UNBLOCKED",
        "NOSCRIPT",
    ];
    if DENIED_IN_SCRIPT.iter().any(|denied| text.contains(denied)) {
        return "NOPERM".into();
    }
    match error.code() {
        Some(code) if code != "ERR" => code.to_owned().into(),
        _ => WRAPPED.into_iter().find(|code| text.contains(&format!("-{code} "))).unwrap_or("ERR").into(),
    }
}

/// Refusals name the user, whom nobody else has to know.
fn denied(code: &str) -> &'static str {
    match code {
        "NOPERM" => "the user has no permission for this at the Redis server",
        "NOAUTH" => "the Redis server wants a user or a password",
        _ => "the Redis server refused the user or the password",
    }
}

fn describe(code: &str, error: &RedisError) -> String {
    format!("{code} {}", error.detail().unwrap_or_default())
}

/// Whether the connection is of no use after this error.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    let text = error.to_string();
    error.is_unrecoverable_error()
        || error.is_timeout()
        || error.is_io_error()
        // A server that is the master no more, or is cut off from the rest: the connection leads to the wrong one.
        || matches!(&*code(error, &text), "READONLY" | "MOVED" | "MASTERDOWN" | "CLUSTERDOWN" | "NOREPLICAS" | "NOAUTH")
}

/// Whether what a group had at the server is gone.
pub(crate) fn is_group_lost(error: &RedisError) -> bool {
    let text = error.to_string();
    matches!(&*code(error, &text), "NOGROUP" | "UNBLOCKED")
}

pub(crate) fn is_script_lost(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
}

/// A connection that does not come about or does not answer.
pub(crate) fn unavailable(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unavailable, message.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redis::{ErrorKind as Kind, ServerErrorKind};

    fn server(line: &str) -> RedisError {
        let mut parser = redis::Parser::new();
        let value = parser.parse_value(format!("-{line}\r\n").as_bytes()).unwrap();
        value.extract_error().unwrap_err()
    }

    #[test]
    fn the_servers_words_become_kinds() {
        for (line, kind, retryable) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", ErrorKind::Full { limit: 0 }, true),
            ("NOAUTH Authentication required.", ErrorKind::Denied, false),
            ("NOPERM User alice has no permissions to run the 'xadd' command", ErrorKind::Denied, false),
            ("READONLY You can't write against a read only replica.", ErrorKind::Unavailable, true),
            ("LOADING Redis is loading the dataset in memory", ErrorKind::Unavailable, true),
            ("CLUSTERDOWN The cluster is down", ErrorKind::Unavailable, true),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", ErrorKind::Unavailable, true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", ErrorKind::Unavailable, true),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", ErrorKind::Unavailable, true),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to", ErrorKind::Unavailable, true),
            ("NOREPLICAS Not enough good replicas to write.", ErrorKind::Unavailable, true),
            ("ERR max number of clients reached", ErrorKind::Unavailable, true),
            ("ERR max number of clients + cluster connections reached", ErrorKind::Unavailable, true),
            ("ERR DB index is out of range", ErrorKind::Invalid, false),
            ("WRONGPASS invalid username-password pair or user is disabled.", ErrorKind::Denied, false),
            ("MOVED 1 127.0.0.1:7000", ErrorKind::Unavailable, true),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", ErrorKind::Conflict, false),
            ("ERR unknown command 'XADD'", ErrorKind::Unsupported, false),
            (
                "ERR Error running script (call to f_1): @user_script:6: -OOM command not allowed when used",
                ErrorKind::Full { limit: 0 },
                true,
            ),
            (
                "ERR The user executing the script can't run this command or subcommand script: f_1, on @user_script:6.",
                ErrorKind::Denied,
                false,
            ),
            ("ERR ACL failure in script: User alice has no permissions to run the 'xadd' command", ErrorKind::Denied, false),
            ("ERR syntax error", ErrorKind::Invalid, false),
        ] {
            let error = translate(&server(line));
            assert_eq!((error.kind(), error.is_retryable()), (kind, retryable), "{line}: {error}");
        }
    }

    #[test]
    fn a_refusal_names_nobody() {
        let error = translate(&server("NOPERM User alice has no permissions to run the 'xadd' command"));
        assert!(!format!("{error} {error:?}").contains("alice"), "{error}");
    }

    #[test]
    fn a_lost_connection_is_worth_another_attempt() {
        let error = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(ends_connection(&error) && translate(&error).is_retryable());
        assert!(ends_connection(&server("READONLY You can't write against a read only replica.")));
        // As 6.2 says it of a command of a script.
        assert!(ends_connection(&server("ERR Error running script (call to f_1): @user_script:6: -READONLY You can't write against a")));
        assert!(ends_connection(&server("CLUSTERDOWN The cluster is down")));
        assert!(ends_connection(&server("NOREPLICAS Not enough good replicas to write.")));
        assert!(!ends_connection(&server("ERR syntax error")));
        assert!(is_group_lost(&server("NOGROUP No such key 'events:0'")));
        let _ = (Kind::Client, ServerErrorKind::NoScript);
    }
}
