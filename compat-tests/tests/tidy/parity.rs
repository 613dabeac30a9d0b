//! Every row of the parity table has a test that says so, or is listed as a known gap.
//!
//! A test says so by a comment `// parity: AREA: FEATURE`, before it or, where it goes through a
//! table, before the entry.

use std::collections::BTreeMap;

use super::sources::{Source, read, root, sources};

#[test]
fn every_row_is_claimed_by_a_test_or_is_a_known_gap() {
    let here = root().join("compat-tests");
    let table = read(&here.join("parity.tsv"));
    let gaps = read(&here.join("known-gaps.toml"));
    let mut claims = BTreeMap::new();
    for file in sources(&["src", "compat-tests/tests"]) {
        for (row, is_at_a_test) in claims_in(&file) {
            assert!(is_at_a_test, "{}: {row}: no test follows", file.path);
            claims.insert(row, file.path.clone());
        }
    }
    let mut wrong = Vec::new();
    let mut rows = 0;
    for row in table.lines().skip(1) {
        rows += 1;
        let [area, feature, _check] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("malformed row: {row}");
        };
        let escaped = feature.replace('\\', "\\\\").replace('"', "\\\"");
        let gap = format!("area = \"{area}\"\nfeature = \"{escaped}\"\nreason = \"");
        let name = format!("{area}: {feature}");
        match (claims.remove(&name), gaps.contains(&gap)) {
            (None, false) => wrong.push(format!("{name}: neither a test nor a known gap")),
            (Some(at), true) => wrong.push(format!("{name}: a known gap, with a test in {at}")),
            _ => {}
        }
    }
    wrong.extend(claims.into_iter().map(|(name, at)| format!("{at}: there is no row {name}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rows >= 140, "{rows} rows");
}

#[test]
fn a_claim_belongs_to_a_test() {
    let text = "// parity: a: one\n/// Goal.\n#[test]\nfn x() {}\n// parity: a: two\nfn y() {}\n\
                const LINES: &[&str] = &[\n    // parity: a: three\n    \"line\",\n];\n";
    let path = "compat-tests/tests/x.rs".to_owned();
    let found = claims_in(&Source { path, text: text.to_owned() });
    let wanted = [("a: one", true), ("a: two", false), ("a: three", true)];
    assert_eq!(found, wanted.map(|(row, good)| (row.to_owned(), good)));
    let code = Source { path: "src/x.rs".into(), text: text.replace("#[test]", "#[inline]") };
    assert_eq!(claims_in(&code).iter().filter(|(_, good)| *good).count(), 0);
}

/// Rows that are claimed, and whether what follows is a test or an entry of a test's table.
fn claims_in(file: &Source) -> Vec<(String, bool)> {
    let in_tests = file.is_test();
    let lines: Vec<_> = file.text.lines().collect();
    let claims = lines.iter().enumerate().filter_map(|(at, line)| {
        let row = line.trim_start().strip_prefix("// parity: ")?;
        let mut after = lines[at..].iter().filter(|line| !line.trim_start().starts_with("//"));
        let next = after.next().map_or("", |line| line.trim());
        let is_entry = in_tests && line.starts_with(' ') && next.starts_with(['"', '(']);
        Some((row.to_owned(), is_entry || next == "#[test]" || next.starts_with("#[tokio::test")))
    });
    claims.collect()
}
