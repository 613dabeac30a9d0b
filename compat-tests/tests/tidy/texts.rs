//! Every text that an operator may search for is on the page for troubleshooting: those of error
//! types (`error_texts!`), of the log at WARN and ERR, of the agent's refusals, and those that RPC
//! clients compare.

use std::collections::BTreeSet;

use super::sources::{read, root, sources};

#[test]
fn the_page_for_troubleshooting_has_every_error_text() {
    let page = read(&root().join("docs/troubleshooting.md")).replace("\\|", "|");
    let mut texts = BTreeSet::new();
    let files = sources(&["src"]).into_iter();
    for file in files.filter(|file| !file.is_test() && !file.path.starts_with("src/sim/")) {
        let code = file.code();
        for start in ["error!(", "warn!("] {
            let calls = calls(&code, start).filter(|call| call.contains("target:"));
            // The first literal is the target.
            texts.extend(calls.filter_map(|call| literals(call).into_iter().nth(1)));
        }
        for refusal in
            ["Invalid(", "Setup(", "Start(", "File("].map(|of| format!("AgentError::{of}"))
        {
            texts.extend(
                calls(&code, &refusal).filter_map(|call| literals(call).into_iter().next()),
            );
        }
        for block in code.split("error_texts! {").skip(1) {
            let block = block.split("\n}").next().unwrap_or_default();
            for case in block.split("=>").skip(1) {
                texts.extend(literals(case).into_iter().next());
            }
        }
        if file.path == "src/rpc/protocol.rs" {
            let constants = code.split(": &str = ").skip(1);
            texts.extend(constants.filter_map(|rest| literals(rest).into_iter().next()));
        }
    }
    let fixed: BTreeSet<_> = texts.iter().map(|text| fixed_part(text)).collect();
    let fixed: Vec<_> = fixed.into_iter().filter(|part| part.len() > 5).collect();
    assert!(fixed.len() > 200, "{} texts", fixed.len());
    let missing: Vec<_> = fixed.into_iter().filter(|part| !page.contains(part.as_str())).collect();
    assert!(missing.is_empty(), "not in docs/troubleshooting.md: {missing:#?}");
}

/// What the agent reports of itself has a sentence in `serf doctor`, and the reverse; each check is
/// on the page, and in a test that makes the fault.
#[test]
fn each_check_of_doctor_is_reported_documented_and_shown() {
    let is_name = |text: &String| text.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    let quoted = |code: &str, before: &str| -> BTreeSet<String> {
        let parts = code.split(before).skip(1);
        parts.filter_map(|part| part.split_once("\",")).map(|(name, _)| name.to_owned()).collect()
    };
    let named = |names: BTreeSet<String>| -> BTreeSet<String> {
        names.into_iter().filter(is_name).collect()
    };
    let files = sources(&["src/cli/commands/doctor"]);
    let files = files.iter().filter(|file| !file.is_test());
    let doctor: String = files.map(super::sources::Source::code).collect();
    let faults = doctor.split("const FAULTS").nth(1).and_then(|rest| rest.split("\n];").next());
    let faults = named(quoted(faults.expect("a table"), "(\n        \""));
    let agent = read(&root().join("src/agent/faults.rs"));
    let agent = agent.split("#[cfg(test)]").next().expect("code");
    assert_eq!(named(quoted(agent, "(\"")), faults, "what the agent reports, and what is known");
    let calls =
        calls(&doctor, "Finding::new(").filter_map(|call| literals(call).into_iter().next());
    let mut checks = named(calls.filter(|name| !name.is_empty()).collect());
    checks.extend(named(quoted(&doctor, "check: \"")));
    checks.extend(faults);
    let page = read(&root().join("docs/doctor.md"));
    let cells = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let documented: BTreeSet<String> = cells
        .flat_map(|cell| cell.trim().split("`, `"))
        .map(|name| name.replace('`', ""))
        .collect();
    assert_eq!(documented, checks, "on the page, and in the code");
    let tests = ["doctor.rs", "doctor_faults.rs"]
        .map(|name| read(&root().join("compat-tests/tests/agent").join(name)))
        .concat();
    let shown = |check: &&String| {
        let name = format!("\"{check}\"");
        tests.lines().any(|line| line.contains(&name) && !line.contains("is_empty()"))
    };
    let missing: Vec<_> = checks.iter().filter(|check| !shown(check)).collect();
    assert!(missing.is_empty(), "no fault shows {missing:?}");
}

#[test]
fn texts_are_recognized() {
    let code = "warn!(target: \"a\", \"one {x}: two\\\n        more\");\nerror!(\"b (\", f(\")\"))";
    let found: Vec<_> = ["warn!(", "error!("].iter().flat_map(|of| calls(code, of)).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(literals(found[0]), ["a", "one {x}: twomore"]);
    assert_eq!(literals(found[1]), ["b (", ")"]);
    assert_eq!(fixed_part("one {x}: two more"), "two more");
    assert_eq!(
        fixed_part("Error writing payload: write |1: {}"),
        "Error writing payload: write |1"
    );
}

/// The longest part of a text that is the same each time.
fn fixed_part(text: &str) -> String {
    let parts = text.split('{').flat_map(|part| part.split('}').next_back());
    let trim: &[char] = &[' ', ':', ',', '.', '(', ')', '[', ']', '\'', '"'];
    parts
        .map(|part| part.trim_matches(trim))
        .max_by_key(|part| part.len())
        .unwrap_or_default()
        .into()
}

/// Calls that begin with `start`, up to the parenthesis that ends them.
fn calls<'a>(code: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    code.match_indices(start).map(move |(at, _)| {
        let (mut depth, mut in_text, mut escaped) = (0, false, false);
        let end = code[at..].char_indices().find(|(_, c)| {
            if in_text {
                in_text = escaped || *c != '"';
                escaped = *c == '\\' && !escaped;
                return false;
            }
            in_text = *c == '"';
            depth += i32::from(*c == '(') - i32::from(*c == ')');
            depth == 0 && *c == ')'
        });
        end.map_or(&code[at..], |(end, _)| &code[at..=at + end])
    })
}

/// The string literals of some code, in their order.
fn literals(code: &str) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), None::<String>);
    let mut chars = code.chars().peekable();
    while let Some(c) = chars.next() {
        match (&mut open, c) {
            (None, '"') => open = Some(String::new()),
            (None, _) => {}
            (Some(_), '"') => found.extend(open.take()),
            (Some(text), '\\') => match chars.next() {
                Some('\n') => while chars.next_if(|c| c.is_whitespace()).is_some() {},
                Some(escaped) => text.push(escaped),
                None => {}
            },
            (Some(text), c) => text.push(c),
        }
    }
    found
}
