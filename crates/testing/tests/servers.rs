//! The servers for tests do what their names say, and so does the proxy before them.

use eventbus_testing::servers::{self, NatsServer, Proxy, RedisServer};
use std::{
    future::Future,
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

/// How long what should happen may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the tests look at what should not happen.
const SILENCE: Duration = Duration::from_millis(200);

/// Waits for a condition.
async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < PATIENCE, "{what} did not happen within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not happen within {PATIENCE:?}"))
}

mod proxy {
    use super::*;

    /// A server that says everything back.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = client.split();
                    tokio::io::copy(&mut from, &mut to).await
                });
            }
        });
        address
    }

    async fn proxied() -> (Proxy, TcpStream) {
        let proxy = Proxy::to(echo().await).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut client, "hello").await.unwrap(), "hello");
        (proxy, client)
    }

    /// What comes back for a text, as long as the text is.
    async fn answer(client: &mut TcpStream, text: &str) -> io::Result<String> {
        client.write_all(text.as_bytes()).await?;
        receive(client, text.len()).await
    }

    async fn receive(client: &mut TcpStream, length: usize) -> io::Result<String> {
        let mut said = vec![0; length];
        soon("an answer", client.read_exact(&mut said)).await?;
        Ok(String::from_utf8(said).unwrap())
    }

    async fn is_silent(client: &mut TcpStream) -> bool {
        timeout(SILENCE, client.read_u8()).await.is_err()
    }

    #[tokio::test]
    async fn without_a_fault_every_byte_passes_and_an_end_is_passed_on() {
        let (proxy, mut client) = proxied().await;
        let long = "0123456789".repeat(100_000);
        let (mut from, mut to) = client.split();
        let mut said = String::new();
        let (sent, received) = tokio::join!(
            async {
                to.write_all(long.as_bytes()).await?;
                to.shutdown().await
            },
            from.read_to_string(&mut said)
        );
        sent.unwrap();
        received.unwrap();
        assert!(said == long, "{} of {} bytes came back", said.len(), long.len());
        assert_eq!((proxy.bytes_to_server(), proxy.bytes_to_client()), (1_000_005, 1_000_005));
        until("the end of the connection", || proxy.connections() == 0).await;
        assert_eq!((proxy.accepted(), proxy.refused(), proxy.resets()), (1, 0, 0));
    }

    #[tokio::test]
    async fn a_cut_closes_connections_and_refuses_new_ones_until_it_is_healed() {
        let (proxy, mut client) = proxied().await;
        proxy.cut();
        assert!(soon("the end", client.read_u8()).await.is_err());
        let refused = async { TcpStream::connect(proxy.address()).await?.read_u8().await };
        assert!(soon("the refusal", refused).await.is_err());
        until("both ends", || (proxy.connections(), proxy.resets(), proxy.refused()) == (0, 1, 1)).await;

        proxy.heal();
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut again, "back").await.unwrap(), "back");
    }

    #[tokio::test]
    async fn a_reset_closes_connections_and_lets_new_ones_in() {
        let (proxy, mut client) = proxied().await;
        proxy.reset();
        assert_eq!(soon("the end", client.read_u8()).await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut again, "back").await.unwrap(), "back");
        assert_eq!((proxy.resets(), proxy.accepted(), proxy.refused()), (1, 2, 0));
    }

    #[tokio::test]
    async fn half_open_lets_requests_out_and_no_answer_in() {
        let (proxy, mut client) = proxied().await;
        let before = proxy.bytes_to_server();
        proxy.half_open();
        client.write_all(b"anyone?").await.unwrap();
        until("the request", || proxy.bytes_to_server() == before + 7).await;
        assert!(is_silent(&mut client).await);
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        late.write_all(b"me too").await.unwrap();
        until("the other request", || proxy.bytes_to_server() == before + 13).await;
        assert!(is_silent(&mut late).await);
        assert_eq!((proxy.connections(), proxy.resets()), (2, 0));

        proxy.heal();
        assert_eq!(receive(&mut client, 7).await.unwrap(), "anyone?");
        assert_eq!(receive(&mut late, 6).await.unwrap(), "me too");
    }

    #[tokio::test]
    async fn an_answer_can_be_lost_after_its_request_has_arrived() {
        let (proxy, mut client) = proxied().await;
        let before = (proxy.bytes_to_server(), proxy.bytes_to_client());
        proxy.half_open();
        client.write_all(b"pay").await.unwrap();
        until("the request", || proxy.bytes_to_server() == before.0 + 3).await;
        proxy.reset();
        assert!(soon("the end", client.read_u8()).await.is_err());
        assert_eq!(proxy.bytes_to_client(), before.1);
    }

    #[tokio::test]
    async fn a_stall_lets_nothing_through_and_loses_nothing() {
        let (proxy, mut client) = proxied().await;
        let before = proxy.bytes_to_server();
        proxy.stall();
        client.write_all(b"wait").await.unwrap();
        assert!(is_silent(&mut client).await);
        assert_eq!((proxy.bytes_to_server(), proxy.connections()), (before, 1));

        proxy.heal();
        assert_eq!(receive(&mut client, 4).await.unwrap(), "wait");
    }

    #[tokio::test]
    async fn a_delay_holds_up_each_direction() {
        let (proxy, mut client) = proxied().await;
        let delay = Duration::from_millis(100);
        proxy.delay(delay);
        let since = Instant::now();
        assert_eq!(answer(&mut client, "slow").await.unwrap(), "slow");
        assert!(since.elapsed() >= 2 * delay, "the answer took {:?}", since.elapsed());
    }

    #[tokio::test]
    async fn a_connection_is_closed_in_the_middle_of_an_answer_once() {
        let (proxy, mut client) = proxied().await;
        proxy.reset_after(6);
        assert_eq!(answer(&mut client, "fine").await.unwrap(), "fine");
        client.write_all(b"partial").await.unwrap();
        assert_eq!(receive(&mut client, 2).await.unwrap(), "pa");
        assert!(!matches!(soon("the end", client.read(&mut [0])).await, Ok(1..)));
        assert_eq!(proxy.resets(), 1);

        let mut again = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(answer(&mut again, "longer than the limit").await.unwrap(), "longer than the limit");
    }

    #[tokio::test]
    async fn it_waits_for_no_server_and_ends_with_its_connections() {
        let nobody = { TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap() };
        let proxy = Proxy::to(nobody).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(soon("the end", client.read_u8()).await.is_err());

        let (proxy, mut client) = proxied().await;
        drop(proxy);
        assert!(soon("the end", client.read_u8()).await.is_err());
    }
}

/// What is said to a server, and how its answer begins.
struct Question {
    ask: &'static str,
    answer: &'static str,
}

const NATS: Question = Question { ask: "CONNECT {\"verbose\":false}\r\nPING\r\n", answer: "INFO " };
const REDIS: Question = Question { ask: "PING\r\n", answer: "+PONG" };

impl Question {
    /// Asks on a connection of its own.
    async fn at(&self, address: SocketAddr) -> io::Result<()> {
        let mut connection = TcpStream::connect(address).await?;
        connection.write_all(self.ask.as_bytes()).await?;
        let mut answer = vec![0; self.answer.len()];
        connection.read_exact(&mut answer).await?;
        assert_eq!(String::from_utf8_lossy(&answer), self.answer);
        Ok(())
    }

    async fn is_answered_at(&self, address: SocketAddr) -> bool {
        timeout(PATIENCE, self.at(address)).await.is_ok_and(|answer| answer.is_ok())
    }
}

/// The tests of one kind of server.
macro_rules! kills_pauses_and_restarts {
    ($server:ident, $question:expr) => {
        #[tokio::test]
        async fn a_killed_server_is_gone_until_it_is_started_again() {
            let server = $server::start().await;
            assert!($question.is_answered_at(server.address()).await);
            server.kill().await;
            assert!(TcpStream::connect(server.address()).await.is_err());
            // Nothing is left to be killed.
            server.kill().await;
            let address = server.address();
            server.start_again().await;
            assert_eq!(server.address(), address);
            assert!($question.is_answered_at(address).await);
        }

        #[tokio::test]
        async fn a_stopped_server_is_gone_until_it_is_started_again() {
            let server = $server::start().await;
            server.stop().await;
            assert!(TcpStream::connect(server.address()).await.is_err());
            server.start_again().await;
            assert!($question.is_answered_at(server.address()).await);
        }

        #[tokio::test]
        async fn a_paused_server_answers_nothing_until_it_is_resumed() {
            let server = $server::start().await;
            server.pause();
            let address = server.address();
            let mut waiting = tokio::spawn(async move { $question.at(address).await });
            assert!(timeout(SILENCE, &mut waiting).await.is_err(), "it answered although it was paused");
            server.resume();
            soon("the answer", waiting).await.unwrap().unwrap();
        }

        #[tokio::test]
        async fn a_paused_server_can_be_killed_and_dropped() {
            let server = $server::start().await;
            server.pause();
            server.restart().await;
            assert!($question.is_answered_at(server.address()).await);
            server.pause();
            let (address, directory) = (server.address(), server.directory().to_owned());
            drop(server);
            assert!(TcpStream::connect(address).await.is_err());
            assert!(!directory.exists());
        }

        #[tokio::test]
        async fn its_memory_and_its_log_can_be_read() {
            let server = $server::start().await;
            assert!(server.memory() > 1 << 20, "{} bytes", server.memory());
            assert!(!server.log().is_empty());
        }

        #[tokio::test]
        async fn a_setting_that_the_server_refuses_is_told_with_its_log() {
            let started = tokio::spawn($server::builder().config("no_such_setting 1").start()).await;
            let told = *started.unwrap_err().into_panic().downcast::<String>().unwrap();
            assert!(told.contains("no_such_setting"), "{told}");
        }
    };
}

mod nats {
    use super::*;

    kills_pauses_and_restarts!(NatsServer, NATS);

    #[tokio::test]
    async fn all_tests_share_one() {
        let (one, another) = tokio::join!(servers::nats(), servers::nats());
        assert_eq!(one, another);
        assert!(one.starts_with("nats://"), "{one}");
    }

    #[tokio::test]
    async fn streams_survive_a_kill() {
        let server = NatsServer::builder().durable().start().await;
        let created = ask(server.address(), "$JS.API.STREAM.CREATE.KEPT", r#"{"name":"KEPT","subjects":["kept"]}"#).await;
        assert!(!created.contains("\"error\""), "{created}");
        ask(server.address(), "kept", "one").await;
        server.restart().await;
        let info = ask(server.address(), "$JS.API.STREAM.INFO.KEPT", "").await;
        assert!(info.contains("\"messages\":1"), "{info}");
    }

    #[tokio::test]
    async fn without_jetstream_there_is_none() {
        let server = NatsServer::builder().without_jetstream().start().await;
        let mut said = vec![0; 4096];
        let read = TcpStream::connect(server.address()).await.unwrap().read(&mut said).await.unwrap();
        let info = String::from_utf8_lossy(&said[..read]);
        assert!(info.starts_with("INFO ") && !info.contains("\"jetstream\":true"), "{info}");
    }

    #[tokio::test]
    async fn a_cluster_has_a_leader() {
        let servers = NatsServer::cluster(3).await;
        for (place, server) in servers.iter().enumerate() {
            let stream = format!(r#"{{"name":"S{place}","subjects":["s{place}"],"num_replicas":3}}"#);
            let created = ask(server.address(), &format!("$JS.API.STREAM.CREATE.S{place}"), &stream).await;
            assert!(!created.contains("\"error\""), "{created}");
        }
    }

    /// Sends a request and returns the reply.
    async fn ask(address: SocketAddr, subject: &str, payload: &str) -> String {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("CONNECT {{\"verbose\":false}}\r\nSUB reply 1\r\nPUB {subject} reply {}\r\n{payload}\r\n", payload.len());
        connection.write_all(request.as_bytes()).await.unwrap();
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        loop {
            let read = soon("a reply", connection.read(&mut buffer)).await.unwrap();
            assert_ne!(read, 0, "the connection ended after {said:?}");
            said.push_str(&String::from_utf8_lossy(&buffer[..read]));
            let mut reply = said.split("MSG reply 1 ").skip(1).flat_map(|reply| reply.split("\r\n"));
            if let (Some(_length), Some(text), Some(_rest)) = (reply.next(), reply.next(), reply.next()) {
                return text.to_owned();
            }
        }
    }
}

mod redis {
    use super::*;

    kills_pauses_and_restarts!(RedisServer, REDIS);

    #[tokio::test]
    async fn all_tests_share_one() {
        let (one, another) = tokio::join!(servers::redis(), servers::redis());
        assert_eq!(one, another);
        assert!(one.starts_with("redis://"), "{one}");
    }

    #[tokio::test]
    async fn what_is_written_survives_a_kill() {
        let server = RedisServer::builder().durable().start().await;
        assert_eq!(ask(&server, "SET kept one").await, "+OK");
        server.restart().await;
        assert_eq!(ask(&server, "STRLEN kept").await, ":3");
    }

    #[tokio::test]
    async fn in_memory_nothing_survives() {
        let server = RedisServer::builder().in_memory().start().await;
        assert_eq!(ask(&server, "SET kept one").await, "+OK");
        server.restart().await;
        assert_eq!(ask(&server, "STRLEN kept").await, ":0");
    }

    #[tokio::test]
    async fn a_replica_is_promoted_by_sentinels_when_its_primary_is_killed() {
        let primary = RedisServer::start().await;
        let replica = RedisServer::builder().replica_of(&primary).start().await;
        wait_for(&replica, "ROLE", "connected").await;
        let mut sentinels = Vec::new();
        for _ in 0..2 {
            sentinels.push(RedisServer::builder().sentinel("main", &primary, 2).start().await);
        }
        for sentinel in &sentinels {
            wait_for(sentinel, "SENTINEL MASTER main", "num-other-sentinels\r\n$1\r\n1").await;
            wait_for(sentinel, "SENTINEL MASTER main", "num-slaves\r\n$1\r\n1").await;
        }
        primary.kill().await;
        wait_for(&sentinels[0], "SENTINEL GET-MASTER-ADDR-BY-NAME main", &replica.address().port().to_string()).await;
        wait_for(&replica, "ROLE", "master").await;
    }

    /// The first line of an answer.
    async fn ask(server: &RedisServer, command: &str) -> String {
        all(server, command).await.lines().next().unwrap_or_default().to_owned()
    }

    /// Everything that is answered until the server has closed the connection.
    async fn all(server: &RedisServer, command: &str) -> String {
        let mut connection = TcpStream::connect(server.address()).await.unwrap();
        connection.write_all(format!("{command}\r\n").as_bytes()).await.unwrap();
        // It answers what it has got, and then closes, too.
        connection.shutdown().await.unwrap();
        let mut said = String::new();
        soon("an answer", connection.read_to_string(&mut said)).await.unwrap();
        said
    }

    async fn wait_for(server: &RedisServer, command: &str, wanted: &str) {
        let since = Instant::now();
        loop {
            let said = all(server, command).await;
            if said.contains(wanted) {
                return;
            }
            assert!(since.elapsed() < 3 * PATIENCE, "{command} still answers {said:?}, without {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// What the environment says of servers.
mod environment {
    use std::{env, process::Command};

    /// What a test says that starts a server with a variable set.
    fn told(name: &str, value: &str) -> String {
        let mut test = Command::new(env::current_exe().unwrap());
        test.args(["--exact", "nats::without_jetstream_there_is_none"]).env("EVENTBUS_TEST_SERVERS", "binary").env(name, value);
        let output = test.output().unwrap();
        assert!(!output.status.success(), "{name}={value} was ignored");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    #[tokio::test]
    async fn what_names_no_server_fails_the_test_and_is_named() {
        for (name, value) in [
            ("EVENTBUS_TEST_NATS_BINARY", "/no/such/server"),
            // A file, and no program.
            ("EVENTBUS_TEST_NATS_BINARY", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")),
            ("EVENTBUS_TEST_SERVERS", "borrowed"),
        ] {
            let told = told(name, value);
            assert!(told.contains(name) && told.contains(value), "{name}={value}: {told}");
        }
    }
}

/// What becomes of servers when the tests are killed.
mod orphans {
    use super::*;
    use std::{
        env, fs,
        io::{BufRead, BufReader},
        path::Path,
        process::{Command, Stdio},
    };

    /// Not a test: a process of tests that starts servers, says where they are, and waits to be killed.
    #[tokio::test]
    #[ignore = "run by the test below, in a process of its own"]
    async fn starts_servers_and_never_ends() {
        let (nats, redis) = (NatsServer::start().await, RedisServer::start().await);
        redis.pause();
        println!("at {} {}", nats.address(), nats.directory().display());
        println!("at {} {}", redis.address(), redis.directory().display());
        std::future::pending::<()>().await;
    }

    #[tokio::test]
    async fn servers_end_with_the_process_of_the_tests_even_while_they_are_paused() {
        let mut tests = Command::new(env::current_exe().unwrap());
        tests.args(["--exact", "orphans::starts_servers_and_never_ends", "--ignored", "--nocapture"]).stdout(Stdio::piped());
        let mut tests = tests.spawn().unwrap();
        let said = BufReader::new(tests.stdout.take().unwrap()).lines().map(Result::unwrap);
        let servers: Vec<(SocketAddr, String)> = said
            .filter_map(|line| {
                let (address, directory) = line.split_once("at ")?.1.split_once(' ')?;
                Some((address.parse().ok()?, directory.to_owned()))
            })
            .take(2)
            .collect();
        for (address, directory) in &servers {
            assert!(TcpStream::connect(address).await.is_ok());
            assert!(fs::metadata(directory).unwrap().is_dir());
        }

        // SIGKILL: nothing of its own runs after that.
        tests.kill().unwrap();
        tests.wait().unwrap();
        for (address, directory) in servers {
            until("the end of the server", || std::net::TcpStream::connect(address).is_err()).await;
            until("the end of its directory", || !Path::new(&directory).exists()).await;
        }
    }
}
