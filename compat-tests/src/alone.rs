//! For tests that must not run beside others: those that measure or change state of the whole
//! process, and those that load the machine. The tests of one program run in parallel.

use std::{
    env,
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    process::{BOTH, InTime as _, Kind, Process, not_run},
    wait::{BUILD, poll},
};

/// Runs `body` in a process of its own, because an allocator with a limit, a global recorder or the
/// memory of the process cannot be shared. `module` is `module_path!()`, `test` the name of the
/// calling test: the process runs this program again with only that test.
///
/// # Panics
/// When the test fails there, or has not ended after [`BUILD`].
pub fn in_own_process(module: &str, test: &str, body: impl FnOnce()) {
    let test = test_name(module, test);
    if env::var(ALONE).is_ok_and(|alone| alone == test) {
        return body();
    }
    let program = env::current_exe().expect("the path of the test");
    let mut command = Command::new(program);
    command.args(["--include-ignored", "--nocapture", "--exact", &test]).env(ALONE, &test);
    let output = command.output_within(BUILD);
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    println!("{text}\n{errors}");
    assert!(output.status.success() && text.contains("1 passed"), "{test}: {}", output.status);
}

/// Runs an ignored test of this program in network and mount namespaces that the shell script
/// `prepare` sets up: `parts` processes at once, with their numbers in the variable `PART`. Both
/// kinds of agent are built before that, because there is no network inside.
///
/// # Panics
/// When the test fails there, or has not ended after ten minutes; in CI also where there are no
/// namespaces.
pub fn in_namespaces(prepare: &str, module: &str, test: &str, parts: usize) {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-n", "-m", "sh", "-c", script]);
        command
    };
    let possible = unshare(prepare).output_in_time();
    if !possible.status.success() {
        return not_run(&format!("{test}: no namespaces: {possible:?}"));
    }
    let _ = BOTH.map(Kind::program);
    let _alone = one_at_a_time();
    let test = test_name(module, test);
    let script = format!("{prepare} && exec \"$0\" --ignored --exact {test} --nocapture");
    let program = env::current_exe().expect("the path of the test");
    let start = |part: usize| {
        let mut command = unshare(&script);
        command.arg(&program).env("PART", part.to_string());
        Process::start(command)
    };
    for mut process in (0..parts).map(start).collect::<Vec<_>>() {
        let ended = poll(Duration::from_secs(600), || process.try_code());
        let text = format!("{}\n{}", process.out(), process.err());
        let passed = ended == Some(0) && text.contains("1 passed");
        assert!(passed, "{test}: {ended:?}\n{text}");
    }
}

/// The name of a test on the command line of its test program.
pub fn test_name(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, inside)) => format!("{inside}::{test}"),
        None => test.to_owned(),
    }
}

/// A lock for tests that load the machine or measure times: one of them runs at a time.
pub fn one_at_a_time() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names the test that is to run in this process.
const ALONE: &str = "RUSERF_TEST_ALONE";
