//! A bus from its URL: `nats://[user[:password]@]host[:port][,host…][/prefix][?parameter=value&…]`, or `tls://…`.

use crate::{
    NatsConfig,
    config::{Discard, Mode, Server, Storage},
};
use eventbus_core::{Error, Result};
use eventbus_runtime::url::{BusUrl, Parameter, Size};
use std::path::PathBuf;

impl NatsConfig {
    /// Reads the settings from a URL such as `nats://127.0.0.1:4222/shop?max_age=7d`. Every method of this builder is a parameter of the
    /// same name. A user without a password is a token.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid) for a part that cannot be read and for an unknown parameter, naming it.
    pub fn from_url(mut url: BusUrl) -> Result<Self> {
        let mut config = Self { servers: Server::of(&url)?, ..Self::default() };
        config = match (url.user(), url.password()) {
            (Some(user), Some(password)) => config.user(user, password),
            (Some(token), None) => config.token(token),
            _ => config,
        };
        config = config.take_connection(&mut url)?.take_stream(&mut url)?.take_rest(&mut url)?;
        let prefix = url.take::<String>("prefix")?;
        match (url.path().trim_start_matches('/'), prefix) {
            ("", None) => {}
            ("", Some(prefix)) => config.prefix = prefix,
            (path, None) => path.clone_into(&mut config.prefix),
            (_, Some(_)) => return Err(Error::invalid("prefix: it stands both in the path and in the parameter").during("connect")),
        }
        url.finish()?;
        Ok(config)
    }

    fn take_connection(mut self, url: &mut BusUrl) -> Result<Self> {
        if let Some(Text(token)) = url.take("token")? {
            self = self.token(token);
        }
        if let Some(path) = url.take::<String>("credentials_file")? {
            self = self.credentials_file(path);
        }
        if let Some(path) = url.take::<String>("nkey_file")? {
            self = self.nkey_file(path);
        }
        for (name, file) in [("tls_ca", &mut self.tls.ca_file), ("tls_cert", &mut self.tls.cert_file), ("tls_key", &mut self.tls.key_file)]
        {
            if let Some(path) = url.take::<String>(name)? {
                *file = Some(PathBuf::from(path));
            }
        }
        set(&mut self.tls.first, url.take("tls_first")?);
        self.name = url.take("name")?;
        set(&mut self.inbox_prefix, url.take("inbox_prefix")?);
        set(&mut self.connect_timeout, url.take("connect_timeout")?);
        set(&mut self.reconnect_wait, url.take("reconnect_wait")?);
        if let Some(Attempts(attempts)) = url.take("max_reconnects")? {
            self.max_reconnects = attempts;
        }
        set(&mut self.retry_on_connect, url.take("retry_on_connect")?);
        set(&mut self.ping_interval, url.take("ping_interval")?);
        Ok(self)
    }

    fn take_stream(mut self, url: &mut BusUrl) -> Result<Self> {
        set(&mut self.mode, url.take("mode")?);
        let stream = &mut self.stream;
        stream.name = url.take("stream")?;
        stream.max_age = url.take("max_age")?;
        stream.max_bytes = url.take::<Size>("max_bytes")?.map(|Size(bytes)| bytes as u64);
        stream.max_msgs = url.take::<usize>("max_msgs")?.map(|events| events as u64);
        stream.replicas = url.take("replicas")?;
        stream.storage = url.take("storage")?;
        stream.discard = url.take("discard")?;
        stream.dedup_window = url.take("dedup_window")?;
        stream.max_dead_letters = url.take::<usize>("max_dead_letters")?.map(|letters| letters as u64);
        Ok(self)
    }

    fn take_rest(mut self, url: &mut BusUrl) -> Result<Self> {
        set(&mut self.publish_timeout, url.take("publish_timeout")?);
        set(&mut self.close_timeout, url.take("close_timeout")?);
        self.lease = url.take("lease")?;
        set(&mut self.confirmed_acks, url.take("confirmed_acks")?);
        set(&mut self.atomic, url.take("atomic")?);
        self.hold = url.take("hold")?;
        self.max_payload = url.take::<Size>("max_payload")?.map(|Size(bytes)| bytes);
        set(&mut self.max_in_flight, url.take("max_in_flight")?);
        set(&mut self.max_in_flight_bytes, url.take::<Size>("max_in_flight_bytes")?.map(|Size(bytes)| bytes));
        Ok(self)
    }
}

fn set<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

/// A text that no error shows.
struct Text(String);

impl Parameter for Text {
    const MEANS: &'static str = "a text";

    fn read(value: &str) -> Option<Self> {
        Some(Self(value.to_owned()))
    }
}

/// How many attempts, `None` without end.
struct Attempts(Option<usize>);

impl Parameter for Attempts {
    const MEANS: &'static str = "a whole number from 1, or unlimited";

    fn read(value: &str) -> Option<Self> {
        if value == "unlimited" {
            Some(Self(None))
        } else {
            value.parse().ok().filter(|attempts| *attempts > 0).map(|attempts| Self(Some(attempts)))
        }
    }
}

impl Parameter for Mode {
    const MEANS: &'static str = "jetstream or core";

    fn read(value: &str) -> Option<Self> {
        [("jetstream", Self::JetStream), ("core", Self::Core)].into_iter().find_map(|(name, mode)| (name == value).then_some(mode))
    }
}

impl Parameter for Storage {
    const MEANS: &'static str = "file or memory";

    fn read(value: &str) -> Option<Self> {
        [("file", Self::File), ("memory", Self::Memory)].into_iter().find_map(|(name, storage)| (name == value).then_some(storage))
    }
}

impl Parameter for Discard {
    const MEANS: &'static str = "old or new";

    fn read(value: &str) -> Option<Self> {
        [("old", Self::Old), ("new", Self::New)].into_iter().find_map(|(name, discard)| (name == value).then_some(discard))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn config(url: &str) -> Result<NatsConfig> {
        NatsConfig::from_url(BusUrl::parse(url)?)
    }

    #[test]
    fn every_setting_is_a_parameter() {
        let url = "nats://us%40er:p%3Aw@one:4222,two/shop.eu?tls_ca=ca.pem&tls_cert=c.pem&tls_key=k.pem&tls_first=true&name=till\
                   &inbox_prefix=_IN.x&connect_timeout=1s&reconnect_wait=2ms&max_reconnects=3&retry_on_connect=true&ping_interval=4s\
                   &mode=jetstream&stream=S&max_age=5h&max_bytes=6KiB&max_msgs=7&replicas=3&storage=memory&discard=new&dedup_window=8s\
                   &max_dead_letters=9&publish_timeout=10s&close_timeout=11s&lease=12s&confirmed_acks=true&atomic=true&hold=13\
                   &max_payload=14&max_in_flight=15&max_in_flight_bytes=16KiB";
        let expected = NatsConfig::default()
            .server("nats://one:4222")
            .server("nats://two")
            .user("us@er", "p:w")
            .prefix("shop.eu")
            .tls_ca("ca.pem")
            .tls_cert("c.pem")
            .tls_key("k.pem")
            .tls_first(true)
            .name("till")
            .inbox_prefix("_IN.x")
            .connect_timeout(Duration::from_secs(1))
            .reconnect_wait(Duration::from_millis(2))
            .max_reconnects(3)
            .retry_on_connect(true)
            .ping_interval(Duration::from_secs(4))
            .stream("S")
            .max_age(Duration::from_secs(5 * 3600))
            .max_bytes(6 * 1024)
            .max_msgs(7)
            .replicas(3)
            .storage(Storage::Memory)
            .discard(Discard::New)
            .dedup_window(Duration::from_secs(8))
            .max_dead_letters(9)
            .publish_timeout(Duration::from_secs(10))
            .close_timeout(Duration::from_secs(11))
            .lease(Duration::from_secs(12))
            .confirmed_acks(true)
            .atomic(true)
            .hold(13)
            .max_payload(14)
            .max_in_flight(15)
            .max_in_flight_bytes(16 * 1024);
        assert_eq!(format!("{:?}", config(url).unwrap()), format!("{expected:?}"));
        config(url).unwrap().check().unwrap();
        let plain = NatsConfig::default().server("nats://h");
        assert_eq!(format!("{:?}", config("nats://h").unwrap()), format!("{plain:?}"));
        assert_eq!(format!("{:?}", config("nats://h/").unwrap()), format!("{plain:?}"));
    }

    #[test]
    fn credentials_are_read_in_every_form() {
        for (url, shown) in [
            ("nats://u:hunter2@h", "{\"user\"}"),
            ("nats://hunter2@h", "{\"token\"}"),
            ("nats://h?token=hunter2", "{\"token\"}"),
            ("nats://h?credentials_file=/x.creds", "{\"credentials_file\"}"),
            ("nats://h?nkey_file=/x.nk", "{\"nkey_file\"}"),
            ("nats://h", "{}"),
        ] {
            let config = config(url).unwrap();
            config.check().unwrap();
            assert_eq!(format!("{:?}", config.credentials), shown);
            assert!(!format!("{config:?}").contains("hunter2"));
        }
    }

    #[test]
    fn what_is_for_kept_events_is_refused_where_none_are() {
        config("nats://h/p?mode=core&publish_timeout=1s&hold=5&max_payload=7").unwrap().check().unwrap();
        for said in [
            "stream=S",
            "max_age=1h",
            "max_bytes=1MiB",
            "max_msgs=1",
            "replicas=3",
            "storage=memory",
            "discard=new",
            "dedup_window=1s",
            "max_dead_letters=1",
            "lease=12s",
            // What is the default, too, was said.
            "lease=30s",
            "confirmed_acks=true",
            "atomic=true",
        ] {
            let error = config(&format!("nats://h?mode=core&{said}")).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(said.split('=').next().unwrap()) && error.contains("mode=core"), "{error}");
            config(&format!("nats://h?{said}")).unwrap().check().unwrap();
        }
    }

    #[test]
    fn tls_and_unlimited_attempts_and_the_prefix_as_a_parameter() {
        let config = config("tls://h?max_reconnects=unlimited&prefix=a.b&mode=core").unwrap();
        assert_eq!((config.servers[0].tls, config.max_reconnects, config.prefix.as_str(), config.mode), (true, None, "a.b", Mode::Core));
    }

    #[test]
    fn anything_else_is_refused() {
        for (url, part) in [
            ("nats:", "host"),
            ("redis://h", "scheme"),
            ("nats://h?mode=both", "jetstream or core"),
            ("nats://h?storage=tape", "file or memory"),
            ("nats://h?discard=all", "old or new"),
            ("nats://h?max_reconnects=0", "unlimited"),
            ("nats://h?replica=3", "replica"),
            ("nats://h?max_age=5", "max_age"),
            ("nats://h/a?prefix=b", "prefix"),
            ("nats://h,", "host"),
        ] {
            let error = config(url).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
