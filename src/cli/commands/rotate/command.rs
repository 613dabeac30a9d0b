//! The command: its flags, the plan, and its output.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    super::{
        super::output::line, CommandSpec, FORMAT, Failure, Flag, Kind, Parsed, RPC, SPEC, block_on,
        connect, flag, generate_key, read_key, wants_json,
    },
    cluster::{Agent, Cluster as _},
    report::Report,
    saved::{self, Saved, StateFile, Step},
    steps::{Patience, Rotation, Stop},
};
use crate::{base::Secret, client::Client, wire::Keyring};

pub(in super::super) const ROTATE: CommandSpec = CommandSpec {
    name: "keys rotate",
    synopsis: "Replaces the encryption key of the whole cluster",
    arguments: "-state=FILE [options]",
    about: "Replaces the key that encrypts the traffic of the whole cluster, without a restart and \
            without an interruption: installs a new key on all members, checks that all have it, \
            makes them encrypt with it, checks again, and removes the old keys. Use it by hand, or \
            with -max-age from a timer. It works through one agent, ours or one of HashiCorp's.\n\n\
            No key is removed, and no member encrypts with the new key, while a live or failed \
            member lacks it: the command waits for such members as long as -wait permits. An \
            interrupted or incomplete rotation continues when the command is run again with the \
            same -state file. Members need a keyring file (-keyring-file); without one they return \
            with the old key after a restart.\n\n\
            Exits with 0 if the rotation is complete or not due, or after a dry run without \
            obstacles; with 2 if some members did not take part in time, and then the old keys are \
            still installed; with 1 after any other error.",
    flags: &[FLAGS, FORMAT, RPC],
    run,
    ..SPEC
};

/// The values of the flags.
struct Options {
    state: Option<String>,
    key: Option<Secret>,
    max_age_s: Option<i64>,
    dry_run: bool,
    json: bool,
    wait: Duration,
    without: BTreeSet<String>,
}

fn run(args: &Parsed) -> Result<(), Failure> {
    let options = options(args)?;
    block_on(async {
        let file = match options.state.as_deref().filter(|_| !options.dry_run) {
            Some(path) => Some(StateFile::lock(path)?),
            None => None,
        };
        let known = match (&file, &options.state) {
            (Some(file), _) => file.load()?,
            (None, Some(path)) => saved::load(Path::new(path))?,
            (None, None) => None,
        };
        let client = connect(args).await?;
        if known.as_ref().is_none_or(|known| known.step == Step::Done)
            && let Some(age) = young(&options, known.as_ref(), &client).await
        {
            not_due(&options, age);
            return Ok(());
        }
        rotate(&options, &Agent(client), file.as_ref(), known).await
    })
}

fn options(args: &Parsed) -> Result<Options, Failure> {
    let text = |name| args.text(name).filter(|text| !text.is_empty()).map(str::to_owned);
    let key = text("key").map(|key| read_key(&key)).transpose()?;
    if let Some(key) = &key {
        Keyring::from_base64([key.expose()])
            .map_err(|error| Failure::Message(format!("Invalid key: {error}")))?;
    }
    let seconds = |name| args.duration(name).map(|nanos| nanos / 1_000_000_000);
    let options = Options {
        state: text("state"),
        key,
        max_age_s: seconds("max-age"),
        dry_run: args.bool("dry-run"),
        json: wants_json(args)?,
        wait: Duration::from_nanos(args.duration("wait").unwrap_or(WAIT_NS).unsigned_abs()),
        without: args.list("without").into_iter().collect(),
    };
    if options.state.is_none() && !options.dry_run {
        return Err(Failure::Usage("A state file must be specified with -state.".to_owned()));
    }
    if !args.positionals.is_empty() {
        return Err(Failure::Usage("keys rotate takes no arguments.".to_owned()));
    }
    Ok(options)
}

/// Age of the key in seconds, if it is too young to be rotated.
async fn young(options: &Options, known: Option<&Saved>, client: &Client) -> Option<i64> {
    let max = options.max_age_s?;
    let age = match known.and_then(Saved::age_s) {
        Some(age) => age,
        // Go's agent does not report it: then a rotation is due.
        None => client.stats().await.ok()?.get("serf")?.get("key_age_seconds")?.parse().ok()?,
    };
    (age < max).then_some(age)
}

fn not_due(options: &Options, age_s: i64) {
    if options.json {
        line(&format!("{{\n  \"due\": false,\n  \"key_age_seconds\": {age_s}\n}}"));
    } else {
        line(&format!("Not due: the key is {age_s} s old."));
    }
}

async fn rotate(
    options: &Options,
    cluster: &Agent,
    file: Option<&StateFile>,
    known: Option<Saved>,
) -> Result<(), Failure> {
    let mut report = Report::new(!options.json);
    let patience = Patience {
        deadline: Instant::now() + options.wait,
        pause: PAUSE,
        without: options.without.clone(),
    };
    if !options.without.is_empty() {
        let members = cluster.members().await?;
        let is_known =
            |name: &&String| members.live.contains(*name) || members.absent.contains(*name);
        for name in options.without.iter().filter(|name| !is_known(name)) {
            report.say(&format!("No live or failed member has the name {name} (-without)."));
        }
    }
    let save = |saved: &Saved| match file {
        Some(file) => file.save(saved),
        None => Ok(()),
    };
    let mut rotation = Rotation { cluster, patience: &patience, report: &mut report, save };
    let resumed = known.filter(|known| known.step != Step::Done);
    let mut saved = None;
    let result = async {
        let mut plan = match resumed {
            Some(known) => {
                resume(options, &known)?;
                rotation.report.say(&format!("Going on with the rotation of {}.", known.started));
                known
            }
            None => plan(options, &mut rotation).await?,
        };
        if options.dry_run {
            rotation.survey(true).await?;
            return Ok(());
        }
        save(&plan)?;
        let result = rotation.run(&mut plan).await;
        saved = Some(plan);
        result
    };
    let result = result.await;
    let step = saved.map_or(Step::Install, |saved| saved.step);
    match result {
        Ok(()) => {
            report.print(options.json, step, None);
            Ok(())
        }
        Err(Stop::Incomplete(why)) => {
            report.print(options.json, step, Some(&format!("{why}.{AGAIN}")));
            Err(Failure::Code(2))
        }
        Err(Stop::Failure(failure)) => Err(failure),
    }
}

/// Refuses a key other than that of the unfinished rotation.
fn resume(options: &Options, known: &Saved) -> Result<(), Failure> {
    match &options.key {
        Some(key) if *key != known.new_key => Err(Failure::Message(format!(
            "The state file holds a rotation to another key, begun at {}. Finish it first, or \
             remove the file.",
            known.started
        ))),
        _ => Ok(()),
    }
}

/// Plans a new rotation: the new key, and all existing keys as old ones.
async fn plan<S: Fn(&Saved) -> Result<(), Failure>>(
    options: &Options,
    rotation: &mut Rotation<'_, Agent, S>,
) -> Result<Saved, Stop> {
    let answer = rotation.survey(false).await?;
    let new = match &options.key {
        Some(key) => key.clone(),
        None => generate_key()?,
    };
    let old: Vec<Secret> =
        answer.keys.keys().map(|key| key.as_str().into()).filter(|key| *key != new).collect();
    let (members, count) = (answer.asked, old.len());
    let keys = if count == 1 { "1 key".to_owned() } else { format!("{count} keys") };
    rotation
        .report
        .say(&format!("Plan: install a new key on {members} members, use it, then remove {keys}."));
    Ok(Saved::plan(new, old))
}

const FLAGS: &[Flag] = &[
    flag(
        "dry-run",
        Kind::Bool,
        "",
        "Changes nothing: shows the plan, and whether all members could take part.",
    ),
    flag(
        "key",
        Kind::Text,
        "<key>",
        "The new key, - to read it from the standard input, or @FILE. Otherwise one is generated.",
    ),
    flag(
        "max-age",
        Kind::Duration,
        "<duration>",
        "Does nothing while the key is younger. Its age is that of the last rotation in the state \
         file, or what the agent reports.",
    ),
    flag(
        "state",
        Kind::Text,
        "<file>",
        "File for the state of the rotation, including the keys until it is complete. Only its \
         owner may read it.",
    ),
    flag(
        "wait",
        Kind::Duration,
        "1m",
        "How long to wait for members that have failed, do not answer or refuse.",
    ),
    flag(
        "without",
        Kind::List,
        "<name>",
        "A failed member not to wait for: it must be given the new key by hand.",
    ),
];
const AGAIN: &str = " The old keys stay until all members follow. Run the command again with the \
    same state file, or name members that will not come back with -without.";
const WAIT_NS: i64 = 60_000_000_000;
/// Pause before the second attempt.
const PAUSE: Duration = Duration::from_secs(1);
