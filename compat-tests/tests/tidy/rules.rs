//! Layers, leftovers, and what documents and scripts claim.

use std::{collections::BTreeSet, fs, process::Command};

use compat_tests::process::InTime as _;

use super::sources::{read, root, sources, tracked};

#[test]
fn core_does_no_input_or_output() {
    let mut found = Vec::new();
    for module in CORE {
        for (path, code) in code_of(module) {
            for word in CORE_FORBIDDEN {
                if code.contains(word) {
                    found.push(format!("{path}: {word}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "I/O, clock or lock in the core:\n{}", found.join("\n"));
}

#[test]
fn layers_only_look_down() {
    let mut found = Vec::new();
    let mut modules = 0;
    for (module, below) in LAYERS {
        for (path, code) in code_of(module) {
            for used in modules_used(&code) {
                modules += 1;
                let is_layer = LAYERS.iter().any(|(layer, _)| *layer == used);
                if is_layer && used != module && !below.contains(&used) {
                    found.push(format!("{path} uses {used}"));
                }
            }
        }
    }
    assert!(modules > 200, "{modules} modules used");
    assert!(found.is_empty(), "a layer looks up:\n{}", found.join("\n"));
}

#[test]
fn modules_are_found_in_every_form_of_an_import() {
    let code = "use crate::{\n    base::{Instant, swim2::x},\n    serf, wire::Message as M,\n};\n\
                fn f() { crate::msgpack::to_vec(); crate::rpc }";
    let used: Vec<_> = modules_used(code).collect();
    assert_eq!(used, ["base", "serf", "wire", "msgpack", "rpc"]);
}

/// Counters of what is refused or dropped are for operators, who have to find what they mean.
#[test]
fn counters_of_what_is_dropped_are_in_the_docs() {
    let docs = read(&root().join("docs/metrics.md"));
    let mut names = Vec::new();
    for source in sources(&["src"]).iter().filter(|source| !source.is_test()) {
        for text in source.code().split('"').skip(1).step_by(2) {
            let dotted = text.split('.').count() >= 3 && !text.contains(char::is_whitespace);
            let words = ["dropped", "refused", "ignored", "evicted", "failed"];
            if dotted && text.split('.').any(|word| words.contains(&word)) {
                names.push(text.to_owned());
            }
        }
    }
    assert!(names.len() > 18, "{names:?}");
    names.retain(|name| name != "serf.member.failed" && !docs.contains(&format!("`{name}`")));
    assert!(names.is_empty(), "not in docs/metrics.md: {names:?}");
}

/// What an embedder builds: the library without its default features, and a runtime.
#[test]
fn the_library_alone_brings_few_crates() {
    for (features, max) in CRATES_MAX {
        let crates = crates_with(features);
        assert!(crates.contains("ruserf"), "{crates:?}");
        assert!(crates.len() <= max, "{features}: {} crates: {crates:?}", crates.len());
    }
}

#[test]
fn only_what_needs_tokio_brings_it() {
    for features in ["", "metrics", "serde", "payload", "lz4", "sim"] {
        let crates = crates_with(features);
        for crate_of_a_runtime in ["tokio", "mio", "smol", "async-io"] {
            assert!(!crates.contains(crate_of_a_runtime), "{features}: {crate_of_a_runtime}");
        }
    }
    // The channels of the crate tokio, but not its reactor.
    let crates = crates_with("smol");
    assert!(crates.contains("tokio") && !crates.contains("mio"), "{crates:?}");
    let crates = crates_with("tokio");
    assert!(crates.contains("mio") && !crates.contains("smol"), "{crates:?}");
}

/// That the list is true is for `scripts/public-api --check`; here is what it may grow to.
#[test]
fn what_is_public_fits_a_few_pages() {
    let list = read(&root().join("docs/public-api.txt"));
    let names = list.lines().skip_while(|line| *line != "mod ruserf").skip(1);
    let names = names.take_while(|line| !line.starts_with("mod "));
    let is_name = |line: &&str| !line.starts_with([' ', '#']) || line.starts_with("#[");
    let at_the_root = names.filter(is_name).count();
    assert!((30..=46).contains(&at_the_root), "{at_the_root} names at the root");
    assert!(list.lines().count() <= 600, "{} lines", list.lines().count());
    assert!(
        list.contains("\nmod client\n") && list.contains("\nmod sim\n"),
        "features are left out"
    );
}

/// What is uploaded is the library with its examples, and what one reads beside them.
#[test]
fn package_carries_the_library_and_nothing_else() {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--offline", "--allow-dirty", "--package=ruserf"])
        .current_dir(root())
        .output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).unwrap();
    let is_source = |path: &&str| {
        // Pages that the agent serves are beside their code.
        path.starts_with("src/") || path.starts_with("examples/") && path.ends_with(".rs")
    };
    let (sources, others): (Vec<_>, Vec<_>) = list.lines().partition(is_source);
    let known = tracked();
    assert_eq!(sources.len(), known.iter().map(String::as_str).filter(|p| is_source(p)).count());
    // The first two are made by cargo.
    let beside = ["Cargo.lock", "Cargo.toml.orig", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.toml"];
    let beside = [&beside[..], &["LICENSE", "README.md"]].concat();
    let mut others: Vec<_> =
        others.into_iter().filter(|path| *path != ".cargo_vcs_info.json").collect();
    others.sort_by_key(|path| beside.iter().position(|known| known == path));
    assert_eq!(others, beside);
}

#[test]
fn nothing_is_left_open() {
    let mut found = Vec::new();
    for file in sources(&["src"]) {
        for word in ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"] {
            if file.text.contains(word) {
                found.push(format!("{}: {word}", file.path));
            }
        }
        if file.code().contains("println!(")
            && !file.path.starts_with("src/cli/")
            && !file.is_test()
        {
            found.push(format!("{}: println outside cli", file.path));
        }
    }
    assert!(found.is_empty(), "left open:\n{}", found.join("\n"));
}

/// Operators read Go's words, not Rust's `Some(…)`.
// parity: agent-obs: No debug form of Rust in the log
#[test]
fn no_log_line_has_the_debug_form_of_rust() {
    let mut found = Vec::new();
    let mut lines = 0;
    for file in sources(&["src"]) {
        let code = file.before_tests();
        for level in ["trace!(", "debug!(", "info!(", "warn!(", "error!("] {
            for (at, _) in code.match_indices(level) {
                let call = call(&code[at..]);
                if !call.contains("target:") {
                    continue;
                }
                lines += 1;
                let by_field = call.match_indices('?').any(|(at, _)| {
                    let before = call[..at].trim_end();
                    before.ends_with(['=', ','])
                });
                if call.contains(":?}") || call.contains(":#?}") || by_field {
                    found.push(format!("{}: {call}", file.path));
                }
            }
        }
    }
    assert!(lines > 100, "{lines} lines");
    assert!(found.is_empty(), "debug forms in the log:\n{}", found.join("\n"));
}

/// The call of a macro at the beginning of a text.
fn call(text: &str) -> &str {
    let mut depth = 0;
    let end = text.char_indices().find(|(_, c)| {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        depth == 0 && *c == ')'
    });
    end.map_or(text, |(at, _)| &text[..=at])
}

#[test]
fn no_path_of_a_build_machine_is_committed() {
    // Split, so that this file does not find itself.
    let words = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut found = Vec::new();
    for name in tracked() {
        let Ok(text) = fs::read_to_string(root().join(&name)) else { continue };
        for word in words {
            if let Some(line) = text.lines().find(|line| line.contains(word)) {
                found.push(format!("{name}: {line:.80}"));
            }
        }
    }
    assert!(found.is_empty(), "paths of a machine:\n{}", found.join("\n"));
}

#[test]
fn no_build_output_is_committed() {
    let built = ["target", "node_modules", "__pycache__"];
    let is_built = |name: &String| name.split('/').any(|part| built.contains(&part));
    let found: Vec<_> = tracked().into_iter().filter(is_built).collect();
    assert!(found.is_empty(), "build output: {found:?}");
}

#[test]
fn differences_name_tests_that_exist() {
    let root = root();
    let code: String =
        sources(&["src", "compat-tests"]).into_iter().map(|file| file.text).collect();
    let mut found = Vec::new();
    let mut rows = 0;
    for row in read(&root.join("docs/differences.md")).lines().filter(|line| line.starts_with("| "))
    {
        let tests = row.trim_end_matches([' ', '|']).rsplit(" | ").next().unwrap_or_default();
        if tests == "test" {
            continue;
        }
        rows += 1;
        let names = tests.split('`').skip(1).step_by(2).collect::<Vec<_>>();
        // A dash: the row says why nobody tests it, or that it costs too much.
        if names.is_empty() && tests != "-" {
            found.push(format!("no test: {row:.60}"));
        }
        for name in names {
            let exists = match name.contains('/') {
                true => root.join(name).exists(),
                false => code.contains(&format!("fn {name}(")),
            };
            if !exists {
                found.push(format!("no such test: {name}"));
            }
        }
    }
    assert!(rows > 20, "{rows} rows");
    assert!(found.is_empty(), "docs/differences.md:\n{}", found.join("\n"));
}

#[test]
fn files_that_contributors_are_sent_to_exist() {
    let mut named = 0;
    let mut missing = Vec::new();
    for document in ["CONTRIBUTING.md", "RELEASING.md", "README.md", ".github/workflows/ci.yml"] {
        let text = read(&root().join(document));
        let is_part = |c: char| c.is_alphanumeric() || "/._-".contains(c);
        for path in text.split(|c| !is_part(c)).map(|path| path.trim_end_matches('.')) {
            let tops = ["src/", "compat-tests/", "scripts/", "docs/", "examples/"];
            if tops.iter().any(|top| path.starts_with(top)) {
                named += 1;
                if !root().join(path).exists() {
                    missing.push(format!("{document}: {path}"));
                }
            }
        }
    }
    assert!(named > 40, "{named} files");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Goal: the hints of `scripts/run` fit its flags, and its own `-bind` gives way.
/// Method: the script with a cargo that builds nothing and a `serf` that prints its arguments.
#[cfg(unix)]
// parity: build: scripts/run says that it builds, and how to go on
#[test]
fn the_start_script_says_what_is_true_for_the_flags_given() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = tempfile::tempdir().unwrap();
    let program = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    // The first build.
    program("bin/cargo", "#!/bin/sh\nchmod +x \"$CARGO_TARGET_DIR/release/serf\"\n");
    program("target/release/serf", "#!/bin/sh\necho started: \"$@\"\n");
    let unbuilt = fs::Permissions::from_mode(0o644);
    fs::set_permissions(dir.path().join("target/release/serf"), unbuilt).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", dir.path().join("bin").display());
    let run = |args: &[&str]| {
        let output = Command::new(root().join("scripts/run"))
            .args(args)
            .env("PATH", &path)
            .env("CARGO_TARGET_DIR", dir.path().join("target"))
            .output_in_time();
        String::from_utf8(output.stdout).unwrap()
    };
    let plain = run(&["-node", "a"]);
    assert!(plain.contains("started: agent -bind 127.0.0.1:7946 -node a\n"), "{plain}");
    assert!(plain.contains("-join 127.0.0.1:7946\n"), "{plain}");
    assert!(plain.contains("takes some minutes"), "{plain}");
    for form in [&["-bind", "127.60.0.1:7946"][..], &["--bind=127.60.0.1:7946"]] {
        let bound = run(&[form, &["-rpc-addr=127.60.0.1:7373", "-encrypt", "c2VjcmV0"]].concat());
        assert!(bound.contains("serf members -rpc-addr 127.60.0.1:7373 "), "{bound}");
        assert!(bound.contains("-encrypt (your key) -join 127.60.0.1:7946\n"), "{bound}");
        assert_eq!(bound.matches("c2VjcmV0").count(), 1, "the key is not repeated: {bound}");
        assert!(bound.contains("started: agent -"), "{bound}");
        assert_eq!(bound.matches("bind").count(), 2, "{bound}");
    }
    let configured = run(&["-config-file", "agent.json"]);
    assert!(configured.contains("started: agent -config-file agent.json\n"), "{configured}");
    assert!(configured.contains("yours to add"), "{configured}");
    assert!(!configured.contains("some minutes"), "it is built: {configured}");
    assert!(!run(&["-help"]).contains("started"));
}

/// The modules of the crate that `code` names, in imports and in paths.
fn modules_used(code: &str) -> impl Iterator<Item = &str> {
    code.split("crate::").skip(1).flat_map(|rest| match rest.strip_prefix('{') {
        Some(group) => {
            let mut depth = 0;
            let end = group.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth < 0
            });
            let mut depth = 0;
            let top = group[..end.unwrap_or(group.len())].split(move |c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            top.map(first_word).filter(|word| !word.is_empty()).collect::<Vec<_>>()
        }
        None => vec![first_word(rest)],
    })
}

fn first_word(text: &str) -> &str {
    let text = text.trim_start();
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The crates of the library with these of its features.
fn crates_with(features: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--package=ruserf", "--no-default-features"])
        .arg(format!("--features={features}"))
        .args(["--edges=normal,build", "--prefix=none", "--format={p}"])
        .current_dir(root())
        .output_in_time();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// Code of a module's files without comments and tests.
fn code_of(module: &str) -> Vec<(String, String)> {
    let files = sources(&[&format!("src/{module}")]).into_iter().filter(|file| !file.is_test());
    files.map(|file| (file.path.clone(), file.code())).collect()
}

/// Crates in the tree of the library, itself included: the engine alone; a node on tokio, with the
/// five of serde_json, which reads keyring files; a node on smol.
const CRATES_MAX: [(&str, usize); 3] = [("", 32), ("tokio", 49), ("smol", 73)];

/// Modules below the driver: no I/O, no clock, no lock, no global randomness.
const CORE: [&str; 6] = ["base", "msgpack", "wire", "swim", "serf", "engine"];

/// What must not appear in the core. Maps in hash order have a seed of their own (`SeededHash`).
const CORE_FORBIDDEN: [&str; 17] = [
    "tokio::",
    "std::fs",
    "std::env",
    "std::thread",
    "std::net::Udp",
    "std::net::Tcp",
    "Instant::now",
    "SystemTime",
    "rand::rng()",
    "Mutex<",
    "RwLock",
    "OnceLock",
    "LazyLock",
    "RandomState",
    "HashSet",
    "HashMap::new",
    "HashMap::default",
];

/// `(module, what it may use)`: arrows point down.
const LAYERS: [(&str, &[&str]); 14] = [
    ("base", &[]),
    ("msgpack", &["base"]),
    ("wire", &["base", "msgpack"]),
    ("swim", &["base", "msgpack", "wire"]),
    ("serf", &["base", "msgpack", "wire", "swim"]),
    ("engine", &["base", "swim", "serf", "wire"]),
    ("runtime", &[]),
    ("transport", &["base", "runtime"]),
    ("driver", &["base", "msgpack", "wire", "swim", "serf", "engine", "runtime", "transport"]),
    ("sim", &["base", "msgpack", "wire", "swim", "serf", "engine"]),
    ("rpc", &["base", "msgpack", "serf"]),
    ("client", &["base", "msgpack", "serf", "transport", "rpc"]),
    ("agent", &["base", "msgpack", "wire", "swim", "serf", "transport", "driver", "rpc"]),
    ("cli", &["base", "msgpack", "wire", "serf", "rpc", "client", "agent", "sim"]),
];
