//! Ctrl-C and its like: the first asks for a tidy end, the second gets an end.

use crate::exit::{Exit, Failure, Outcome};
use std::{
    future::Future,
    io::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Whether the user wants the program to end.
#[derive(Clone)]
pub(crate) struct Interrupt(Arc<watch::Sender<Option<Instant>>>);

/// Some send a signal to a process and to its group: what follows the first at once is the same wish.
const ONE_WISH: Duration = Duration::from_millis(300);

impl Interrupt {
    /// An interrupt that signals of the system trigger.
    ///
    /// Must be called within the runtime.
    pub(crate) fn listen() -> Outcome<Self> {
        let interrupt = Self::never();
        let mut signals = Signals::new().map_err(|error| Failure::failed(format_args!("signals cannot be handled: {error}")))?;
        let triggered = interrupt.clone();
        tokio::spawn(async move {
            loop {
                signals.next().await;
                triggered.trigger_or_exit();
            }
        });
        Ok(interrupt)
    }

    /// An interrupt that only [`trigger`](Self::trigger) triggers.
    pub(crate) fn never() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    pub(crate) fn trigger(&self) {
        self.0.send_modify(|asked| *asked = asked.or_else(|| Some(Instant::now())));
    }

    /// What Ctrl-C does: whoever asks twice does not want to wait for anything.
    pub(crate) fn trigger_or_exit(&self) {
        let asked = *self.0.borrow();
        match asked {
            None => self.trigger(),
            Some(first) if first.elapsed() < ONE_WISH => {}
            Some(_) => {
                crate::screen::give_back();
                let _ = std::io::stdout().flush();
                std::process::exit(Exit::Interrupted as i32);
            }
        }
    }

    /// Whether the user wants an end.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Resolves when the user wants an end.
    pub(crate) async fn wait(&self) {
        // The sender is kept here, so this ends only with the value.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// What a future comes to, unless the user wants an end first.
    pub(crate) async fn or<T>(&self, future: impl Future<Output = T>) -> Outcome<T> {
        tokio::select! {
            biased;
            () = self.wait() => Err(Failure::Interrupted),
            value = future => Ok(value),
        }
    }
}

#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 3]);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self([signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?]))
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            // It cannot be heard, so it never comes.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_done_first_wins() {
        let interrupt = Interrupt::never();
        assert_eq!(interrupt.or(async { 1 }).await.unwrap(), 1);
        interrupt.trigger();
        assert!(matches!(interrupt.or(std::future::pending::<()>()).await, Err(Failure::Interrupted)));
    }
}
