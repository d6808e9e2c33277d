//! A URL that is wrong says what about it is wrong, what the rule is, and never a secret.

use eventbus::{Error, ErrorKind, connect};

/// What no message may show.
const SECRET: &str = "hunter2";

async fn refusal(url: &str) -> Error {
    let error = connect(url).await.err().unwrap_or_else(|| panic!("{url} was accepted"));
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    let shown = format!("{error} {error:?} {cause}");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!error.is_retryable(), "{error}");
    error
}

async fn assert_refused(url: &str, kind: ErrorKind, parts: &[&str]) {
    let error = refusal(url).await;
    assert_eq!(error.kind(), kind, "{url}: {error}");
    for part in parts {
        assert!(error.to_string().contains(part), "{url}: {part:?} is not in {error}");
    }
}

#[tokio::test]
async fn what_is_no_url_is_refused_with_how_one_looks() {
    for url in ["", " ", "memory", "://x", "me mory:", "memory:\n", "localhost:4222 "] {
        assert_refused(url, ErrorKind::Invalid, &["not a URL", "memory:", "scheme://host:port"]).await;
    }
    assert_refused("x://u:hunter2@host:99999", ErrorKind::Invalid, &["port 99999", "0 to 65535"]).await;
    assert_refused("x://u:hunter2@ho st", ErrorKind::Invalid, &["not a URL"]).await;
    assert_refused("memory:#part", ErrorKind::Invalid, &["fragment", "%23"]).await;
    assert_refused("memory:?a=%ff", ErrorKind::Invalid, &["UTF-8"]).await;
}

#[tokio::test]
async fn a_scheme_without_a_backend_is_named_with_those_there_are() {
    for url in ["pigeon:", "pigeon://user:hunter2@host:4222/loft?password=hunter2"] {
        assert_refused(url, ErrorKind::Unsupported, &["\"pigeon\"", "memory:"]).await;
    }
}

#[cfg(not(feature = "memory"))]
#[tokio::test]
async fn a_backend_whose_feature_is_off_is_refused_with_the_feature_to_add() {
    assert_refused("memory:", ErrorKind::Unsupported, &["memory", "feature", "features = [\"memory\"]"]).await;
    assert_refused("pigeon:", ErrorKind::Unsupported, &["memory: (feature off)"]).await;
}

#[cfg(feature = "memory")]
mod memory {
    use super::*;

    #[tokio::test]
    async fn the_scheme_is_read_in_any_case() {
        for url in ["memory:", "MEMORY:", "memory:?", "memory:?strict=true&retain_events=5000&retain_bytes=1MiB&publish_timeout=500ms"] {
            let bus = connect(url).await.unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(bus.capabilities().backend, "memory");
            bus.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_bad_value_is_refused_with_parameter_value_and_rule() {
        let cases = [
            ("retain_events", "many", "whole number"),
            ("retain_events", "-1", "whole number"),
            ("retain_events", "1.5", "whole number"),
            ("retain_events", "99999999999999999999", "whole number"),
            ("retain_bytes", "1MB", "number of bytes"),
            ("retain_bytes", "99999999999GiB", "number of bytes"),
            ("retain_age", "5", "duration"),
            ("retain_age", "-1s", "duration"),
            ("dedup_window", "ever", "duration"),
            ("dedup_events", "x", "whole number"),
            ("hold", "yes", "whole number"),
            ("inline", "1", "true or false"),
            ("strict", "TRUE", "true or false"),
            ("max_payload", "big", "number of bytes"),
            ("max_dead_letters", "", "whole number"),
            ("publish_timeout", "1x", "duration"),
            ("close_timeout", "soon", "duration"),
        ];
        for (name, value, rule) in cases {
            let url = format!("memory:?{name}={value}");
            assert_refused(&url, ErrorKind::Invalid, &[name, &format!("{value:?}"), rule]).await;
        }
    }

    #[tokio::test]
    async fn a_value_out_of_its_range_is_refused_by_name() {
        let cases = [
            ("hold=0", "hold", "at least 1"),
            ("max_payload=0", "max_payload", "at least 1"),
            ("max_payload=5GiB", "max_payload", "at most"),
            ("publish_timeout=0", "publish_timeout", "above zero"),
            ("close_timeout=31days", "close_timeout", "30 days"),
            ("dedup_window=1year", "dedup_window", "30 days"),
            ("retain_age=0s", "retain_age", "above zero"),
        ];
        for (parameter, name, rule) in cases {
            assert_refused(&format!("memory:?{parameter}"), ErrorKind::Invalid, &[name, rule]).await;
        }
    }

    #[tokio::test]
    async fn an_unknown_parameter_is_named_with_those_there_are_and_without_its_value() {
        assert_refused("memory:?stict=true", ErrorKind::Invalid, &["\"stict\"", "strict", "retain_events"]).await;
        assert_refused("memory:?password=hunter2", ErrorKind::Invalid, &["\"password\""]).await;
        assert_refused("memory:?Strict=true", ErrorKind::Invalid, &["\"Strict\""]).await;
        assert_refused("memory:?strict=true&strict=false", ErrorKind::Invalid, &["\"strict\"", "twice"]).await;
        assert_refused("memory:?=hunter2", ErrorKind::Invalid, &["unknown parameter"]).await;
    }

    #[tokio::test]
    async fn a_bus_within_the_process_has_neither_host_nor_path() {
        for url in ["memory://host", "memory://user:hunter2@host", "memory:name", "memory:/name", "memory:///name"] {
            assert_refused(url, ErrorKind::Invalid, &["neither host nor path", "memory:?strict=true"]).await;
        }
    }
}
