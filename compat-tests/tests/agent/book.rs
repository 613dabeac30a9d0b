//! The commands of the book do what the pages say: blocks below `<!-- runs -->` are run in their
//! order, on addresses of the test's own, and print what the page shows. Below
//! `<!-- runs: agent -->` is an agent, which runs until the page ends.

use std::{fs, path::Path, process::Command};

use compat_tests::{
    net::Net,
    process::{InTime as _, Kind, Process},
    wait::eventually,
};

#[test]
fn commands_of_the_first_cluster_do_what_the_page_shows() {
    assert_eq!(Page::open("docs/first-cluster.md").run(), 11);
}

/// What is not run below is run by `scripts/package`, and says so.
#[test]
fn commands_of_the_readme_do_what_it_shows() {
    let page = Page::open("README.md");
    let blocks = page.text.matches("```console").count();
    let run = page.text.matches("<!-- runs").count();
    let elsewhere = page.text.matches(" by scripts/package").count();
    assert_eq!(blocks, run + elsewhere);
    assert_eq!(page.run(), 6);
}

#[test]
fn commands_of_a_rotation_do_what_the_page_shows() {
    let page = Page::open("docs/keys.md");
    let keygen = page.command("serf keygen >old.key").output_in_time();
    assert!(keygen.status.success());
    let _agents = [
        page.agent("serf agent -node one -bind 127.0.0.1 -encrypt @old.key"),
        page.agent(
            "serf agent -node two -bind 127.0.0.2 -rpc-addr 127.0.0.2:7373 -encrypt @old.key \
             -join 127.0.0.1",
        ),
    ];
    assert_eq!(page.run(), 5);
}

struct Page {
    text: String,
    net: Net,
    /// Where commands run; holds a `serf` in front of the others.
    dir: tempfile::TempDir,
}

impl Page {
    fn open(path: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace root");
        let text = fs::read_to_string(root.join(path)).expect("a page");
        let dir = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(Kind::Ours.program(), dir.path().join("serf")).expect("a link");
        Self { text, net: Net::new(), dir }
    }

    /// Runs all commands of the page, and gives their number.
    fn run(&self) -> usize {
        let (mut agents, mut count) = (Vec::new(), 0);
        for block in self.text.split("<!-- runs").skip(1) {
            let is_agent = block.starts_with(": agent");
            let code = block.split("```console\n").nth(1).and_then(|code| code.split("```").next());
            for (command, shown) in commands(code.expect("a block of commands")) {
                count += 1;
                if is_agent {
                    agents.push(self.agent(&command));
                } else {
                    self.prints(&command, &shown);
                }
            }
        }
        count
    }

    /// Runs a command until it succeeds with the lines that the page shows: what one node says
    /// takes a moment to reach the others.
    fn prints(&self, command: &str, shown: &[&str]) {
        let wanted: Vec<_> = shown.iter().map(|line| words(&self.here(line))).collect();
        eventually(command, || {
            let output = self.command(command).output_in_time();
            let printed = String::from_utf8_lossy(&output.stdout);
            let lines: Vec<_> = printed.lines().map(words).collect();
            let mut wrong: Vec<_> =
                wanted.iter().filter(|line| !lines.contains(line)).cloned().collect();
            if !output.status.success() {
                wrong.push(format!("code {:?}", output.status.code()));
            }
            if !wrong.is_empty() {
                wrong.push(printed.into_owned());
            }
            wrong
        });
    }

    fn agent(&self, command: &str) -> Process {
        let has_rpc = command.contains("-rpc-addr");
        let rpc = if has_rpc { String::new() } else { " -rpc-addr 127.0.0.1:7373".to_owned() };
        let agent = Process::start(self.command(&format!("exec {command}{rpc}")));
        agent.wait_for("Serf agent running!");
        agent
    }

    fn command(&self, text: &str) -> Command {
        let path = std::env::var("PATH").expect("a path");
        let mut command = Command::new("sh");
        command
            .args(["-c", &self.here(text)])
            .current_dir(self.dir.path())
            .env("PATH", format!("{}:{path}", self.dir.path().display()))
            .env("SERF_RPC_ADDR", format!("{}:7373", self.net.ip(1)))
            .env_remove("SERF_RPC_AUTH");
        command
    }

    /// With the addresses of this test for those of the page.
    fn here(&self, text: &str) -> String {
        text.replace("127.0.0.", &self.net.to_string())
    }
}

/// Commands after `$ `, each with the lines below it.
fn commands(code: &str) -> Vec<(String, Vec<&str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in code.lines() {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_owned(), Vec::new())),
            (None, Some((_, shown))) => shown.push(line),
            (None, None) => panic!("no command before {line:?}"),
        }
    }
    commands
}

/// The same whatever the columns are wide.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
