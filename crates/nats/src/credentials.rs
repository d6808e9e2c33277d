//! The credentials of a connection. Nothing in here is shown.

use async_nats::ConnectOptions;
use eventbus_core::{Error, ErrorKind, Result};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// The ways to sign in. At most one of them is set.
#[derive(Clone, Default)]
pub(crate) struct Credentials {
    pub(crate) user: Option<(String, Secret)>,
    pub(crate) token: Option<Secret>,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) nkey_file: Option<PathBuf>,
}

/// A text that is not shown.
#[derive(Clone)]
pub(crate) struct Secret(String);

impl Credentials {
    /// The names of those that are set.
    pub(crate) fn given(&self) -> Vec<&'static str> {
        let given = [
            ("user", self.user.is_some()),
            ("token", self.token.is_some()),
            ("credentials_file", self.credentials_file.is_some()),
            ("nkey_file", self.nkey_file.is_some()),
        ];
        given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self.given()[..] {
            [] | [_] => Ok(()),
            ref given => Err(Error::invalid(format!("{}: set only one of them", given.join(" and ")))),
        }
    }

    /// Reads the files and gives the client the credentials.
    pub(crate) fn apply(&self, options: ConnectOptions) -> Result<ConnectOptions> {
        if let Some((user, Secret(password))) = &self.user {
            return Ok(options.user_and_password(user.clone(), password.clone()));
        }
        if let Some(Secret(token)) = &self.token {
            return Ok(options.token(token.clone()));
        }
        if let Some(path) = &self.credentials_file {
            let text = read("credentials_file", path)?;
            return options.credentials(&text).map_err(|_| malformed("credentials_file", path, "a JWT and a seed, as nsc writes them"));
        }
        if let Some(path) = &self.nkey_file {
            let text = read("nkey_file", path)?;
            let seed = text.lines().map(str::trim).find(|line| line.starts_with("SU"));
            let seed = seed.ok_or_else(|| malformed("nkey_file", path, "the seed of a user, which begins with SU"))?;
            return Ok(options.nkey(seed.to_owned()));
        }
        Ok(options)
    }
}

fn read(option: &'static str, path: &Path) -> Result<String> {
    std::fs::read_to_string(path)
        .map_err(|fault| Error::invalid(format!("{option} {}: it cannot be read: {fault}", path.display())).during("connect"))
}

/// Without the cause, which could show what it failed to read.
fn malformed(option: &'static str, path: &Path, holds: &str) -> Error {
    Error::new(ErrorKind::Invalid, format!("{option} {}: it must hold {holds}", path.display())).during("connect")
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.given()).finish()
    }
}
