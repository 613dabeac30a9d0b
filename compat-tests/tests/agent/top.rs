//! Goal: `serf top` shows an agent's cluster, Go's agent or ours, and leaves the terminal as it was
//! however it ends. Method: a terminal of script(1), whose screen an emulator keeps. What is drawn
//! at which size is tested in `cli::top`.

use std::{
    fs,
    io::{Read as _, Write as _},
    num::NonZero,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use compat_tests::{
    net::Net,
    peer::Peer,
    process::{BOTH, Kind, not_run, signal},
    wait::{PATIENCE, eventually, poll},
};

const ROWS: NonZero<u16> = NonZero::new(40).unwrap();
const COLUMNS: NonZero<u16> = NonZero::new(140).unwrap();

/// A terminal in which a shell runs `serf top` and says how that ended. It ends with this value.
struct Terminal {
    script: Child,
    screen: Arc<Mutex<vt100::Parser>>,
    pid: PathBuf,
    _dir: tempfile::TempDir,
}

impl Terminal {
    /// `None`, and said so, where there is no script(1).
    fn top(rpc: &str) -> Option<Self> {
        if Command::new("script").arg("-V").output().is_err() {
            not_run("there is no script. Install it: apt-get install bsdutils");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let (program, at) = (Kind::Ours.program().display(), pid.display());
        let shell = format!(
            "set -m; stty rows {ROWS} cols {COLUMNS}; before=$(stty -g)
             said() {{ [ \"$before\" = \"$(stty -g)\" ] && s=same || s=other; echo \"$1, $s\"; }}
             sh -c 'echo $$ >{at}; exec {program} top -rpc-addr {rpc}'
             code=$?
             if [ $code -gt 128 ]; then said paused; read line; fg >/dev/null; code=$?; fi
             said \"ended with $code\"; read line"
        );
        let mut script = Command::new("script")
            .args(["-q", "-f", "-c", &shell, "/dev/null"])
            .env("SHELL", "/bin/sh")
            .env("TERM", "xterm-256color")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let (mut out, to) = (script.stdout.take().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut bytes) {
                to.lock().unwrap_or_else(PoisonError::into_inner).process(&bytes[..count]);
            }
        });
        Some(Self { script, screen, pid, _dir: dir })
    }

    fn screen(&self) -> String {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner).screen().contents()
    }

    fn keys(&mut self, keys: &str) {
        let stdin = self.script.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).unwrap();
    }

    fn signal(&self, name: &str) {
        signal(fs::read_to_string(&self.pid).unwrap().trim().parse().unwrap(), name);
    }

    fn wait(&self, wanted: &str) -> String {
        poll(PATIENCE, || Some(self.screen()).filter(|screen| screen.contains(wanted)))
            .unwrap_or_else(|| panic!("no {wanted:?} in\n{}", self.screen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

#[test]
fn the_cluster_of_either_agent_is_shown() {
    for kind in BOTH {
        let net = Net::new();
        let a = Peer::start(kind, "first", &net.ip(2), &[]);
        let join = ["-join", &a.addr, "-tag", "role=web"];
        let b = Peer::start(kind.other(), "second", &net.ip(3), &join);
        a.wait_for_members(2);
        let Some(mut terminal) = Terminal::top(&a.rpc) else { return };
        terminal.wait("2 alive");
        let screen = terminal.wait("role=web");
        assert!(screen.contains("serf top first") && screen.contains("1-2 of 2"), "{screen}");
        terminal.wait("queues: intent 0 event ");
        eventually("no round trip time", || {
            let screen = terminal.screen();
            let row = screen.lines().find(|line| line.starts_with("second "));
            let words: Vec<_> = row.unwrap_or_default().split_whitespace().collect();
            words.get(2).is_some_and(|rtt| rtt.parse::<f64>().is_ok())
        });
        a.ok(&["event", "deploy", "v2"]);
        terminal.wait("user: deploy");
        terminal.keys("/web\r");
        terminal.wait("1-1 of 1 (2)");
        terminal.keys("\u{1b}");
        terminal.wait("1-2 of 2");
        drop(b);
        terminal.wait("1 failed");
        // What has failed comes first now.
        terminal.keys("s");
        eventually("it is not sorted", || {
            let screen = terminal.screen();
            let at = |name| screen.lines().position(|line: &str| line.starts_with(name));
            at("second ").is_some() && at("second ") < at("first ")
        });
        terminal.keys("q");
        terminal.wait("ended with 0, same");
    }
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let net = Net::new();
    let a = Peer::start(Kind::Ours, "first", &net.ip(2), &[]);
    for name in ["TERM", "INT", "HUP"] {
        let Some(terminal) = Terminal::top(&a.rpc) else { return };
        terminal.wait("1-1 of 1");
        terminal.signal(name);
        terminal.wait("ended with 0, same");
    }
    let Some(mut terminal) = Terminal::top(&a.rpc) else { return };
    terminal.wait("1-1 of 1");
    // Suspended, by a key and by a signal, and back.
    terminal.keys("\u{1a}");
    terminal.wait("paused, same");
    terminal.keys("\r");
    terminal.wait("1-1 of 1");
    drop(a);
    let screen = terminal.wait("ended with 1, same");
    assert!(screen.contains("The agent does not answer"), "{screen}");
    // Without a terminal it says so.
    let said = compat_tests::process::serf(Kind::Ours, "", &["top"]);
    assert_eq!((said.code, said.out.as_str()), (Some(1), "serf top needs a terminal\n"));
}
