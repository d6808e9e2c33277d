//! Images of the servers for places without a container registry.

use crate::{
    command::program,
    debian::Tree,
    steps::{Failed, Steps},
};

const NATS: &str = "eventbus-test/nats";
const REDIS: &str = "eventbus-test/redis";
/// Names the suite of an image, so that it is not made twice.
const LABEL: &str = "eventbus-test.suite";

/// Images by name and tag, as the tests take them.
#[derive(Debug)]
pub(crate) struct Images {
    pub(crate) nats: String,
    pub(crate) redis: String,
}

/// Whether images can be made and run here. The error says why not.
pub(crate) fn docker() -> Result<(), String> {
    program("docker", "version --format {{.Server.Version}}").printed().map(drop)
}

/// Makes the images of a suite and says how the tests are told to use them.
pub(crate) fn run(steps: &mut Steps, suite: &str) -> Result<(), Failed> {
    let images = provide(steps, suite)?;
    println!("export EVENTBUS_TEST_SERVERS=container");
    println!("export EVENTBUS_TEST_NATS_IMAGE={}", images.nats);
    println!("export EVENTBUS_TEST_REDIS_IMAGE={}", images.redis);
    Ok(())
}

/// The images of a suite, made where they are missing.
pub(crate) fn provide(steps: &mut Steps, suite: &str) -> Result<Images, Failed> {
    let repeat = || format!("cargo xtask images --suite {suite}");
    docker().map_err(|how| Failed { step: "images".to_owned(), how, repeat: repeat() })?;
    let mut image = |name, package| match made(name, suite) {
        Some(image) => {
            steps.found(&image);
            Ok(image)
        }
        None => make(name, suite, package).inspect(|image| steps.found(image)).map_err(|how| Failed {
            step: name.to_owned(),
            how,
            repeat: repeat(),
        }),
    };
    Ok(Images { nats: image(NATS, "nats-server")?, redis: image(REDIS, "redis-server")? })
}

fn made(name: &str, suite: &str) -> Option<String> {
    let list = program("docker", "images --format {{.Repository}}:{{.Tag}} --filter").arg(format!("label={LABEL}={suite}")).arg(name);
    list.printed().ok()?.lines().next().map(str::to_owned)
}

/// Packs the server with all that it needs, a shell, and no package manager.
fn make(name: &str, suite: &str, package: &'static str) -> Result<String, String> {
    eprintln!("\n==> {name}: from {package} of Debian's {suite}");
    let tree = Tree::unpack(suite, package)?;
    let image = format!("{name}:{}", tree.server(package)?.version);
    let import = format!(
        "tar -C '{}' -c --numeric-owner --owner=0 --group=0 . | docker import --change 'LABEL {LABEL}={suite}' --change 'CMD [\"{package}\"]' \
         --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - {image}",
        tree.root().display(),
    );
    program("sh", "-c").arg(import).printed()?;
    Ok(image)
}
