//! The command line: what can be said, and how it is explained.

use crate::{output::Verbosity, pace::Rate, parse};
use clap::{Args, Parser, Subcommand, ValueHint};
use eventbus::{DeadLetterFilter, EventType, Pattern, Start};
use std::{path::PathBuf, time::Duration};

const EXAMPLES: &str = "\
Examples:
  eventbus demo                                   see what an event bus does, live
  eventbus --url nats://localhost demo            the same over NATS JetStream
  eventbus --url redis://localhost demo           the same over Redis Streams
  eventbus pub order.placed '{\"order_id\":\"o-1\"}'  publish one event
  eventbus validate events.ndjson                 check CloudEvents JSON
  eventbus dlq ls                                 what was given up, and why

Exit codes: 0 done, 1 failed, 2 wrong usage or invalid input, 3 nothing arrived in time, 130 interrupted.";

/// One event bus, on the command line: publish, subscribe, request, look after dead letters, measure.
#[derive(Debug, Parser)]
#[command(name = "eventbus", version, arg_required_else_help = true, max_term_width = 100, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The bus to work on
    ///
    /// memory: within this process;
    /// nats://[user:password@]host[:4222][/PREFIX][?mode=jetstream|core&stream=NAME…]: NATS, and tls:// likewise;
    /// redis://[user:password@]host[:6379][/DB][?mode=streams|pubsub&prefix=PREFIX&partitions=N…]: Redis, and rediss:// likewise.
    /// A parameter that the backend does not know is an error.
    #[arg(long, global = true, env = "EVENTBUS_URL", hide_env_values = true, default_value = "memory:", value_hint = ValueHint::Url)]
    pub(crate) url: String,
    /// Print results as JSON, one document or one per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print results only, no notes
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Also print what fails in the background, such as handlers
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Global {
    pub(crate) fn verbosity(&self) -> Verbosity {
        match (self.quiet, self.verbose) {
            (true, _) => Verbosity::Quiet,
            (_, true) => Verbosity::Verbose,
            _ => Verbosity::Normal,
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See an event bus at work: publish, handle, fail, retry, give up, redrive, request
    Demo(DemoArgs),
    /// Publish one event, or a file of them
    #[command(visible_alias = "publish")]
    Pub(PubArgs),
    /// Print events as they come
    #[command(visible_alias = "subscribe")]
    Sub(SubArgs),
    /// Publish a request and gather the replies
    Request(RequestArgs),
    /// Look after dead letters: events that were given up
    #[command(
        subcommand,
        after_long_help = "\
Examples:
  eventbus dlq ls
  eventbus dlq show 0198c5e2-7d0e-7cc3-98c4-dc0c0c07398f
  eventbus dlq redrive --type 'order.*' --dry-run
  eventbus dlq drop --subscription billing --limit 10"
    )]
    Dlq(DlqCommand),
    /// List groups: how far behind they are, and for how long
    Groups(GroupsArgs),
    /// Check CloudEvents JSON: one event, a batch, or one event per line
    Validate(ValidateArgs),
    /// Connect, measure the round trip, and say what the bus can do and what looks wrong
    #[command(after_long_help = "\
To measure the round trip, 21 small events of a type of their own are published to the bus. A server that stores events keeps them until \
its retention removes them.

The exit code is 1 if the bus cannot be reached or an event does not come back. What only looks wrong does not change it.

Examples:
  eventbus doctor
  eventbus doctor --url nats://localhost
  eventbus doctor --url redis://localhost --json")]
    Doctor,
    /// Measure throughput and latency of this bus here
    Bench(BenchArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
On a terminal the demo is shown live; q ends it early with a summary of what happened so far. Piped, it prints a line for each retry, \
dead letter and request (with --verbose, for each event too), and with --json one JSON object per line for everything, the summary last.

The summary is checked: for every service, what was published to it is what it handled plus what the bus holds as its dead letters. The \
exit code is 0 only if everything adds up, 1 if something does not, and 2 if the input had lines that are no events; all others are \
published nevertheless.

What goes wrong is written in a script, so that every run comes to the same figures. All events are of types that begin with demo, and \
groups have names of their own; groups and dead letters are removed at the end. On a shared broker the events stay until retention removes \
them, and subscriptions to patterns such as > get them, too.

Examples:
  eventbus demo
  eventbus demo --input events.ndjson --rate 50
  eventbus demo --json | tail -1
  eventbus demo --url 'memory:?strict=true'")]
pub(crate) struct DemoArgs {
    /// Publish the events of this file instead of the shop's
    ///
    /// One per line: CloudEvents JSON, or {"type","source","subject","data"}.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) input: Option<PathBuf>,
    /// Publish this many events per second [default: 25 on a terminal, otherwise as fast as it goes]
    #[arg(long, value_name = "N")]
    pub(crate) rate: Option<Rate>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
The id of the event is printed, or with --json the event. With --file, how many were published. A line that is no event is reported \
with its number and skipped, and the exit code is then 2; with --strict it ends the command.

Examples:
  eventbus pub order.placed '{\"order_id\":\"o-1\",\"total_cents\":4200}' --source /shop --subject o-1
  echo '{\"at\":9}' | eventbus pub shop.opened -
  eventbus pub order.placed 1 --attr correlationid=c-1 --attr region=eu
  eventbus pub --file events.ndjson --rate 100")]
pub(crate) struct PubArgs {
    /// The event type, such as order.placed
    #[arg(value_name = "TYPE", required_unless_present = "file", value_parser = parse::event_type)]
    pub(crate) event_type: Option<EventType>,
    /// The data: JSON, or - to read it from standard input
    pub(crate) data: Option<String>,
    /// Where the event comes from: a URI-reference such as /shop
    #[arg(long)]
    pub(crate) source: Option<String>,
    /// What the event is about
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// The id [default: a UUIDv7]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// The key within which order is kept [default: the subject]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// A further attribute; may be repeated
    #[arg(long = "attr", value_name = "NAME=VALUE", value_parser = parse::attribute)]
    pub(crate) attributes: Vec<(String, String)>,
    /// Publish the events of this file, one per line; - is standard input
    ///
    /// Each line is CloudEvents JSON, or {"type","source","subject","data"}.
    #[arg(
        long,
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["event_type", "data", "source", "subject", "id", "key", "attributes"]
    )]
    pub(crate) file: Option<PathBuf>,
    /// With --file: publish this many events per second
    #[arg(long, value_name = "N", requires = "file", conflicts_with = "event_type")]
    pub(crate) rate: Option<Rate>,
    /// With --file: end at the first line that is no event
    #[arg(long, requires = "file", conflicts_with = "event_type")]
    pub(crate) strict: bool,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
A pattern is an event type with wildcards: * stands for one token, > at the end for one or more. Quote patterns, since shells have uses \
for both. An event is acknowledged once it has been printed.

The exit code is 3 if the time was up before --count events had arrived, or before any had.

Examples:
  eventbus sub 'order.*'
  eventbus sub '>' --from earliest --timeout 2s --json > events.ndjson
  eventbus sub order.placed invoice.sent --group backup --count 100")]
pub(crate) struct SubArgs {
    /// Which events, such as order.placed, 'order.*' or '>'
    #[arg(required = true, value_name = "PATTERN", value_parser = parse::pattern)]
    pub(crate) patterns: Vec<Pattern>,
    /// Join this group: its members share the events, and it resumes where it stopped
    #[arg(long, value_parser = parse::name)]
    pub(crate) group: Option<String>,
    /// Where to begin: new, earliest, a sequence, or a time (RFC 3339). A group that exists stays where it is
    #[arg(long, default_value = "new", value_name = "START", value_parser = parse::start)]
    pub(crate) from: Start,
    /// End after this many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End when no event has come for this long
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Replies are printed as they are known at the end; those who did not reply in time are named. The exit code is 3 if fewer replied than \
were needed, and 1 if someone replied with an error.

Examples:
  eventbus request config.validate '{\"retries\":3}' --expect syntax,limits
  eventbus request price.ask '{\"sku\":\"a-1\"}' --expect eu,us,asia --at-least 2 --timeout 500ms
  eventbus request who.is.there")]
pub(crate) struct RequestArgs {
    /// The event type of the request
    #[arg(value_name = "TYPE", value_parser = parse::event_type)]
    pub(crate) event_type: EventType,
    /// The data: JSON, or - to read it from standard input
    pub(crate) data: Option<String>,
    /// Who is expected to reply, separated by commas [default: anyone]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = parse::name)]
    pub(crate) expect: Vec<String>,
    /// How many replies are needed [default: those expected, else 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) at_least: Option<u32>,
    /// How long to wait
    #[arg(long, default_value = "10s", value_name = "DURATION", value_parser = parse::duration)]
    pub(crate) timeout: Duration,
}

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List dead letters, the oldest first
    #[command(after_long_help = "\
Examples:
  eventbus dlq ls
  eventbus dlq ls --type 'order.*' --subscription billing --limit 10
  eventbus dlq ls --json")]
    Ls(Letters),
    /// Show dead letters with everything that is known of them
    #[command(after_long_help = "\
Examples:
  eventbus dlq show
  eventbus dlq show 0198c5e2-7d0e-7cc3-98c4-dc0c0c07398f
  eventbus dlq show --subscription billing --json")]
    Show(NamedLetters),
    /// Publish the original events again, ids unchanged, and remove the letters
    ///
    /// Without an id or a filter this acts on all dead letters. With --dry-run it says which are meant, and changes nothing.
    #[command(after_long_help = "\
Examples:
  eventbus dlq redrive --dry-run
  eventbus dlq redrive 0198c5e2-7d0e-7cc3-98c4-dc0c0c07398f
  eventbus dlq redrive --type 'order.*' --subscription billing")]
    Redrive(ChangedLetters),
    /// Remove dead letters for good
    ///
    /// Without an id or a filter this acts on all dead letters. With --dry-run it says which are meant, and changes nothing.
    #[command(after_long_help = "\
Examples:
  eventbus dlq drop --dry-run
  eventbus dlq drop 0198c5e2-7d0e-7cc3-98c4-dc0c0c07398f
  eventbus dlq drop --subscription billing --limit 10")]
    Drop(ChangedLetters),
}

/// Which dead letters are meant.
#[derive(Debug, Args)]
pub(crate) struct Letters {
    /// Only those whose event type matches this pattern
    #[arg(long = "type", value_name = "PATTERN", value_parser = parse::pattern)]
    event_type: Option<Pattern>,
    /// Only those that this subscription gave up
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    subscription: Option<String>,
    /// At most this many, the oldest first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct NamedLetters {
    /// Only those of the event with this id
    id: Option<String>,
    #[command(flatten)]
    letters: Letters,
}

#[derive(Debug, Args)]
pub(crate) struct ChangedLetters {
    #[command(flatten)]
    pub(crate) named: NamedLetters,
    /// Say which letters are meant, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl Letters {
    pub(crate) fn filter(&self) -> DeadLetterFilter {
        let mut filter = DeadLetterFilter::all();
        filter.event_type.clone_from(&self.event_type);
        filter.subscription.clone_from(&self.subscription);
        filter.limit = self.limit.map(|limit| limit as usize);
        filter
    }
}

impl NamedLetters {
    pub(crate) fn filter(&self) -> DeadLetterFilter {
        let mut filter = self.letters.filter();
        filter.event_id.clone_from(&self.id);
        filter
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  eventbus groups
  eventbus groups --delete billing-test")]
pub(crate) struct GroupsArgs {
    /// Delete this group, with what it has not handled. A group that has members is left as it is
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    pub(crate) delete: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Every event that breaks a rule is reported with its line, the attribute and the rule, and the exit code is then 2. With --json the \
canonical form of the others is printed, one per line.

Examples:
  eventbus validate event.json
  curl -s https://example.com/events | eventbus validate --json > canonical.ndjson")]
pub(crate) struct ValidateArgs {
    /// The file to check; - is standard input
    #[arg(default_value = "-", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
First as many events as --count are published as fast as the bus takes them, and each subscriber gets every one of them. Then the \
latency is measured at a rate that the bus has no trouble with. It is checked that every event is delivered, once.

In process, typed events are handed over without being encoded; with --url 'memory:?strict=true' they go through the codec.

The events are published to the bus that is given, under a type of their own: --count, up to a tenth of it and at most 20000 to warm up, and \
at most 10000 for the latency, so at most 230000 by default. A server that stores events keeps them until its retention removes them, and \
they may push older ones out of a stream that is full.
Examples:
  eventbus bench
  eventbus bench --size 1024 --count 1000000 --publishers 2 --subscribers 16
  eventbus bench --json")]
pub(crate) struct BenchArgs {
    /// The size of an encoded event's data, in bytes
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=1_073_741_824))]
    pub(crate) size: u32,
    /// How many events to publish
    #[arg(long, default_value_t = 200_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) count: u64,
    /// How many publish at the same time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub(crate) publishers: u32,
    /// How many subscriptions get every event
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) subscribers: u32,
}

#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  eventbus completions bash > ~/.local/share/bash-completion/completions/eventbus
  eventbus completions zsh > ~/.zfunc/_eventbus
  eventbus completions fish > ~/.config/fish/completions/eventbus.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_may_stand_before_and_after_the_command() {
        for line in [&["eventbus", "--json", "groups"], &["eventbus", "groups", "--json"]] {
            assert!(Cli::try_parse_from(line).unwrap().global.json);
        }
    }

    #[test]
    fn options_of_one_event_do_not_go_with_a_file() {
        assert!(Cli::try_parse_from(["eventbus", "pub", "--file", "x", "--subject", "s"]).is_err());
        assert!(Cli::try_parse_from(["eventbus", "pub", "a", "--rate", "1"]).is_err());
        assert!(Cli::try_parse_from(["eventbus", "pub"]).is_err());
        assert!(Cli::try_parse_from(["eventbus", "pub", "--file", "x", "--rate", "1", "--strict"]).is_ok());
    }
}
