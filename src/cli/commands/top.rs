//! `serf top`

use std::{io::IsTerminal as _, thread, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{
        mpsc::{self, Receiver},
        oneshot,
    },
    time::timeout,
};

use super::{super::top, CommandSpec, Failure, Parsed, RPC, SPEC, block_on, connect, failed};

pub(super) const TOP: CommandSpec = CommandSpec {
    name: "top",
    synopsis: "Shows the cluster in the terminal, live",
    arguments: "[options]",
    about: "Shows members with status, round trip time, flaps and tags, queue depths, and events \
            as they come, from what an agent knows. Any agent will do, Go's as well. Use it to see \
            at a glance what a cluster does. Keys sort (n s r f a; again: the other way round), \
            filter (/), move (arrows, Page Up and Down, Home, End), show all about a member \
            (Enter), explain (?) and quit (q). Flaps are those since it was started.\n\n\
            Exits with 0 when it is ended by a key or a signal, with 1 if the agent ends or there \
            is no terminal.",
    flags: &[RPC],
    run,
    ..SPEC
};

fn run(args: &Parsed) -> Result<(), Failure> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Failure::Message("serf top needs a terminal".to_owned()));
    }
    let args = args.clone();
    block_on(async {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let mut ends = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>();
        let ends = ends.as_mut().map_err(|error| Failure::Message(error.to_string()))?;
        let suspend = signal(SignalKind::from_raw(signal_hook::consts::SIGTSTP));
        let mut suspend = suspend.map_err(|error| Failure::Message(error.to_string()))?;
        let (ask, asks) = mpsc::channel(1);
        let (done, mut finished) = oneshot::channel();
        // A terminal that is stopped holds up a thread that draws, and must not hold up the end.
        thread::spawn(move || done.send(block_on(show(args, asks))));
        loop {
            tokio::select! {
                result = &mut finished => return result.unwrap_or(Err(Failure::Silent)),
                _ = suspend.recv() => {
                    // Twice is once.
                    let _ = ask.try_send(top::Ask::Suspend);
                }
                () = any(ends) => {
                    // Where it is full, it ends as soon as it is read: the sender has gone.
                    let _ = ask.try_send(top::Ask::End);
                    drop(ask);
                    return match timeout(LAST_DRAWING, finished).await {
                        Ok(result) => result.unwrap_or(Err(Failure::Silent)),
                        Err(_) => {
                            // At least it shows again what is typed.
                            let _ = ratatui::crossterm::terminal::disable_raw_mode();
                            Ok(())
                        }
                    };
                }
            }
        }
    })
}

async fn show(args: Parsed, asks: Receiver<top::Ask>) -> Result<(), Failure> {
    let client = connect(&args).await?;
    let stats = client.stats().await.map_err(failed("Error querying agent"))?;
    let own = stats.get("agent").and_then(|agent| agent.get("name")).cloned();
    match top::run(client, own.unwrap_or_default(), asks).await {
        top::End::Quit => Ok(()),
        top::End::Agent(error) => Err(failed("The agent does not answer")(error)),
        top::End::Terminal(error) => Err(Failure::Message(format!("The terminal: {error}"))),
    }
}

async fn any(signals: &mut [Signal]) {
    std::future::poll_fn(|cx| {
        match signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

/// How long a terminal may take to be given back.
const LAST_DRAWING: Duration = Duration::from_secs(1);
