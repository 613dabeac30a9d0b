//! Every scenario of `compat_tests::matrix` with Rust and Go in both roles, and Go with Go as the
//! control that shows the scenario itself to be right. scripts/interop runs it and shows the table.

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
};

use compat_tests::{
    alone::one_at_a_time,
    bare::{Roles, bare_scenarios},
    go,
    matrix::{OURS, Program, scenarios},
    process::InTime as _,
    wait::BUILD,
};

/// The newest Go and the oldest codec generation. All versions: scripts/interop.
#[test]
fn newest_and_oldest_go() {
    run(&["serf-0.8.5"]);
}

#[test]
#[ignore = "several minutes; scripts/interop runs it"]
fn every_pair_of_go_versions_passes_the_matrix() {
    run(&["serf-0.8.5", "serf-0.9.7", "serf-0.10.2", "serf-0.10.4"]);
}

/// A build of the user's own, before a migration to it or from it.
#[test]
#[ignore = "scripts/interop peer PATH runs it"]
fn named_peer() {
    let path = std::env::var_os("RUSERF_PEER").expect("RUSERF_PEER names a program");
    let path = PathBuf::from(path);
    let title = path.file_name().map(|name| name.to_string_lossy().into_owned());
    // A serf program is driven through its agent, whose processes inherit the variable.
    let path = match std::env::var_os("RUSERF_SERF") {
        Some(_) => PathBuf::from(env!("CARGO_BIN_EXE_serf_peer")),
        None => path,
    };
    let labels = std::env::var_os("RUSERF_PEER_OLD").is_none();
    let named = Program { title: title.unwrap_or_default(), path, labels };
    let (rust, newest) = (rust(), newest());
    let pairs = [(&rust, &named), (&named, &rust), (&newest, &named), (&named, &named)];
    run_pairs(&pairs.map(|(first, second)| (first.clone(), second.clone())));
}

/// Serf nodes with bare memberlists, the layer below: the newest and the oldest.
#[test]
fn newest_and_oldest_memberlist() {
    run_bare(&["memberlist-0.1.4"]);
}

#[test]
#[ignore = "several minutes; scripts/interop runs it"]
fn every_pair_of_memberlist_versions_passes_the_matrix() {
    run_bare(&[
        "memberlist-0.1.4",
        "memberlist-0.2.4",
        "memberlist-0.3.1",
        "memberlist-0.5.0",
        "memberlist-0.5.4",
    ]);
}

struct Job {
    title: &'static str,
    column: usize,
    run: Box<dyn Fn() -> Result<(), String> + Send>,
}

struct Cell {
    row: &'static str,
    column: usize,
    outcome: Result<(), String>,
}

fn run(older: &[&str]) {
    let (rust, newest) = (rust(), newest());
    let dir = old_peers(older);
    let mut peers: Vec<Program> = older
        .iter()
        .map(|version| Program {
            title: (*version).into(),
            path: dir.join(version).join("peer"),
            labels: *version != "serf-0.8.5",
        })
        .collect();
    peers.push(newest.clone());

    let pairs = peers.iter().flat_map(|peer| {
        [(&rust, peer), (peer, &rust), (&newest, peer)]
            .map(|(first, second)| (first.clone(), second.clone()))
    });
    run_pairs(&pairs.collect::<Vec<_>>());
}

/// Every scenario with each pair, the first of which starts what happens.
fn run_pairs(pairs: &[(Program, Program)]) {
    let (mut columns, mut jobs) = (Vec::new(), Vec::new());
    let only = std::env::var("RUSERF_SCENARIO").unwrap_or_default();
    for (first, second) in pairs {
        for scenario in scenarios() {
            if !scenario.title.contains(&only) {
                continue;
            }
            if scenario.labels && !(first.labels && second.labels) {
                continue;
            }
            let (first, second) = (first.clone(), second.clone());
            let run = Box::new(move || (scenario.run)(&first, &second));
            jobs.push(Job { title: scenario.title, column: columns.len(), run });
        }
        columns.push(format!("{} → {}", first.title, second.title));
    }
    let titles: Vec<_> = scenarios().iter().map(|scenario| scenario.title).collect();
    report("serf", &columns, &titles, jobs);
}

fn run_bare(older: &[&str]) {
    let dir = old_peers(older);
    let mut bares: Vec<Program> = older
        .iter()
        .map(|version| Program {
            title: (*version).into(),
            path: dir.join(version).join("mlpeer"),
            labels: !["memberlist-0.1.4", "memberlist-0.2.4"].contains(version),
        })
        .collect();
    let path = go::harness_dir().join("mlpeer");
    bares.push(Program { title: "memberlist-0.7.0".into(), path, labels: true });
    let (mut columns, mut jobs) = (Vec::new(), Vec::new());
    for bare in &bares {
        for (serf, serf_joins) in [(rust(), true), (rust(), false), (newest(), true)] {
            for scenario in bare_scenarios() {
                let only = std::env::var("RUSERF_SCENARIO").unwrap_or_default();
                if !scenario.title.contains(&only) || (scenario.labels && !bare.labels) {
                    continue;
                }
                let (serf, bare) = (serf.clone(), bare.clone());
                let run = Box::new(move || {
                    (scenario.run)(&Roles { serf: &serf, bare: &bare, serf_joins })
                });
                jobs.push(Job { title: scenario.title, column: columns.len(), run });
            }
            let (first, second) = if serf_joins { (&serf, bare) } else { (bare, &serf) };
            columns.push(format!("{} → {}", first.title, second.title));
        }
    }
    let titles: Vec<_> = bare_scenarios().iter().map(|scenario| scenario.title).collect();
    report("memberlist", &columns, &titles, jobs);
}

fn rust() -> Program {
    let path = PathBuf::from(env!("CARGO_BIN_EXE_rust_peer"));
    Program { title: OURS.into(), path, labels: true }
}

fn newest() -> Program {
    Program { title: "serf-0.11.0".into(), path: go::harness_dir().join("peer"), labels: true }
}

/// Runs the jobs and shows the table, also in the file that RUSERF_MATRIX names, with `kind` added.
fn report(kind: &str, columns: &[String], titles: &[&str], mut jobs: Vec<Job>) {
    // Taken from the end: those that use a whole core for seconds come last, by themselves.
    jobs.sort_by_key(|job| !job.title.starts_with("5,000"));
    // On a busy machine Go's probes time out as well.
    let _alone = one_at_a_time();
    let cells = run_jobs(jobs);
    let table = table(columns, titles, &cells);
    println!("{table}");
    if let Ok(file) = std::env::var("RUSERF_MATRIX") {
        std::fs::write(format!("{file}.{kind}"), &table).expect("the table can be written");
    }
    let failed =
        |cell: &&Cell| cell.outcome.as_ref().is_err_and(|error| !error.contains(NOT_SUPPORTED));
    let failed = cells.iter().filter(failed).count();
    assert!(cells.iter().any(|cell| cell.outcome.is_ok()), "nothing ran:\n{table}");
    assert_eq!(failed, 0, "holes in the matrix:\n{table}");
}

fn run_jobs(jobs: Vec<Job>) -> Vec<Cell> {
    let jobs = Mutex::new(jobs);
    let cells = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                loop {
                    let Some(job) = jobs.lock().expect("no panic").pop() else { return };
                    let outcome =
                        catch_unwind(AssertUnwindSafe(&job.run)).unwrap_or_else(|panic| {
                            let text = panic.downcast_ref::<String>().cloned();
                            Err(text.unwrap_or_else(|| "a panic".into()))
                        });
                    let cell = Cell { row: job.title, column: job.column, outcome };
                    cells.lock().expect("no panic").push(cell);
                }
            });
        }
    });
    cells.into_inner().expect("no panic")
}

fn table(columns: &[String], titles: &[&str], cells: &[Cell]) -> String {
    let mut text = format!("| scenario | {} |\n|---|", columns.join(" | "));
    text += &"---|".repeat(columns.len());
    for title in titles {
        write!(text, "\n| {title} |").expect("a string");
        for column in 0..columns.len() {
            let cell = cells.iter().find(|c| c.row == *title && c.column == column);
            text += match cell.map(|cell| &cell.outcome) {
                None => " – |",
                Some(Ok(())) => " ok |",
                Some(Err(error)) if error.contains(NOT_SUPPORTED) => " n/a |",
                Some(Err(_)) => " **FAILED** |",
            };
        }
    }
    for cell in cells {
        if let Err(error) = &cell.outcome
            && !error.contains(NOT_SUPPORTED)
        {
            write!(text, "\n\n{}, {}: {error}", cell.row, columns[cell.column]).expect("a string");
        }
    }
    text
}

/// In the error of a scenario that needs what an agent of `serf` has no setting or command for.
const NOT_SUPPORTED: &str = "not supported: an agent has no";

fn old_peers(versions: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/go-peers");
    let output = Command::new(script).args(versions).output_within(BUILD);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/go-peers: {errors}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
