//! A bus from its URL: `redis://[user:password@]host[:port][,host[:port]…][/database][?parameter=value&…]`, or `rediss://` for encryption.

use crate::{Idmp, Mode, RedisConfig};
use eventbus_core::{Error, Result};
use eventbus_runtime::url::{BusUrl, Parameter, Size};
use std::time::Duration;

impl Parameter for Mode {
    const MEANS: &'static str = "streams or pubsub";

    fn read(value: &str) -> Option<Self> {
        match value {
            "streams" => Some(Self::Streams),
            "pubsub" => Some(Self::PubSub),
            _ => None,
        }
    }
}

impl Parameter for Idmp {
    const MEANS: &'static str = "off, on or auto";

    fn read(value: &str) -> Option<Self> {
        match value {
            "off" => Some(Self::Off),
            "on" => Some(Self::On),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }
}

/// A number in a parameter, within what its setting can hold.
struct Count(u64);

impl Parameter for Count {
    const MEANS: &'static str = "a whole number from 0";

    fn read(value: &str) -> Option<Self> {
        value.parse().ok().map(Self)
    }
}

struct Small(u32);

impl Parameter for Small {
    const MEANS: &'static str = "a whole number from 0 to 4294967295";

    fn read(value: &str) -> Option<Self> {
        value.parse().ok().map(Self)
    }
}

/// Sets what stands in the URL: each parameter has the name of its method.
macro_rules! take {
    ($url:ident, $config:ident, $($name:ident: $kind:ident $(. $field:tt)?),+ $(,)?) => {
        $(if let Some(value) = $url.take::<$kind>(stringify!($name))? {
            $config = $config.$name(value $(. $field)?);
        })+
    };
}

pub(crate) fn read(mut url: BusUrl) -> Result<RedisConfig> {
    let mut config = RedisConfig::default();
    match url.scheme() {
        "redis" => {}
        "rediss" => config = config.tls(),
        scheme => return refuse(format!("{scheme}: it must be redis or rediss")),
    }
    for (host, port) in url.hosts() {
        config = config.address(port.map_or_else(|| host.clone(), |port| format!("{host}:{port}")));
    }
    if let Some(user) = url.user().filter(|user| !user.is_empty()) {
        config = config.user(user);
    }
    if let Some(password) = url.password() {
        config = config.password(password);
    }
    let path = url.path().trim_start_matches('/').to_owned();
    if !path.is_empty() {
        match path.parse() {
            Ok(number) => config = config.database(number),
            Err(_) => return refuse(format!("path {path:?}: it must be the number of a database, as in redis://host/0")),
        }
    }
    take! { url, config,
        database: Small.0,
        tls_ca: String,
        tls_cert: String,
        tls_key: String,
        sentinel: String,
        sentinel_user: String,
        sentinel_password: String,
        connect_timeout: Duration,
        response_timeout: Duration,
        reconnect_wait: Duration,
        max_reconnect_wait: Duration,
        retry_on_connect: bool,
        mode: Mode,
        prefix: String,
        partitions: Small.0,
        dedup_window: Duration,
        idmp: Idmp,
        max_age: Duration,
        max_msgs: Count.0,
        max_dead_letters: Count.0,
        lease: Duration,
        publish_timeout: Duration,
        close_timeout: Duration,
        max_in_flight: usize,
        max_in_flight_bytes: Size.0,
        max_payload: Size.0,
        hold: usize,
    }
    if url.take("cluster")?.unwrap_or(false) {
        config = config.cluster();
    }
    url.finish()?;
    Ok(config)
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::invalid(message).during("connect"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<RedisConfig> {
        RedisConfig::from_url(BusUrl::parse(url)?)
    }

    #[test]
    fn every_setting_is_a_parameter() {
        let url = "rediss://host:7000,b:1,c/3?tls_ca=ca.pem&tls_cert=c.pem&tls_key=k.pem&sentinel=m&sentinel_user=su&sentinel_password=sp\
                   &connect_timeout=1s&response_timeout=2s&reconnect_wait=3ms&max_reconnect_wait=4s&retry_on_connect=true&mode=pubsub&prefix=p\
                   &partitions=5&dedup_window=6s&idmp=auto&max_age=7s&max_msgs=8&max_dead_letters=9&lease=10s&publish_timeout=11s\
                   &close_timeout=12s&max_in_flight=13&max_in_flight_bytes=14KiB&max_payload=15&hold=16&cluster=true";
        let expected = RedisConfig::default()
            .tls()
            .address("host:7000")
            .address("b:1")
            .address("c")
            .database(3)
            .tls_ca("ca.pem")
            .tls_cert("c.pem")
            .tls_key("k.pem")
            .sentinel("m")
            .sentinel_user("su")
            .sentinel_password("sp")
            .connect_timeout(Duration::from_secs(1))
            .response_timeout(Duration::from_secs(2))
            .reconnect_wait(Duration::from_millis(3))
            .max_reconnect_wait(Duration::from_secs(4))
            .retry_on_connect(true)
            .mode(Mode::PubSub)
            .prefix("p")
            .partitions(5)
            .dedup_window(Duration::from_secs(6))
            .idmp(Idmp::Auto)
            .max_age(Duration::from_secs(7))
            .max_msgs(8)
            .max_dead_letters(9)
            .lease(Duration::from_secs(10))
            .publish_timeout(Duration::from_secs(11))
            .close_timeout(Duration::from_secs(12))
            .max_in_flight(13)
            .max_in_flight_bytes(14 * 1024)
            .max_payload(15)
            .hold(16)
            .cluster();
        assert_eq!(format!("{:?}", config(url).unwrap()), format!("{expected:?}"));
        let plain = config("redis://").or_else(|_| config("redis:")).unwrap();
        assert_eq!(format!("{plain:?}"), format!("{:?}", RedisConfig::default()));
    }

    #[test]
    fn user_and_password_stand_before_the_host() {
        let both = config("redis://alice:p%40ss@host").unwrap();
        assert_eq!((both.user.as_deref(), both.password.as_ref().map(crate::connect::Secret::reveal)), (Some("alice"), Some("p@ss")));
        let password = config("redis://:p@host").unwrap();
        assert_eq!((password.user, password.password.map(|secret| secret.reveal().to_owned())), (None, Some("p".to_owned())));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for (url, part) in [
            ("redis://h/shop", "\"shop\""),
            ("redis://h/-1", "\"-1\""),
            ("redis://h?modus=streams", "modus"),
            ("redis://h?mode=both", "streams or pubsub"),
            ("redis://h?partitions=many", "partitions"),
            ("redis://h?idmp=yes", "off, on or auto"),
            ("redis://h?lease=5", "duration"),
            ("http://h", "http"),
            ("tls://h", "rediss"),
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.contains(part), "{error} does not name {part}");
        }
    }
}
