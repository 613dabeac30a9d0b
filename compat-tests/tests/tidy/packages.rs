//! Goal: what packages do to a service on upgrades and removals. Method: their scripts, with
//! stand-ins for the programs that they call. That the packages install, run and go is shown by
//! `scripts/package try` and `scripts/systemd`.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown},
    path::PathBuf,
    process::Command,
};

use compat_tests::process::InTime as _;

use super::sources::root;

type Words = &'static [&'static str];

/// Goal: what an administrator disabled or stopped stays so, and an agent that cannot start fails
/// no installation.
// parity: packages: Upgrades keep what was disabled or stopped
#[test]
fn an_upgrade_enables_and_starts_nothing() {
    let cases: &[(&str, Words, Words, Words)] = &[
        ("deb/postinst", &["configure", ""], &[], &["enable", "start"]),
        ("deb/postinst", &["configure", ""], &["was-enabled"], &["start"]),
        ("deb/postinst", &["configure", "0.1.0"], &[], &["enable", "try-restart"]),
        ("deb/postinst", &["configure", "0.1.0"], &["was-enabled"], &["try-restart"]),
        ("deb/postinst", &["configure", ""], &["start"], &["enable", "start"]),
        ("deb/postinst", &["configure", "0.1.0"], &["try-restart"], &["enable", "try-restart"]),
        ("deb/prerm", &["upgrade", "0.2.0"], &[], &[]),
        ("deb/prerm", &["remove"], &[], &["stop"]),
        ("rpm/post", &["1"], &[], &[]),
        ("rpm/post", &["2"], &["try-restart"], &["try-restart"]),
        ("rpm/preun", &["1"], &[], &[]),
        ("rpm/preun", &["0"], &[], &["disable"]),
    ];
    for (script, args, refused, wanted) in cases {
        let stage = Stage::new();
        for name in ["deb-systemd-helper", "deb-systemd-invoke", "dpkg-divert", "systemctl"] {
            let refused: String = refused
                .iter()
                .map(|verb| format!("case \" $* \" in *' {verb} '*) exit 1;; esac\n"))
                .collect();
            stage.program(name, &refused);
        }
        // As on a machine that runs systemd.
        let text = fs::read_to_string(packaging().join(script)).expect("a script");
        let text = text.replace("/run/systemd/system", &stage.path("").to_string_lossy());
        fs::write(stage.path("script"), text).expect("a file");
        let done = stage.command("sh").arg(stage.path("script")).args(*args).output_in_time();
        assert!(done.status.success(), "{script} {args:?}: {done:?}");
        let verbs = ["enable", "disable", "start", "stop", "restart", "try-restart"];
        let calls = stage.calls();
        let found: Vec<_> = calls.split_whitespace().filter(|word| verbs.contains(word)).collect();
        assert_eq!(found, *wanted, "{script} {args:?}:\n{calls}");
    }
}

/// Goal: the package takes the place of Go's, its service comes back as Go's does, and what it
/// forbids to handlers can be allowed line by line.
// parity: packages: The unit and the package take the place of Go's
#[test]
fn the_unit_comes_back_and_the_package_replaces_go_s() {
    let read = |name: &str| fs::read_to_string(packaging().join(name)).expect("a file");
    let unit = read("serf.service");
    for line in ["Restart=always", "RestartSec=10s", "LimitNOFILE=65536", "KillSignal=SIGINT"] {
        assert!(unit.lines().any(|found| found == line), "{line}");
    }
    let nfpm = read("nfpm.yaml");
    for line in ["conflicts: [serf]", "replaces: [serf]", "provides: [serf]"] {
        assert!(nfpm.lines().any(|found| found == line), "{line}");
    }
    // A copy of it changes nothing until a line is chosen.
    let drop_in = read("handlers.conf");
    let effective: Vec<_> =
        drop_in.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert_eq!(effective, ["[Service]"]);
    let chosen = drop_in.lines().filter_map(|line| line.strip_prefix('#')?.split_once('='));
    let chosen: Vec<_> = chosen.map(|(name, _)| name).filter(|name| !name.contains(' ')).collect();
    assert!(chosen.len() >= 10, "{chosen:?}");
    for name in chosen.iter().filter(|name| !["ReadWritePaths", "User"].contains(name)) {
        assert!(unit.contains(&format!("\n{name}=")), "{name} is not set by the unit");
    }
}

/// Goal: a configuration that root alone may read, as those with keys are, reaches the service, and
/// nobody else. Method: the script of the unit with other directories.
#[test]
fn what_only_root_reads_is_copied_for_the_service() {
    let stage = Stage::new();
    let [from, to, state] = ["etc", "run-config", "state"].map(|name| stage.path(name));
    let text = fs::read_to_string(packaging().join("copy-config")).expect("a script");
    let text = text.replace("/run/serf-config", &to.to_string_lossy());
    fs::write(stage.path("script"), text.replace("/etc/serf", &from.to_string_lossy())).unwrap();
    for dir in [&from, &state] {
        fs::create_dir(dir).expect("a directory");
    }
    chown(&state, Some(65534), Some(65533)).expect("the owner of the state of a service");
    let copies = || {
        let mut script = stage.command("sh");
        script.arg(stage.path("script")).env("STATE_DIRECTORY", &state);
        let done = script.output_in_time();
        assert!(done.status.success(), "{done:?}");
        let list = fs::read_dir(&to).expect("copies").map(|entry| entry.expect("a file").path());
        let mut list: Vec<_> = list.collect();
        list.sort();
        list
    };
    assert!(copies().is_empty(), "no configuration is one");
    for (name, text) in [("a.json", "{}"), ("b.json", r#"{"rpc_auth":"s"}"#), ("c.txt", "")] {
        fs::write(from.join(name), text).expect("a file");
        fs::set_permissions(from.join(name), fs::Permissions::from_mode(0o600)).expect("a mode");
    }
    let list = copies();
    assert_eq!(list, ["a.json", "b.json"].map(|name| to.join(name)));
    assert_eq!(fs::read_to_string(&list[1]).unwrap(), r#"{"rpc_auth":"s"}"#);
    let about = fs::metadata(&list[1]).expect("a copy");
    assert_eq!((about.uid(), about.gid(), about.mode() & 0o7777), (65534, 65533, 0o400));
    let about = fs::metadata(&to).expect("a directory");
    assert_eq!((about.uid(), about.mode() & 0o7777), (0, 0o755), "the service cannot change it");
    fs::remove_file(from.join("a.json")).expect("a file");
    assert_eq!(copies(), [to.join("b.json")]);
    // Nothing else is left beside the copies.
    let names = fs::read_dir(stage.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with("run-config")).count(), 1);
}

/// Goal: a package has the program's pages and the completions of three shells. Method: its tree is
/// made with a stand-in for the program, which says what it was asked for.
#[test]
fn a_package_has_pages_and_completions() {
    let stage = Stage::new();
    stage.program("serf", "echo \"$*\"");
    let make = "set -euo pipefail; . scripts/lib/need.sh; . scripts/lib/stage.sh; \
                reproducible() { SOURCE_DATE_EPOCH=1; }; licences() { echo none; }; \
                build_program() { program=$STAGE/bin/serf; }; \
                machine=$(uname -m); make_stage; cd \"$stage\"; \
                find . -type f | sort; \
                zcat usr/share/man/man*/*.gz; cat usr/share/*/*completions/* \
                usr/share/fish/*/*";
    let done = stage
        .command("bash")
        .args(["-c", make])
        .current_dir(root())
        .envs([("TMPDIR", stage.path("")), ("LC_ALL", "C".into())])
        .output_in_time();
    assert!(done.status.success(), "{done:?}");
    let text = String::from_utf8(done.stdout).expect("text");
    let (files, pages): (Vec<_>, Vec<_>) = text.lines().partition(|line| line.starts_with("./"));
    let doc = ["README.md", "SECURITY.md", "changelog.gz", "copyright", "differences.md"];
    let examples = ["examples/handlers.conf", "examples/serf.json", "examples/serf.rules.yml"];
    let doc = doc.into_iter().chain(examples).chain(["licences.gz", "migration.md"]);
    let doc = doc.map(|name| format!("./usr/share/doc/ruserf/{name}"));
    let rest = [
        "./etc/serf/agent.json",
        "./usr/bin/serf",
        "./usr/lib/serf/copy-config",
        "./usr/lib/systemd/system/serf.service",
        "./usr/share/bash-completion/completions/serf",
        "./usr/share/fish/vendor_completions.d/serf.fish",
        "./usr/share/man/man1/serf.1.gz",
        "./usr/share/man/man5/serf.json.5.gz",
        "./usr/share/zsh/vendor-completions/_serf",
    ];
    let mut wanted: Vec<_> = doc.chain(rest.map(str::to_owned)).collect();
    wanted.sort();
    assert_eq!(files, wanted);
    let asked = ["man", "man serf.json", "completion bash", "completion zsh", "completion fish"];
    assert_eq!(pages, asked);
}

/// Goal: the list of crates is the same from wherever it is built, and leaves no files behind.
/// Method: a stand-in writes what cargo-cyclonedx writes, which names the directory.
#[test]
fn the_list_of_crates_names_no_directory() {
    let stage = Stage::new();
    let files = ["ruserf.cdx.json", "compat-tests/ruserf.cdx.json"];
    let files = files.into_iter().chain(["compat-tests/service/ruserf.cdx.json"]);
    let writes: String = files
        .map(|file| {
            format!(
                "printf '\"path+file://%s#ruserf\", \"path+file://%s/x#y\"' $PWD $PWD >{file}\n"
            )
        })
        .collect();
    stage.program("cargo", &format!("[ \"$1\" = cyclonedx ] || exit 0\n{writes}"));
    stage.program("cargo-cyclonedx", "");
    let lists = ["one", "another-name"].map(|copy| {
        let copy = stage.path(copy);
        fs::create_dir_all(copy.join("compat-tests/service")).expect("a directory");
        let copied = Command::new("cp")
            .arg("-r")
            .args(["scripts", "Cargo.toml"].map(|name| root().join(name)))
            .arg(&copy)
            .output_in_time();
        assert!(copied.status.success(), "{copied:?}");
        let done = stage
            .command("scripts/package")
            .arg("sbom")
            .current_dir(&copy)
            .envs([
                ("SOURCE_DATE_EPOCH", "1"),
                ("RUSERF_COMMIT", "0"),
                ("TARGET", "x86_64-unknown-linux-musl"),
            ])
            .env("CARGO_TARGET_DIR", copy.join("target"))
            .output_in_time();
        assert!(done.status.success(), "{done:?}");
        let rest = ["", "compat-tests", "compat-tests/service"].map(|dir| copy.join(dir));
        assert!(rest.iter().all(|dir| !dir.join("ruserf.cdx.json").exists()), "files are left");
        let made = fs::read_dir(copy.join("target/packages")).expect("packages");
        let mut made = made.map(|entry| entry.expect("a file").path());
        let list = made.find(|path| path.to_string_lossy().ends_with(".cdx.json"));
        fs::read_to_string(list.expect("the list")).expect("text")
    });
    assert_eq!(lists[0], r#""path+file://ruserf#ruserf", "path+file://ruserf/x#y""#);
    assert_eq!(lists[0], lists[1]);
}

/// A directory with programs that stand in for others, and note how they were called.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { dir: tempfile::tempdir().expect("a directory") };
        fs::create_dir(stage.path("bin")).expect("a directory");
        stage
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Adds a program that is a shell script.
    fn program(&self, name: &str, script: &str) {
        let path = self.path("bin").join(name);
        let text = format!("#!/bin/sh\necho \"{name} $*\" >>\"$STAGE/calls\"\n{script}\n");
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    /// A program that finds these before all others.
    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(program);
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.env("STAGE", self.path(""));
        command.env_remove("DPKG_ROOT");
        command
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

fn packaging() -> PathBuf {
    root().join("packaging")
}
