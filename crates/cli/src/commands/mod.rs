//! The commands, one module each.

mod bench;
mod completions;
mod dead_letters;
mod demo;
mod doctor;
mod groups;
mod publish;
mod request;
mod subscribe;
mod validate;

use crate::{
    args::{Cli, Command},
    exit::{Exit, Failure, Outcome},
    interrupt::Interrupt,
    output::Output,
};

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> Exit {
    let mut out = Output::new(&cli.global);
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed).and_then(|runtime| {
        let outcome = runtime.block_on(dispatch(cli, &mut out));
        // Whatever still runs in the background must not keep the program from ending.
        runtime.shutdown_background();
        outcome
    });
    match outcome.and_then(|exit| out.flush().map(|()| exit)) {
        Ok(exit) => exit,
        Err(failure) => {
            // What was printed before the failure is still a result.
            let _ = out.flush();
            out.error(&failure);
            failure.exit()
        }
    }
}

async fn dispatch(cli: Cli, out: &mut Output) -> Outcome {
    let interrupt = Interrupt::listen()?;
    let url = cli.global.url.as_str();
    match cli.command {
        Command::Demo(args) => demo::run(url, &args, out, &interrupt).await,
        Command::Pub(args) => publish::run(url, &args, out, &interrupt).await,
        Command::Sub(args) => subscribe::run(url, &args, out, &interrupt).await,
        Command::Request(args) => request::run(url, &args, out, &interrupt).await,
        Command::Dlq(command) => dead_letters::run(url, &command, out, &interrupt).await,
        Command::Groups(arguments) => groups::run(arguments, url, out, &interrupt).await,
        Command::Validate(args) => interrupt.or(validate::run(&args, out)).await.flatten(),
        Command::Doctor => doctor::run(url, out, &interrupt).await,
        Command::Bench(args) => bench::run(url, &args, out, &interrupt).await,
        Command::Completions(args) => completions::run(&args, out),
    }
}
