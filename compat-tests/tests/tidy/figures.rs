//! Figures of a checkout, for the table in ARCHITECTURE.md.

use std::{collections::BTreeMap, fs, path::Path};

use super::{
    circles::{Crate, circles},
    sources::{Source, assert_none, read, root, sources, sources_below, tracked},
    style::{EVERYWHERE, functions, public_names},
};

/// What `scripts/figures` runs: it prints the figures of the checkout in `FIGURES_OF`.
#[test]
#[ignore = "prints figures; scripts/figures runs it"]
fn figures_of_a_checkout() {
    let root = std::env::var("FIGURES_OF").expect("FIGURES_OF names a checkout");
    let root = Path::new(&root);
    let src = sources_below(root, &["src"]);
    let all = sources_below(root, &["src", "compat-tests/src", "compat-tests/tests"]);
    assert!(src.len() > 50, "no sources in {}", root.display());
    let code: Vec<_> = sources_below(root, &["src"]).into_iter().filter(|f| !f.is_test()).collect();
    let lines = |file: &Source| file.before_tests().lines().count();
    let total: usize = src.iter().map(|file| file.text.lines().count()).sum();
    let without_tests: usize = code.iter().map(lines).sum();
    let largest = code.iter().max_by_key(|file| lines(file)).expect("a file");
    let longest = all.iter().flat_map(|file| functions(&file.text)).max_by_key(|(_, n)| *n);
    let (name, length) = longest.expect("a function");
    println!("circles in src: {}", circles(&Crate::read(&code).edges(&code)).len());
    println!("largest file: {} ({})", lines(largest), largest.path);
    println!("longest function: {length} ({name})");
    println!("lines in src: {total}, without tests {without_tests}");
    println!("public items: {}", code.iter().flat_map(public_names).count());
    println!("lines of the API listing: {}", lines_of(&root.join("docs/public-api.txt")));
    println!("test binaries: {}", test_binaries(&root.join("compat-tests/tests")));
    let harness = |file: &&Source| {
        let inside = file.path.strip_prefix("compat-tests/src/");
        inside.is_some_and(|path| !path.starts_with("bin/") && !path.starts_with("fuzz"))
    };
    let harness: usize = all.iter().filter(harness).map(|file| file.text.lines().count()).sum();
    println!("lines of the harness: {harness}");
    let odd = all.iter().map(odd_lines).sum::<usize>();
    println!("lines with words of the private dialect: {odd}");
}

#[test]
fn comments_use_the_words_of_the_field() {
    let mut found = BTreeMap::new();
    for file in sources(&EVERYWHERE) {
        let lines = odd_lines(&file);
        if lines > 0 {
            found.insert(file.path, lines);
        }
    }
    assert!(has_odd_word("// Whoever is told so.") && !has_odd_word("// Reports the error."));
    assert_none("words", &found);
}

#[test]
fn documents_and_scripts_use_them_too() {
    let mut found = BTreeMap::new();
    let endings = ["md", "go", "py", "js", "html", "css", "yml", "toml", "sh"];
    let is_text = |path: &str| {
        path.starts_with("scripts/")
            || path.rsplit_once('.').is_some_and(|(_, ending)| endings.contains(&ending))
    };
    let paths: Vec<_> = tracked().into_iter().filter(|path| is_text(path)).collect();
    assert!(paths.len() > 100, "{paths:?}");
    for path in paths {
        let lines = read(&root().join(&path)).lines().filter(|line| has_odd_word(line)).count();
        if lines > 0 {
            found.insert(path, lines);
        }
    }
    assert_none("words", &found);
}

fn lines_of(file: &Path) -> usize {
    fs::read_to_string(file).map_or(0, |text| text.lines().count())
}

/// Each file and each directory with a `main.rs` is one.
fn test_binaries(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("the directory of the tests").filter_map(Result::ok);
    let is_binary = |path: &Path| {
        path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").exists()
    };
    entries.filter(|entry| is_binary(&entry.path())).count()
}

/// Lines with words of the lists below, but for this file.
fn odd_lines(file: &Source) -> usize {
    let is_this = Path::new(&file.path) == Path::new("compat-tests/tests/tidy/figures.rs");
    file.text.lines().filter(|line| !is_this && has_odd_word(line)).count()
}

fn has_odd_word(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    let words = line.split(|c: char| !c.is_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    words.iter().any(|word| ODD_WORDS.contains(word))
        || words.windows(2).any(|pair| ODD_PAIRS.contains(&[pair[0], pair[1]]))
}

/// Words that CONTRIBUTING.md replaces by those of the field.
const ODD_WORDS: [&str; 8] =
    ["told", "tells", "stands", "judged", "judge", "judges", "whom", "whoever"];
const ODD_PAIRS: [[&str; 2]; 4] =
    [["works", "off"], ["worked", "off"], ["of", "nobody"], ["holds", "nobody"]];
