//! The URLs that a bus is connected by: `scheme://[user[:password]@]host[:port][,host[:port]…][/path][?parameter=value&…]`.
//!
//! Every parameter is checked: one that the backend does not know, that stands twice, or whose value breaks a rule is refused by name.

use eventbus_core::{Error, Result};
use fluent_uri::{Uri, component::Authority};
use std::{borrow::Cow, fmt, time::Duration};

/// A URL, taken apart. `Debug` and errors show neither user nor password.
pub struct BusUrl {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    hosts: Vec<(String, Option<u16>)>,
    path: String,
    /// Parameters that nobody has asked for yet.
    parameters: Vec<(String, String)>,
    /// The names that were asked for.
    known: Vec<&'static str>,
}

impl BusUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid), saying what is wrong without showing user or password.
    pub fn parse(url: &str) -> Result<Self> {
        let (url, more_hosts) = split_hosts(url);
        let uri = read_uri(&url)?;
        let decode =
            |text: &fluent_uri::pct_enc::EStr<fluent_uri::pct_enc::encoder::Userinfo>| text.decode().to_string_lossy().into_owned();
        let (mut user, mut password, mut hosts) = (None, None, Vec::new());
        if let Some(authority) = uri.authority() {
            if let Some(userinfo) = authority.userinfo() {
                match userinfo.split_once(':') {
                    Some((name, secret)) => (user, password) = (Some(decode(name)), Some(decode(secret))),
                    None => user = Some(decode(userinfo)),
                }
            }
            hosts.extend(host_and_port(&authority)?);
        }
        for host in more_hosts {
            let written = format!("x://{host}");
            let uri = read_uri(&written)?;
            let authority = uri.authority().filter(|authority| authority.userinfo().is_none());
            let host = authority.map(|authority| host_and_port(&authority)).transpose()?.flatten();
            hosts.push(host.ok_or_else(|| invalid("several hosts: each must be host or host:port, with commas between".to_owned()))?);
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        for pair in uri.query().map(fluent_uri::pct_enc::EStr::as_str).unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (percent_decode(name)?, percent_decode(value)?);
            if parameters.iter().any(|(known, _)| *known == name) {
                return Err(invalid(format!("parameter {name:?} stands twice")));
            }
            parameters.push((name, value));
        }
        if uri.fragment().is_some() {
            return Err(invalid("a '#' begins a fragment, which has no meaning here; write %23 for the character".to_owned()));
        }
        let scheme = uri.scheme().as_str().to_ascii_lowercase();
        Ok(Self { scheme, user, password, hosts, path: uri.path().as_str().to_owned(), parameters, known: Vec::new() })
    }

    /// The scheme, in lower case.
    #[must_use]
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The user, where there is one.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The password, where there is one.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.password.as_deref()
    }

    /// The host, where there is one: the first of several.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.hosts.first().map(|(host, _)| host.as_str())
    }

    /// The port, where there is one: that of the first host.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.hosts.first().and_then(|(_, port)| *port)
    }

    /// All hosts with their ports, as they stand in the URL with commas between.
    #[must_use]
    pub fn hosts(&self) -> &[(String, Option<u16>)] {
        &self.hosts
    }

    /// The path, with its leading slash, or empty.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Takes a parameter and reads its value. `None` where it does not stand in the URL.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid), naming the parameter, its value and what it must be.
    pub fn take<T: Parameter>(&mut self, name: &'static str) -> Result<Option<T>> {
        self.known.push(name);
        let Some(at) = self.parameters.iter().position(|(known, _)| known == name) else { return Ok(None) };
        let (_, value) = self.parameters.swap_remove(at);
        match T::read(&value) {
            Some(read) => Ok(Some(read)),
            None => Err(invalid(format!("parameter {name}={value:?}: it must be {}", T::MEANS))),
        }
    }

    /// Ends the reading of parameters.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](eventbus_core::ErrorKind::Invalid) for a parameter that nobody has asked for, naming it and those there are.
    pub fn finish(self) -> Result<()> {
        match self.parameters.first() {
            None => Ok(()),
            Some((name, _)) => Err(invalid(format!("unknown parameter {name:?}; {} knows {}", self.scheme, self.known.join(", ")))),
        }
    }
}

/// Takes all hosts but the first out of a URL, since a URL has one.
fn split_hosts(url: &str) -> (Cow<'_, str>, Vec<&str>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (Cow::Borrowed(url), Vec::new()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, after) = rest.split_at(end);
    let hosts = authority.rfind('@').map_or(0, |at| at + 1);
    let (user, hosts) = authority.split_at(hosts);
    match hosts.split_once(',') {
        Some((first, more)) => (Cow::Owned(format!("{scheme}://{user}{first}{after}")), more.split(',').collect()),
        None => (Cow::Borrowed(url), Vec::new()),
    }
}

fn read_uri(url: &str) -> Result<Uri<&str>> {
    Uri::parse(url).map_err(|fault| {
        // The parser's message shows no part of the input.
        invalid(format!("not a URL: {fault}; it looks like memory: or scheme://host:port/path?parameter=value"))
    })
}

/// `None` where the host is empty.
fn host_and_port(authority: &Authority<'_>) -> Result<Option<(String, Option<u16>)>> {
    let port = match authority.port().map(fluent_uri::pct_enc::EStr::as_str).filter(|port| !port.is_empty()) {
        Some(text) => Some(text.parse().map_err(|_| invalid(format!("port {text}: it must be 0 to 65535")))?),
        None => None,
    };
    let host = Some(authority.host().to_owned()).filter(|host| !host.is_empty());
    Ok(host.map(|host| (host, port)))
}

fn invalid(message: String) -> Error {
    Error::invalid(message).during("connect")
}

fn percent_decode(text: &str) -> Result<String> {
    let encoded = fluent_uri::pct_enc::EStr::<fluent_uri::pct_enc::encoder::Query>::new(text)
        .ok_or_else(|| invalid("a percent sign must be followed by two hexadecimal digits".to_owned()))?;
    encoded.decode().to_string().map(Cow::into_owned).map_err(|_| invalid("a parameter must be UTF-8".to_owned()))
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusUrl").field("scheme", &self.scheme).field("hosts", &self.hosts).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The value of a parameter.
pub trait Parameter: Sized {
    /// What a value must be, in words.
    const MEANS: &'static str;

    /// Reads a value.
    fn read(value: &str) -> Option<Self>;
}

impl Parameter for usize {
    const MEANS: &'static str = "a whole number from 0";

    fn read(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl Parameter for bool {
    const MEANS: &'static str = "true or false";

    fn read(value: &str) -> Option<Self> {
        value.parse().ok()
    }
}

impl Parameter for String {
    const MEANS: &'static str = "a text";

    fn read(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

impl Parameter for Duration {
    const MEANS: &'static str = "a duration such as 30s, 500ms or 2m";

    fn read(value: &str) -> Option<Self> {
        if value == "0" { Some(Self::ZERO) } else { humantime::parse_duration(value).ok() }
    }
}

/// A number of bytes: `1048576`, `1024KiB` or `1MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub usize);

impl Parameter for Size {
    const MEANS: &'static str = "a number of bytes such as 1048576, 512KiB, 64MiB or 1GiB";

    fn read(value: &str) -> Option<Self> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
        let (number, unit) = units.into_iter().find_map(|(name, unit)| Some((value.strip_suffix(name)?, unit))).unwrap_or((value, 1));
        number.parse::<usize>().ok()?.checked_mul(unit).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let mut url = BusUrl::parse("NATS://us%40er:p%3Aw@host:4222/orders?stream=ORDERS&wait=500ms&size=2MiB&strict=true&n=7").unwrap();
        assert_eq!((url.scheme(), url.user(), url.password()), ("nats", Some("us@er"), Some("p:w")));
        assert_eq!((url.host(), url.port(), url.path()), (Some("host"), Some(4222), "/orders"));
        assert_eq!(url.take::<String>("stream").unwrap().as_deref(), Some("ORDERS"));
        assert_eq!(url.take::<Duration>("wait").unwrap(), Some(Duration::from_millis(500)));
        assert_eq!(url.take::<Size>("size").unwrap(), Some(Size(2 << 20)));
        assert_eq!(url.take::<bool>("strict").unwrap(), Some(true));
        assert_eq!(url.take::<usize>("n").unwrap(), Some(7));
        assert_eq!(url.take::<usize>("absent").unwrap(), None);
        url.finish().unwrap();
    }

    #[test]
    fn the_shortest_url() {
        let url = BusUrl::parse("memory:").unwrap();
        assert_eq!((url.scheme(), url.host(), url.path()), ("memory", None, ""));
        url.finish().unwrap();
    }

    #[test]
    fn a_url_may_have_several_hosts() {
        let url = BusUrl::parse("nats://u:p,q@one:4222,two,[::1]:7/path?x=a,b").unwrap();
        let hosts: Vec<_> = url.hosts().iter().map(|(host, port)| (host.as_str(), *port)).collect();
        assert_eq!(hosts, [("one", Some(4222)), ("two", None), ("[::1]", Some(7))]);
        assert_eq!((url.host(), url.port(), url.password(), url.path()), (Some("one"), Some(4222), Some("p,q"), "/path"));
        for url in ["nats://a,", "nats://a,,b", "nats://a,b:x", "nats://a,b:99999"] {
            assert!(BusUrl::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_bad_parameter_is_refused_by_name_value_and_rule() {
        for (url, parts) in [
            ("m:?n=x", vec!["n=", "\"x\"", "whole number"]),
            ("m:?n=-1", vec!["-1"]),
            ("m:?n=", vec!["whole number"]),
            ("m:?n=99999999999999999999", vec!["whole number"]),
        ] {
            let error = BusUrl::parse(url).unwrap().take::<usize>("n").unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
        for (value, means) in [("yes", "true or false"), ("", "true or false")] {
            let error = BusUrl::parse(&format!("m:?b={value}")).unwrap().take::<bool>("b").unwrap_err().to_string();
            assert!(error.contains(means), "{error}");
        }
        for value in ["5", "-1s", "1x", "ever"] {
            assert!(BusUrl::parse(&format!("m:?d={value}")).unwrap().take::<Duration>("d").is_err(), "{value}");
        }
        for value in ["1kb", "MiB", "1.5MiB", "99999999999GiB"] {
            assert!(BusUrl::parse(&format!("m:?s={value}")).unwrap().take::<Size>("s").is_err(), "{value}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_refused_with_those_there_are() {
        let mut url = BusUrl::parse("memory:?bufer=1").unwrap();
        url.take::<usize>("hold").unwrap();
        url.take::<bool>("strict").unwrap();
        let error = url.finish().unwrap_err().to_string();
        assert!(error.contains("bufer") && error.contains("hold, strict"), "{error}");
    }

    #[test]
    fn what_is_no_url_is_refused_without_showing_secrets() {
        for url in [
            "",
            "memory",
            "://x",
            "nats://u:hunter2@host:99999",
            "nats://u:hunter2@ho st",
            "nats://u:hunter2@host?a=1&a=2",
            "nats://u:hunter2@host#x",
            "m:?a=%zz",
            "m:?a=%ff",
        ] {
            let error = BusUrl::parse(url).unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let url = BusUrl::parse("nats://u:hunter2@host").unwrap();
        assert!(!format!("{url:?}").contains("hunter2"));
    }
}
