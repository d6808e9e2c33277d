//! A server in a container, through `testcontainers`.
//!
//! The container shares the network of this machine and the directory of the server, so that it is configured just like a process of this
//! machine, and found at the same address. The Docker daemon has to be one of this machine.

mod docker;
mod watch;

use self::watch::Watch;
use super::{
    guarded::memory_of,
    node::{Host, Recipe, Signal},
};
use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use testcontainers::{
    ContainerAsync, GenericImage, ImageExt, TestcontainersError,
    bollard::{models::ContainerState, query_parameters::KillContainerOptions},
    core::Mount,
    runners::AsyncRunner,
};

/// An image by its name and tag.
#[derive(Debug, Clone)]
pub(super) struct Image {
    name: String,
    tag: String,
}

impl Image {
    /// An image that Docker can be asked for. The error says what is wrong with Docker.
    pub(super) fn find(reference: &str) -> Result<Self, String> {
        docker::answers()?;
        Ok(Self::named(reference))
    }

    /// Pulls it where it is missing: once, however many tests want it at the same time.
    fn provide(&self) -> Result<(), String> {
        static PULL: Mutex<()> = Mutex::new(());
        let _one_at_a_time = PULL.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = self.to_string();
        if docker::ask(|docker| async move { docker.inspect_image(&reference).await }).is_ok() {
            return Ok(());
        }
        let request = GenericImage::new(self.name.clone(), self.tag.clone());
        let pulled = docker::run(async move { request.pull_image().await });
        pulled.map(drop).map_err(|error| format!("the image {self} is not here and cannot be pulled: {error}"))
    }

    /// Without a tag it is the latest one. The colon of a registry's port begins no tag.
    fn named(reference: &str) -> Self {
        let (name, tag) = reference.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).unwrap_or((reference, "latest"));
        Self { name: name.to_owned(), tag: tag.to_owned() }
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.tag)
    }
}

/// A server's container. It is made at the first start, and kept until this is dropped.
#[derive(Debug)]
pub(super) struct Container {
    image: Image,
    program: &'static str,
    arguments: Vec<String>,
    directory: PathBuf,
    made: Mutex<Option<Made>>,
}

#[derive(Debug)]
struct Made {
    container: Arc<ContainerAsync<GenericImage>>,
    _watch: Watch,
}

impl Container {
    pub(super) fn new(image: &Image, recipe: &Recipe) -> Self {
        Self {
            image: image.clone(),
            program: recipe.kind.program,
            arguments: recipe.arguments.clone(),
            directory: recipe.directory.path().to_owned(),
            made: Mutex::default(),
        }
    }

    fn made(&self) -> MutexGuard<'_, Option<Made>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self) -> Result<Made, String> {
        self.image.provide()?;
        let directory = self.directory.display().to_string();
        // Its own program instead of the image's start script, and as this user, who can then remove what it wrote.
        let user = format!("{}:{}", rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        let request = GenericImage::new(self.image.name.clone(), self.image.tag.clone())
            .with_entrypoint(self.program)
            .with_cmd(self.arguments.clone())
            .with_user(user)
            .with_working_dir(&directory)
            .with_mount(Mount::bind_mount(&directory, &directory))
            .with_network("host");
        let started = docker::run(async move { request.start().await });
        let container = started.map_err(|error| format!("no container of {} can be started: {error}", self.image))?;
        let watch = Watch::over(container.id(), &self.directory);
        Ok(Made { container: Arc::new(container), _watch: watch })
    }

    fn container(&self) -> Option<Arc<ContainerAsync<GenericImage>>> {
        self.made().as_ref().map(|made| Arc::clone(&made.container))
    }

    fn state(&self) -> Option<ContainerState> {
        let id = self.container()?.id().to_owned();
        docker::ask(|docker| async move { docker.inspect_container(&id, None).await }).ok()?.state
    }
}

impl Host for Container {
    fn start(&self) -> Result<(), String> {
        let mut made = self.made();
        match made.as_ref() {
            None => *made = Some(self.make()?),
            Some(made) => {
                let container = Arc::clone(&made.container);
                let started = docker::run(async move { container.start().await });
                started.map_err(|error| format!("its container cannot be started again: {error}"))?;
            }
        }
        Ok(())
    }

    fn is_running(&self) -> bool {
        self.state().and_then(|state| state.running).unwrap_or_default()
    }

    fn signal(&self, signal: Signal) {
        let Some(id) = self.container().map(|container| container.id().to_owned()) else { return };
        let kill = |signal: &str| Some(KillContainerOptions { signal: signal.to_owned() });
        // It may end just now; then there is nobody to signal.
        let _ = docker::ask(move |docker| async move {
            match signal {
                Signal::Kill => docker.kill_container(&id, kill("SIGKILL")).await,
                Signal::Stop => docker.kill_container(&id, kill("SIGTERM")).await,
                Signal::Pause => docker.pause_container(&id).await,
                Signal::Resume => docker.unpause_container(&id).await,
            }
        });
    }

    fn memory(&self) -> u64 {
        let process = self.state().and_then(|state| state.pid).and_then(|process| u32::try_from(process).ok());
        process.map_or(0, memory_of)
    }

    fn log(&self) -> String {
        let Some(container) = self.container() else { return String::new() };
        let said = async move {
            let said = [container.stdout_to_vec().await?, container.stderr_to_vec().await?];
            Ok::<_, TestcontainersError>(String::from_utf8_lossy(&said.concat()).into_owned())
        };
        docker::run(said).unwrap_or_else(|error| format!("Docker does not tell its log: {error}"))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let made = self.made().take();
        let container = made.and_then(|made| Arc::into_inner(made.container));
        if let Some(container) = container {
            let _ = docker::run(container.rm());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_named_with_its_registry_and_tag() {
        for (reference, name, tag) in [
            ("registry.test/team/nats:2.12", "registry.test/team/nats", "2.12"),
            ("localhost:5000/redis", "localhost:5000/redis", "latest"),
            ("localhost:5000/redis:8", "localhost:5000/redis", "8"),
        ] {
            let image = Image::named(reference);
            assert_eq!((&*image.name, &*image.tag), (name, tag));
        }
    }
}
