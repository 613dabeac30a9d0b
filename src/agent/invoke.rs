//! Runs event handlers. Go: `cmd/serf/command/agent/invoke.go`.
//!
//! Handlers have their own queue of events, so that neither the node nor RPC streams wait for them.
//! They run one after the other in the order of the events. If several may run at the same time,
//! each script still gets its events in order and one at a time.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt as _,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::unix::pipe,
    process::{Child, Command},
    sync::{Semaphore, mpsc},
    time::timeout,
};
use tracing::{debug, error, warn};

use super::{
    EventScript,
    beacons::is_hidden,
    losses::{LOSS_PERIOD, Losses, count_lost},
    operations::Agent,
};
use crate::{
    base::go_net,
    driver::{Event, EventStream, Query},
    serf::{Member, MemberEvent},
};

/// Runs handlers until the node stops.
pub(super) async fn run_handlers(agent: Arc<Agent>) {
    let mut lanes = Lanes::new(Arc::clone(&agent));
    loop {
        let events = tokio::select! {
            events = agent.handlers.events() => events,
            _ = agent.serf.stopped() => return,
        };
        if !run_scripts(&agent, &mut lanes, events).await {
            return;
        }
    }
}

/// Runs handlers as long as there are scripts; false once the node has stopped.
async fn run_scripts(agent: &Arc<Agent>, lanes: &mut Lanes, mut events: EventStream) -> bool {
    let concurrency = agent.settings.handler_concurrency;
    let mut losses = Losses::default();
    while let Some(event) = events.recv().await {
        if matches!(event, Event::Lagged(_)) {
            losses.report(events.lost());
            continue;
        }
        if is_hidden(agent, &event) {
            continue;
        }
        let scripts = agent.handlers.scripts();
        lanes.keep(&scripts);
        if scripts.is_empty() && agent.handlers.end_if_none() {
            return true;
        }
        for script in scripts.iter().filter(|script| script.filter.matches(&event)) {
            if concurrency == 1 {
                let mut handled = pin!(handle(agent, &event, &script.script));
                // A script that hangs hides no loss: its place in the queue may be far behind.
                while timeout(LOSS_PERIOD, &mut handled).await.is_err() {
                    losses.report_sometimes(events.lost());
                }
                losses.report_sometimes(events.lost());
            } else {
                lanes.give(&script.script, &event);
            }
        }
    }
    false
}

/// A queue and a task for each script.
struct Lanes {
    agent: Arc<Agent>,
    /// Permits for scripts that run at the same time.
    slots: Arc<Semaphore>,
    queues: BTreeMap<String, mpsc::Sender<Event>>,
}

impl Lanes {
    fn new(agent: Arc<Agent>) -> Self {
        let slots = Arc::new(Semaphore::new(agent.settings.handler_concurrency));
        Self { agent, slots, queues: BTreeMap::new() }
    }

    /// Ends the lanes of all other scripts once their queues are empty.
    fn keep(&mut self, scripts: &[EventScript]) {
        self.queues.retain(|known, _| scripts.iter().any(|script| script.script == *known));
    }

    fn give(&mut self, script: &str, event: &Event) {
        let queue = match self.queues.get(script) {
            Some(queue) => queue,
            None => {
                let (queue, events) = mpsc::channel(LANE_EVENTS_MAX);
                let (agent, slots) = (Arc::clone(&self.agent), Arc::clone(&self.slots));
                tokio::spawn(run_lane(agent, slots, script.to_owned(), events));
                self.queues.entry(script.to_owned()).or_insert(queue)
            }
        };
        if queue.try_send(event.clone()).is_err() {
            count_lost(1);
            warn!(target: "agent", "Event handler '{script}' too slow, an event is dropped");
        }
    }
}

async fn run_lane(
    agent: Arc<Agent>,
    slots: Arc<Semaphore>,
    script: String,
    mut events: mpsc::Receiver<Event>,
) {
    while let Some(event) = events.recv().await {
        let Ok(_slot) = slots.acquire().await else { return };
        handle(&agent, &event, &script).await;
    }
}

async fn handle(agent: &Agent, event: &Event, script: &str) {
    let ended = invoke(agent, event, script).await;
    let outcome = ended.as_ref().map_or_else(|failure| failure.outcome, |()| "ok");
    metrics::counter!("agent.handler.runs", "outcome" => outcome).increment(1);
    if let Err(Failure { reason, .. }) = ended {
        error!(target: "agent", "Error invoking script '{script}': {reason}");
    }
}

/// Why a run failed.
struct Failure {
    /// Outcome in one word, for the counter.
    outcome: &'static str,
    reason: String,
}

impl Failure {
    fn new(outcome: &'static str, reason: String) -> Self {
        Self { outcome, reason }
    }
}

async fn invoke(agent: &Agent, event: &Event, script: &str) -> Result<(), Failure> {
    let start = Instant::now();
    let local = agent.serf.local_member().await;
    let limit = agent.settings.handler_timeout;
    let (mut child, mut output) = spawn(script, &environment(&local, event), limit.is_some())
        .map_err(|error| format!("fork/exec {SHELL}: {}", go_net::error_text(&error)))
        .map_err(|reason| Failure::new("not_started", reason))?;
    if let Some(pid) = child.pid {
        agent.descriptors.restore(pid);
    }
    let finished = {
        let work = watch(&mut child, &mut output, stdin_of(event));
        tokio::pin!(work);
        let slow = tokio::time::sleep(SLOW);
        let finish = async {
            tokio::select! {
                done = &mut work => return done,
                () = slow => warn!(
                    target: "agent",
                    "Script '{script}' slow, execution exceeding {}s", SLOW.as_secs()
                ),
            }
            work.as_mut().await
        };
        timeout(limit.unwrap_or(Duration::MAX), finish).await
    };
    let Ok((fed, status)) = finished else {
        let seconds = limit.unwrap_or_default().as_secs_f64();
        return Err(Failure::new("killed", format!("killed after {seconds} seconds")));
    };
    // A script need not read its input, and cannot once it has exited.
    if let (Err(error), Event::User(_) | Event::Query(_)) = (&fed, event)
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        error!(target: "agent", "Error writing payload: write |1: {}", go_net::error_text(error));
    }
    metrics::histogram!(format!("agent.invoke.{script}"))
        .record(start.elapsed().as_secs_f64() * 1e3);
    let printed = output.take();
    if output.ended {
        // Its output is closed: remaining processes of the group are not killed.
        child.group = None;
    } else {
        let left = limit.map(|limit| limit.saturating_sub(start.elapsed()));
        tokio::spawn(drain(child, output, left));
    }
    let text = String::from_utf8_lossy(&printed);
    debug!(target: "agent", lines = &*text, "Event '{}' script output: ", kind(event));
    let status = status.map_err(|error| Failure::new("failed", error.to_string()))?;
    if !status.success() {
        if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
            error!(target: "agent", "Script '{script}' failed, the last line it printed: {line}");
        }
        return Err(Failure::new("failed", exit_text(status)));
    }
    if let Event::Query(query) = event {
        answer(query, printed).await;
    }
    Ok(())
}

/// Waits until the script exits. Processes that it started may keep its pipes open; the wait for
/// them is short.
async fn watch(
    child: &mut Running,
    output: &mut Output,
    input: Vec<u8>,
) -> (io::Result<()>, io::Result<ExitStatus>) {
    let stdin = child.process.stdin.take();
    let feed = async move {
        let Some(mut stdin) = stdin else { return Ok(()) };
        stdin.write_all(&input).await
    };
    let pipes = async { tokio::join!(feed, output.read()).0 };
    tokio::pin!(pipes);
    let mut fed = None;
    let status = loop {
        tokio::select! {
            status = child.process.wait() => break status,
            done = &mut pipes, if fed.is_none() => fed = Some(done),
        }
    };
    if fed.is_none() {
        fed = timeout(OUTPUT_GRACE, pipes).await.ok();
    }
    (fed.unwrap_or(Ok(())), status)
}

/// Keeps reading the output of processes that a script left behind, which a closed pipe would kill
/// at their next write. With a time limit they are killed as the script would be.
async fn drain(child: Running, mut output: Output, limit: Option<Duration>) {
    let mut child = child;
    if timeout(limit.unwrap_or(Duration::MAX), output.read()).await.is_ok() {
        child.group = None;
    }
}

async fn answer(query: &Query, output: Vec<u8>) {
    if output.is_empty() {
        return;
    }
    if let Err(error) = query.respond(output).await {
        let reason = error.go_text();
        warn!(target: "agent", "Failed to respond to query 'query: {}': {reason}", query.name());
    }
}

/// A handler; dropping it before it exits kills its process group, if it has one.
struct Running {
    process: Child,
    pid: Option<Pid>,
    /// Kept from the start: the shell may exit before its children.
    group: Option<Pid>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            // It may have exited meanwhile, which is the goal.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

/// stdout and stderr share one pipe, so that their order is preserved. With `group`, the handler
/// leads a process group of its own, so that the whole group can be killed.
fn spawn(
    script: &str,
    environment: &[(String, OsString)],
    group: bool,
) -> io::Result<(Running, Output)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(SHELL);
    if group {
        command.process_group(0);
    }
    let process = command
        .args(["-c", script])
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()?;
    // Otherwise this process would keep the pipe open.
    drop(command);
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    let running = Running { process, pid, group: pid.filter(|_| group) };
    let pipe = pipe::Receiver::from_owned_fd(reader.into())?;
    Ok((running, Output { pipe, kept: VecDeque::new(), ended: false }))
}

/// The last bytes of a script's output.
struct Output {
    pipe: pipe::Receiver,
    kept: VecDeque<u8>,
    /// Whether every process has closed the pipe.
    ended: bool,
}

impl Output {
    /// Reads to the end. Cancel-safe.
    async fn read(&mut self) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = self.pipe.read(&mut chunk).await {
            self.kept.extend(chunk.iter().take(count));
            let surplus = self.kept.len().saturating_sub(OUTPUT_BYTES_MAX);
            self.kept.drain(..surplus);
        }
        self.ended = true;
    }

    fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept).into()
    }
}

/// The text of Go's `exec.ExitError`.
fn exit_text(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;

    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let core = if status.core_dumped() { " (core dumped)" } else { "" };
            format!("signal: {}{core}", signal_name(signal))
        }
        (None, None) => status.to_string(),
    }
}

/// Go: `syscall.Signal.String` on Linux.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

fn kind(event: &Event) -> String {
    match event {
        Event::Member(event) => event.kind.to_string(),
        Event::User(_) => "user".to_owned(),
        Event::Query(_) => "query".to_owned(),
        Event::Lagged(_) => String::new(),
    }
}

/// The variables added to the agent's environment.
fn environment(local: &Member, event: &Event) -> Vec<(String, OsString)> {
    let clean = |text: &str| variable_value(text.as_bytes());
    let mut variables = vec![
        ("SERF_EVENT".to_owned(), kind(event).into()),
        ("SERF_SELF_NAME".to_owned(), clean(&local.name)),
        ("SERF_SELF_ROLE".to_owned(), clean(local.tags.get("role").unwrap_or_default())),
    ];
    for (name, value) in local.tags.iter() {
        variables.push((format!("SERF_TAG_{}", variable_name(name)), clean(value)));
    }
    match event {
        Event::User(event) => variables.extend([
            ("SERF_USER_EVENT".to_owned(), variable_value(event.name.as_bytes())),
            ("SERF_USER_LTIME".to_owned(), event.ltime.0.to_string().into()),
        ]),
        Event::Query(query) => variables.extend([
            ("SERF_QUERY_NAME".to_owned(), variable_value(query.name_bytes())),
            ("SERF_QUERY_LTIME".to_owned(), query.ltime().0.to_string().into()),
        ]),
        Event::Member(_) | Event::Lagged(_) => {}
    }
    variables
}

/// Cuts a value at a zero byte or at the length limit, as the system would refuse it.
fn variable_value(bytes: &[u8]) -> OsString {
    let mut value: Vec<u8> = bytes.iter().copied().filter(|byte| *byte != 0).collect();
    if value.len() > VARIABLE_BYTES_MAX {
        let (len, max) = (value.len(), VARIABLE_BYTES_MAX);
        warn!(target: "agent", "A name of {len} bytes is cut to {max} for event handlers");
        // Text is not cut inside a character.
        let start = (max.saturating_sub(3)..=max).rev().find(|at| value[*at] & 0xc0 != 0x80);
        value.truncate(start.unwrap_or(max));
    }
    OsString::from_vec(value)
}

/// Converts letter by letter, as Go does: a letter whose upper case is several letters is invalid.
fn variable_name(tag: &str) -> String {
    let upper = |c: char| {
        let mut letters = c.to_uppercase();
        letters.next().filter(|_| letters.next().is_none()).unwrap_or('_')
    };
    let allowed = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    tag.chars().map(upper).map(|c| if allowed(c) { c } else { '_' }).collect()
}

fn stdin_of(event: &Event) -> Vec<u8> {
    match event {
        Event::Member(MemberEvent { members, .. }) => {
            members.iter().flat_map(|member| member_line(member).into_bytes()).collect()
        }
        Event::User(event) => with_newline(&event.payload),
        Event::Query(query) => with_newline(query.payload_bytes()),
        Event::Lagged(_) => Vec::new(),
    }
}

fn with_newline(payload: &[u8]) -> Vec<u8> {
    let mut input = payload.to_vec();
    if input.last().is_some_and(|last| *last != b'\n') {
        input.push(b'\n');
    }
    input
}

fn member_line(member: &Member) -> String {
    let escape = |text: &str| text.replace('\t', "\\t").replace('\n', "\\n");
    let ip = member.addr().map_or_else(|| "<nil>".to_owned(), |addr| addr.ip().to_string());
    let role = escape(member.tags.get("role").unwrap_or_default());
    let tags: Vec<_> = member.tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{}\t{ip}\t{role}\t{}\n", escape(&member.name), escape(&tags.join(",")))
}

/// Number of trailing bytes of a handler's output that are kept.
const OUTPUT_BYTES_MAX: usize = 8 << 10;
/// Bytes of one variable; at 128 KiB the system refuses to start the handler.
const VARIABLE_BYTES_MAX: usize = 64 << 10;
/// How long to wait for the end of the output after a script has exited.
const OUTPUT_GRACE: Duration = Duration::from_millis(250);
/// A handler that runs longer is logged as a warning.
const SLOW: Duration = Duration::from_secs(1);
/// Most events queued for one script when several may run at the same time.
const LANE_EVENTS_MAX: usize = 1024;
const SHELL: &str = "/bin/sh";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serf::{LamportTime, MemberEventKind, MemberStatus, UserEvent};

    fn member(name: &str, tags: &[(&str, &str)]) -> Member {
        let tags = tags.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Member {
            name: name.into(),
            addr: [127, 0, 0, 4].into(),
            port: 7946,
            tags: tags.collect::<BTreeMap<_, _>>().into(),
            status: MemberStatus::Alive,
            vsn: crate::wire::Vsn([1, 5, 2, 2, 5, 5]),
        }
    }

    fn user(payload: &'static [u8]) -> Event {
        Event::User(UserEvent {
            ltime: LamportTime(7),
            name: "deploy".into(),
            payload: payload.into(),
            coalesce: true,
        })
    }

    // parity: handlers: Member event stdin
    #[test]
    fn members_are_lines_with_tabs_and_newlines_escaped() {
        let members = [member("c", &[]), member("a\tb", &[("role", "x\ny"), ("k", "1,2=\\")])];
        let members = members.map(Arc::new).to_vec();
        let event = Event::Member(MemberEvent { kind: MemberEventKind::Join, members });
        assert_eq!(
            String::from_utf8(stdin_of(&event)).unwrap(),
            "c\t127.0.0.4\t\t\na\\tb\t127.0.0.4\tx\\ny\tk=1,2=\\,role=x\\ny\n"
        );
    }

    #[test]
    fn names_of_variables_are_made_letter_by_letter() {
        for (tag, name) in [
            ("straße", "STRA_E"),
            ("ﬁx", "_X"),
            ("ıſ", "IS"),
            ("aé-.b", "A___B"),
            ("k\u{212a}", "K_"),
            ("x1_", "X1_"),
        ] {
            assert_eq!(variable_name(tag), name, "{tag}");
        }
    }

    #[test]
    fn payloads_end_in_a_newline_unless_empty() {
        for (payload, input) in [(&b"x"[..], &b"x\n"[..]), (b"x\n", b"x\n"), (b"", b"")] {
            assert_eq!(with_newline(payload), input);
        }
    }

    // parity: handlers: SERF_SELF_*, SERF_TAG_* env
    #[test]
    fn the_environment_names_event_node_and_tags() {
        let local = member("a", &[("my-tag.x", "1"), ("dc", "east\n")]);
        let variables: BTreeMap<_, _> = environment(&local, &user(b"")).into_iter().collect();
        let expected = [
            ("SERF_EVENT", "user"),
            ("SERF_SELF_NAME", "a"),
            ("SERF_SELF_ROLE", ""),
            ("SERF_TAG_DC", "east\n"),
            ("SERF_TAG_MY_TAG_X", "1"),
            ("SERF_USER_EVENT", "deploy"),
            ("SERF_USER_LTIME", "7"),
        ];
        let expected = expected.map(|(k, v)| (k.to_owned(), v.into()));
        assert_eq!(variables, expected.into());
    }

    // parity: handlers: Shell execution
    #[tokio::test]
    async fn output_is_one_stream_and_its_last_bytes_are_kept() {
        let run = async |script: &str| {
            let (mut child, mut output) =
                spawn(script, &[("X".into(), "y".into())], false).unwrap();
            // Scripts that do not read may have ended before their input is written.
            let (_, status) = watch(&mut child, &mut output, b"in".to_vec()).await;
            assert!(output.ended, "{script}");
            (output.take(), exit_text(status.unwrap()))
        };
        let (output, status) = run("echo 1; echo 2 >&2; echo $X; cat | tr a-z A-Z; exit 3").await;
        assert_eq!(String::from_utf8(output).unwrap(), "1\n2\ny\nIN");
        assert_eq!(status, "exit status 3");
        let (output, _) = run("head -c 100000 /dev/zero | tr '\\0' x; echo end").await;
        assert_eq!(output.len(), OUTPUT_BYTES_MAX);
        assert!(output.ends_with(b"xend\n"));
        let (_, status) = run("kill -9 $$").await;
        assert_eq!(status, "signal: killed");
    }

    // parity: handlers: A handler that leaves a child behind
    #[tokio::test]
    async fn a_process_that_a_script_leaves_behind_delays_no_one_and_can_still_print() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let script =
            format!("echo now; (sleep 1; echo late && touch {}) & cat >/dev/null", done.display());
        let (mut child, mut output) = spawn(&script, &[], false).unwrap();
        let started = Instant::now();
        let (_, status) = watch(&mut child, &mut output, vec![b'x'; 100_000]).await;
        assert!(started.elapsed() < Duration::from_millis(900), "{:?}", started.elapsed());
        assert!(status.unwrap().success() && !output.ended);
        assert_eq!(output.take(), b"now\n");
        drain(child, output, None).await;
        assert!(done.exists());
    }

    #[test]
    fn names_reach_a_script_as_bytes() {
        let mut event = user(b"");
        let Event::User(content) = &mut event else { panic!("not a user event") };
        content.name = b"d\xff\0\xe9"[..].into();
        assert_eq!(&*content.name, "d\u{fffd}\0\u{fffd}");
        let variables: BTreeMap<_, _> =
            environment(&member("a", &[]), &event).into_iter().collect();
        assert_eq!(variables["SERF_USER_EVENT"].as_encoded_bytes(), b"d\xff\xe9");
    }

    #[tokio::test]
    async fn a_name_that_is_too_long_for_a_variable_skips_no_script() {
        let long = variable_value("\u{fffd}".repeat(60_000).as_bytes());
        assert_eq!(long.len(), VARIABLE_BYTES_MAX / 3 * 3);
        let (mut child, mut output) =
            spawn("echo ${#SERF_USER_EVENT}", &[("SERF_USER_EVENT".into(), long)], false).unwrap();
        let (_, status) = watch(&mut child, &mut output, Vec::new()).await;
        assert!(status.unwrap().success());
    }
}
