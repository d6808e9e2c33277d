//! Programs of a Debian suite other than this machine's, beside everything else and without root.

use crate::{
    command::{Run, program, target},
    servers::Server,
};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The suite with NATS 2.10 and Redis 8.
pub(crate) const SUITE: &str = "trixie";

/// The suite with Redis 8.6. It has only what is newer than in [`BELOW`].
pub(crate) const EXPERIMENTAL: &str = "experimental";
/// The suite from which the rest comes. It has Valkey 9.
pub(crate) const BELOW: &str = "sid";

/// What signs the packages.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a container needs beside a server, to be looked into.
const SHELL: &str = "base-files dash coreutils";

/// Where this machine gets its own packages of Debian from.
fn mirror() -> Result<String, String> {
    let known = program("apt-get", "indextargets --format $(REPO_URI)").printed()?;
    let mirror = known.lines().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with("/debian"));
    mirror.map(str::to_owned).ok_or_else(|| "apt knows no mirror of Debian on this machine".to_owned())
}

/// Whether a name can be one of a suite, such as `trixie`.
pub(crate) fn is_suite(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-')
}

/// A file tree with the server of a package and all that it depends on, unpacked and not configured.
#[derive(Debug)]
pub(crate) struct Tree {
    suite: String,
    package: &'static str,
    root: PathBuf,
}

impl Tree {
    /// Unpacks a package of a suite, unless it is there. Its server has the package's name.
    ///
    /// `apt-get` is told that nothing is installed, so it downloads whatever the package needs, down to the C library.
    pub(crate) fn unpack(suite: &str, package: &'static str) -> Result<Self, String> {
        let folder = target().join("servers").join(format!("debian-{suite}-{package}"));
        let tree = Self { suite: suite.to_owned(), package, root: folder.join("root") };
        let done = folder.join("done");
        if done.exists() {
            return Ok(tree);
        }
        if !Path::new(KEYS).exists() {
            return Err(format!("there is no {KEYS} to verify packages of Debian with: apt-get install debian-archive-keyring"));
        }
        let unpacked = tree.prepare(&folder).and_then(|apt| {
            apt("update").printed()?;
            apt(&format!("install --yes --no-install-recommends --download-only --target-release {suite} {package} {SHELL}")).printed()?;
            tree.extract(&folder)?;
            fs::write(done, "").map_err(told)
        });
        unpacked.map(|()| tree).map_err(|fault| format!("{package} of Debian's {suite}: {fault}"))
    }

    /// Makes the folders, and returns how `apt-get` is called with them instead of those of this machine.
    fn prepare(&self, folder: &Path) -> Result<impl Fn(&str) -> Run, String> {
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(told)?;
        }
        for name in ["lists/partial", "archives/partial", "root"] {
            fs::create_dir_all(folder.join(name)).map_err(told)?;
        }
        let at = |name: &str| folder.join(name).display().to_string();
        let settings = [
            ("Dir::State::Lists", at("lists")),
            ("Dir::State::Status", at("status")),
            ("Dir::Cache", at("")),
            ("Dir::Cache::Archives", at("archives")),
            ("Dir::Etc::SourceList", at("sources.list")),
            ("Dir::Etc::SourceParts", "/dev/null".to_owned()),
            ("Dir::Etc::Preferences", "/dev/null".to_owned()),
            ("Dir::Etc::PreferencesParts", "/dev/null".to_owned()),
            ("Debug::NoLocking", "true".to_owned()),
            ("APT::Sandbox::User", String::new()),
            ("Acquire::Languages", "none".to_owned()),
        ];
        let settings: String = settings.iter().map(|(name, value)| format!("{name} {value:?};\n")).collect();
        let (mirror, below) = (mirror()?, (self.suite == EXPERIMENTAL).then_some(BELOW));
        let suites = [Some(&*self.suite), below].into_iter().flatten();
        let sources: String = suites.map(|suite| format!("deb [signed-by={KEYS}] {mirror} {suite} main\n")).collect();
        for (name, text) in [("status", ""), ("sources.list", &sources), ("apt.conf", &settings)] {
            fs::write(folder.join(name), text).map_err(told)?;
        }
        let settings = at("apt.conf");
        Ok(move |arguments: &str| program("apt-get", "--quiet").args(arguments).env("APT_CONFIG", settings.clone()))
    }

    fn extract(&self, folder: &Path) -> Result<(), String> {
        // As every system of today has it, before the first package says otherwise.
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(self.root.join("usr").join(name)).map_err(told)?;
            std::os::unix::fs::symlink(format!("usr/{name}"), self.root.join(name)).map_err(told)?;
        }
        fs::create_dir_all(self.root.join("tmp")).map_err(told)?;
        let archives = fs::read_dir(folder.join("archives")).map_err(told)?;
        for archive in archives {
            let archive = archive.map_err(told)?.path();
            if archive.extension().is_some_and(|extension| extension == "deb") {
                // Older suites have files in /lib itself, which is to stay a link.
                let unpack = "dpkg-deb --fsys-tarfile \"$0\" | tar -x --keep-directory-symlink -C \"$1\"";
                program("sh", "-c").arg(unpack).arg(archive.display().to_string()).arg(self.root.display().to_string()).printed()?;
            }
        }
        // What nobody reads here is half of it.
        for name in ["doc", "man", "locale", "lintian", "bug"] {
            let _ = fs::remove_dir_all(self.root.join("usr/share").join(name));
        }
        fs::remove_dir_all(folder.join("archives")).map_err(told)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The server, which runs on this machine with the libraries of the tree.
    pub(crate) fn server(&self, name: &'static str) -> Result<Server, String> {
        let Self { suite, package, root } = self;
        let usr = root.join("usr");
        let binary = ["bin", "sbin"].map(|folder| usr.join(folder).join(package)).into_iter().find(|path| path.exists());
        let binary = binary.ok_or_else(|| format!("{package} of Debian's {suite} brings no server of its name"))?;
        let libraries = find(&usr.join("lib"), |name| name.contains("-linux-gnu"))?;
        let loader = find(&usr.join("lib64"), is_loader).or_else(|_| find(&usr.join("lib"), is_loader))?;
        let wrapper = format!(
            "#!/bin/sh\n# {package} of Debian's {suite}, with its own libraries.\nexec '{}' --library-path '{}' '{}' \"$@\"\n",
            loader.display(),
            libraries.display(),
            binary.display()
        );
        let made = root.with_file_name(package);
        fs::write(&made, wrapper).and_then(|()| fs::set_permissions(&made, fs::Permissions::from_mode(0o755))).map_err(told)?;
        Server::at(name, &made)
    }
}

fn is_loader(name: &str) -> bool {
    name.starts_with("ld-linux")
}

fn find(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<PathBuf, String> {
    let mut entries = fs::read_dir(folder).map_err(told)?.flatten();
    let found = entries.find(|entry| entry.file_name().to_str().is_some_and(&wanted));
    found.map(|entry| entry.path()).ok_or_else(|| format!("there is no such file in {}", folder.display()))
}

/// What an error says.
#[expect(clippy::needless_pass_by_value, reason = "an error comes by value")]
fn told(error: io::Error) -> String {
    error.to_string()
}
