//! Every row of the parity table names tests that exist, or is listed as a known gap.

use std::{fs, path::Path};

#[test]
fn every_row_names_an_existing_test_or_is_a_known_gap() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(here.join("parity.tsv")).unwrap();
    let gaps = fs::read_to_string(here.join("known-gaps.toml")).unwrap();
    let mut sources = String::new();
    collect(&here.join("../src"), &mut sources);
    collect(&here.join("tests"), &mut sources);
    let mut rows = 0;
    for row in table.lines().skip(1) {
        rows += 1;
        let cells: Vec<_> = row.split('\t').collect();
        let [area, feature, _check, test] = cells[..] else { panic!("malformed row: {row}") };
        let escaped = feature.replace('\\', "\\\\").replace('"', "\\\"");
        let gap = format!("area = \"{area}\"\nfeature = \"{escaped}\"\nreason = \"");
        let listed = gaps.contains(&gap);
        match test {
            "-" => assert!(listed, "{area}: {feature}: neither a test nor a known gap"),
            _ => {
                assert!(!listed, "{area}: {feature}: has a test and is listed as a gap");
                for test in test.split(", ") {
                    let definition = format!("fn {test}(");
                    assert!(sources.contains(&definition), "{area}: {feature}: no test {test}");
                }
            }
        }
    }
    assert_eq!(rows, 140);
}

fn collect(dir: &Path, sources: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
