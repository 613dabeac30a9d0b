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
    go,
    matrix::{Program, Scenario, scenarios},
};

/// The newest Go and the oldest codec generation. All versions: scripts/interop.
#[test]
fn newest_and_oldest_go() {
    run(&["serf-0.8.5"]);
}

#[test]
#[ignore = "several minutes; scripts/interop runs it"]
fn every_go() {
    run(&["serf-0.8.5", "serf-0.9.7", "serf-0.10.2", "serf-0.10.4"]);
}

struct Job {
    scenario: Scenario,
    column: usize,
    first: Program,
    second: Program,
}

struct Cell {
    row: &'static str,
    column: usize,
    outcome: Result<(), String>,
}

fn run(older: &[&str]) {
    let rust = Program {
        title: "Rust".into(),
        path: PathBuf::from(env!("CARGO_BIN_EXE_rust_peer")),
        labels: true,
    };
    let newest =
        Program { title: "serf-0.11.0".into(), path: go::harness_dir().join("peer"), labels: true };
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

    let mut columns = Vec::new();
    let mut jobs = Vec::new();
    for peer in &peers {
        for (first, second) in [(&rust, peer), (peer, &rust), (&newest, peer)] {
            let only = std::env::var("RUSERF_SCENARIO").unwrap_or_default();
            for scenario in scenarios() {
                if !scenario.title.contains(&only) {
                    continue;
                }
                if scenario.labels && !(first.labels && second.labels) {
                    continue;
                }
                let (first, second) = (first.clone(), second.clone());
                jobs.push(Job { scenario, column: columns.len(), first, second });
            }
            columns.push(format!("{} → {}", first.title, second.title));
        }
    }
    let cells = run_jobs(jobs);
    let table = table(&columns, &cells);
    println!("{table}");
    if let Some(file) = std::env::var_os("RUSERF_MATRIX") {
        std::fs::write(file, &table).expect("the table can be written");
    }
    let failed = cells.iter().filter(|cell| cell.outcome.is_err()).count();
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
                    let run = || (job.scenario.run)(&job.first, &job.second);
                    let outcome = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
                        let text = panic.downcast_ref::<String>().cloned();
                        Err(text.unwrap_or_else(|| "a panic".into()))
                    });
                    let cell = Cell { row: job.scenario.title, column: job.column, outcome };
                    cells.lock().expect("no panic").push(cell);
                }
            });
        }
    });
    cells.into_inner().expect("no panic")
}

fn table(columns: &[String], cells: &[Cell]) -> String {
    let mut text = format!("| scenario | {} |\n|---|", columns.join(" | "));
    text += &"---|".repeat(columns.len());
    for scenario in scenarios() {
        write!(text, "\n| {} |", scenario.title).expect("a string");
        for column in 0..columns.len() {
            let cell = cells.iter().find(|c| c.row == scenario.title && c.column == column);
            text += match cell.map(|cell| &cell.outcome) {
                None => " – |",
                Some(Ok(())) => " ok |",
                Some(Err(_)) => " **FAILED** |",
            };
        }
    }
    for cell in cells {
        if let Err(error) = &cell.outcome {
            write!(text, "\n\n{}, {}: {error}", cell.row, columns[cell.column]).expect("a string");
        }
    }
    text
}

fn old_peers(versions: &[&str]) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/go-peers");
    let output = Command::new(script).args(versions).output().expect("scripts/go-peers runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "scripts/go-peers: {errors}");
    PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())
}
