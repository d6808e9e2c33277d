//! A connection that is made again when it is lost.

use crate::{
    connect::Connector,
    error::{self, unavailable},
    script::{SCRIPTS, Script},
};
use eventbus_core::{Result, Retry};
use redis::{Cmd, Pipeline, RedisError, Value, aio::MultiplexedConnection, cmd};
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// One connection for one purpose, to the server that has a key.
pub(crate) struct Link {
    me: Weak<Self>,
    connector: Arc<Connector>,
    key: String,
    /// For how long the server may keep back an answer because it was asked to wait.
    patience: Duration,
    again: Retry,
    live: Mutex<Option<Live>>,
    /// What the server called the connection that was lost last.
    lost: AtomicI64,
    making: Mutex<Making>,
}

/// A connection that was made.
#[derive(Clone)]
pub(crate) struct Live {
    pub(crate) connection: MultiplexedConnection,
    /// What the server calls the connection.
    pub(crate) id: i64,
    number: u64,
}

struct Making {
    failures: u32,
    not_before: Instant,
    /// How many connections were made.
    made: u64,
    /// Tells what becomes of the connection that is being made.
    attempt: Option<watch::Receiver<Option<Result<Live>>>>,
}

impl Link {
    pub(crate) fn new(connector: &Arc<Connector>, key: &str, patience: Duration, again: &Retry) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            connector: Arc::clone(connector),
            key: key.to_owned(),
            patience,
            again: again.clone(),
            live: Mutex::default(),
            lost: AtomicI64::new(0),
            making: Mutex::new(Making { failures: 0, not_before: Instant::now(), made: 0, attempt: None }),
        })
    }

    /// The connection, if there is one.
    pub(crate) fn live(&self) -> Option<Live> {
        self.slot().clone()
    }

    /// The connection. Makes it where there is none, not sooner than the last failure allows.
    ///
    /// # Errors
    /// Why it could not be made.
    pub(crate) async fn connection(&self) -> Result<Live> {
        let mut told = {
            let mut making = self.making();
            if let Some(live) = self.live() {
                return Ok(live);
            }
            match &making.attempt {
                Some(attempt) => attempt.clone(),
                None => {
                    let (teller, told) = watch::channel(None);
                    making.attempt = Some(told.clone());
                    // A task of its own: of those who wait for it, any may wait no more, or not be polled for a while.
                    tokio::spawn(attempt(self.me.clone(), making.not_before, teller));
                    told
                }
            }
        };
        let outcome = told.wait_for(Option::is_some).await.ok().and_then(|outcome| outcome.clone());
        outcome.unwrap_or_else(|| Err(unavailable("connecting was interrupted")))
    }

    async fn make(&self, number: u64) -> Result<Live> {
        let mut connection = self.connector.open(&self.key, self.patience).await?;
        let mut greeting = redis::pipe();
        greeting.cmd("CLIENT").arg("ID");
        // A connection that blocks runs no scripts.
        for script in SCRIPTS.iter().filter(|_| self.patience.is_zero()) {
            greeting.cmd("SCRIPT").arg("LOAD").arg(script.code());
        }
        let answers = connection.send_packed_commands(&greeting, 0, greeting.len()).await.map_err(|error| error::translate(&error))?;
        // Who may not ask this, or load scripts, hears so when it is needed. A server that is busy is asked again: without the name of a
        // connection that was lost, what still waits on it cannot be called off.
        let id = match answers.into_iter().next().unwrap_or(Value::Nil).extract_error().map_err(|error| error::translate(&error)) {
            Err(error) if error.is_retryable() => return Err(error),
            id => id.and_then(crate::reply::integer).unwrap_or(0),
        };
        tracing::debug!(target: "eventbus", key = self.key, "connected to Redis");
        Ok(Live { connection, id, number })
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The client's own, so that what it means can be decided where it is known what was asked. See [`error::translate`].
    pub(crate) async fn send(&self, command: &Cmd) -> Result<Value, Failed> {
        let live = self.connection().await.map_err(Failed::Unconnected)?;
        self.send_on(live, command).await
    }

    async fn send_on(&self, mut live: Live, command: &Cmd) -> Result<Value, Failed> {
        let answer = live.connection.send_packed_command(command).await.and_then(Value::extract_error);
        answer.map_err(|error| self.failed(&live, error))
    }

    /// Sends commands at once and waits for all answers: one for each.
    pub(crate) async fn send_all(&self, commands: &Pipeline) -> Result<Vec<Value>, Failed> {
        let live = self.connection().await.map_err(Failed::Unconnected)?;
        self.send_all_on(live, commands).await
    }

    async fn send_all_on(&self, mut live: Live, commands: &Pipeline) -> Result<Vec<Value>, Failed> {
        let answers = live.connection.send_packed_commands(commands, 0, commands.len()).await;
        answers.map_err(|error| self.failed(&live, error))
    }

    /// Runs a script. One that the server does not know is loaded and run again.
    pub(crate) async fn run(&self, call: &Cmd) -> Result<Value, Failed> {
        match self.send(call).await {
            Err(Failed::Answered(error)) if error::is_script_lost(&error) => {
                self.load_scripts().await?;
                self.send(call).await
            }
            answer => answer,
        }
    }

    /// Runs a script that may as well run twice: where the connection turns out to be lost it runs again on another.
    pub(crate) async fn run_twice(&self, call: &Cmd) -> Result<Value, Failed> {
        match self.run(call).await {
            Err(Failed::Answered(error)) if error::ends_connection(&error) => self.run(call).await,
            answer => answer,
        }
    }

    /// Runs several scripts at once on a connection that was made, as [`run`](Self::run) does. What is sent is on its way when this was
    /// polled once.
    pub(crate) async fn run_all_on(&self, live: Live, calls: &Pipeline) -> Result<Vec<Value>, Failed> {
        let answers = self.send_all_on(live.clone(), calls).await?;
        // Either the server knows the scripts or it has forgotten them all.
        if answers.iter().any(|answer| matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")) {
            self.load_scripts().await?;
            return self.send_all(calls).await;
        }
        for answer in &answers {
            if let Value::ServerError(error) = answer
                && error::ends_connection(&RedisError::from(error.clone()))
            {
                // The connection leads to a server that is the wrong one by now.
                self.drop_connection(&live);
            }
        }
        Ok(answers)
    }

    async fn load_scripts(&self) -> Result<(), Failed> {
        for script in SCRIPTS {
            self.send(cmd("SCRIPT").arg("LOAD").arg(script.code())).await?;
        }
        Ok(())
    }

    /// What the server calls the connection that was lost last, once.
    pub(crate) fn take_lost(&self) -> Option<i64> {
        Some(self.lost.swap(0, Relaxed)).filter(|id| *id != 0)
    }

    /// The server could not be told about a connection that was lost: whoever asks next does. One that was lost since goes first.
    pub(crate) fn give_back_lost(&self, id: i64) {
        let _ = self.lost.compare_exchange(0, id, Relaxed, Relaxed);
    }

    /// Lets go of the connection.
    pub(crate) fn disconnect(&self) {
        *self.slot() = None;
    }

    /// A connection that failed is not used again.
    fn failed(&self, live: &Live, error: RedisError) -> Failed {
        if error::ends_connection(&error) {
            self.drop_connection(live);
        }
        Failed::Answered(error)
    }

    pub(crate) fn drop_connection(&self, failed: &Live) {
        let mut slot = self.slot();
        if slot.as_ref().is_some_and(|live| live.number == failed.number) {
            self.lost.store(failed.id, Relaxed);
            *slot = None;
        }
    }

    fn making(&self) -> MutexGuard<'_, Making> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a connection once, when it is time, and tells everybody who waits for it.
async fn attempt(link: Weak<Link>, not_before: Instant, teller: watch::Sender<Option<Result<Live>>>) {
    tokio::time::sleep_until(not_before).await;
    let Some(link) = link.upgrade() else { return };
    let number = link.making().made + 1;
    let made = link.make(number).await;
    {
        let mut making = link.making();
        making.attempt = None;
        match &made {
            Ok(live) => {
                (making.failures, making.made) = (0, number);
                *link.slot() = Some(live.clone());
            }
            Err(_) => {
                making.failures += 1;
                making.not_before = Instant::now() + link.again.delay(making.failures, rand::random());
            }
        }
    }
    teller.send_replace(Some(made));
}

/// Why a command has no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// There is no connection: the command was not sent.
    Unconnected(eventbus_core::Error),
    /// The server refused, or the connection was lost and what became of the command is unknown.
    Answered(RedisError),
}

impl From<Failed> for eventbus_core::Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unconnected(error) => error,
            Failed::Answered(error) => error::translate(&error),
        }
    }
}

/// A call of a script with its keys.
pub(crate) fn call<'a>(script: &Script, keys: impl IntoIterator<Item = &'a str>) -> Cmd {
    let mut call = Cmd::new();
    let keys: Vec<&str> = keys.into_iter().collect();
    call.arg("EVALSHA").arg(script.hash()).arg(keys.len());
    for key in keys {
        call.arg(key);
    }
    call
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RedisConfig;
    use eventbus_testing::servers::RedisServer;

    async fn until(mut holds: impl AsyncFnMut() -> bool) {
        let held = async {
            while !holds().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), held).await.unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_the_server_does_not_name_yet_is_made_again() {
        let server = RedisServer::builder().in_memory().config("lua-time-limit 20").start().await;
        let mut running = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        let running = tokio::spawn(async move { running.send_packed_command(cmd("EVAL").arg("while true do end").arg(0)).await });
        let mut asking = redis::Client::open(server.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
        until(async || {
            let answer = asking.send_packed_command(&cmd("PING")).await.and_then(Value::extract_error);
            answer.is_err_and(|error| error.code() == Some("BUSY"))
        })
        .await;
        let connector = Arc::new(Connector::new(&RedisConfig::new().address(server.address().to_string()), None).unwrap());
        let link = Link::new(&connector, "events:0", Duration::ZERO, &Retry::fixed(Duration::from_millis(10)));
        match link.connection().await {
            Err(refused) => assert!(refused.is_retryable(), "{refused}"),
            // Valkey from 9 on says who one is while it refuses all else.
            Ok(live) => assert!(live.id > 0),
        }
        let _ = asking.send_packed_command(cmd("SCRIPT").arg("KILL")).await;
        let _ = running.await;
        until(async || link.connection().await.is_ok_and(|live| live.id > 0)).await;
    }
}
