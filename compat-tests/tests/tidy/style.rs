//! Sizes and forms: how long files, functions and lines are, and what comes where in a file.

use std::collections::{BTreeMap, BTreeSet};

use super::sources::{Source, assert_none, sources};

#[test]
fn files_stay_small() {
    let mut found = Vec::new();
    for file in sources(&["src"]).iter().filter(|file| !file.is_test()) {
        let lines = file.before_tests().lines().count();
        if lines > FILE_LINES_MAX {
            found.push(format!("{}: {lines} lines", file.path));
        }
    }
    assert!(found.is_empty(), "files over {FILE_LINES_MAX} lines:\n{}", found.join("\n"));
}

#[test]
fn functions_stay_short() {
    let mut found = BTreeMap::new();
    let mut count = 0;
    for file in sources(&EVERYWHERE) {
        for (name, lines) in functions(&file.text) {
            count += 1;
            if lines > FUNCTION_LINES_MAX {
                found.insert(format!("{} {name}", file.path), lines);
            }
        }
    }
    assert!(count > 4000, "{count} functions");
    assert_none("function", &found);
}

#[test]
fn lines_stay_short() {
    let mut found = BTreeMap::new();
    for file in sources(&EVERYWHERE) {
        // Rows of a table cannot be broken.
        let is_row = |line: &str| line.trim_start_matches(['/', '!', ' ']).starts_with('|');
        let long = |line: &&str| line.chars().count() > COLUMNS_MAX && !is_row(line);
        let lines = file.text.lines().filter(long).count();
        if lines > 0 {
            found.insert(file.path, lines);
        }
    }
    assert_none("columns", &found);
}

#[test]
fn mod_rs_only_declares() {
    let mut found = BTreeMap::new();
    let mut count = 0;
    for file in sources(&EVERYWHERE) {
        if file.path.ends_with("/mod.rs") {
            count += 1;
            let lines = lines_of_items(&file.code());
            if lines > 0 {
                found.insert(file.path, lines);
            }
        }
    }
    assert!(count > 15, "{count} files");
    assert_none("mod.rs", &found);
}

/// A directory of modules has its `mod.rs`; the directory beside a file `x.rs` holds its tests.
#[test]
fn there_is_one_style_of_modules() {
    let files = sources(&EVERYWHERE);
    let paths: BTreeSet<_> = files.iter().map(|file| file.path.as_str()).collect();
    let mut found = BTreeMap::new();
    for path in &paths {
        let (dir, name) = path.rsplit_once('/').expect("a directory");
        let is_test = name == "tests.rs" || path.split('/').any(|part| part == "tests");
        if paths.contains(format!("{dir}.rs").as_str()) && !is_test {
            *found.entry(format!("{dir}.rs")).or_default() += 1;
        }
    }
    assert_none("module style", &found);
}

/// What is read first is what the file is for; its private constants are looked up at the end.
#[test]
fn constants_come_last() {
    let mut found = BTreeMap::new();
    for file in sources(&["src", "compat-tests/src"]).into_iter().filter(|file| !file.is_test()) {
        let count = early_constants(file.before_tests());
        if count > 0 {
            found.insert(file.path, count);
        }
    }
    assert_none("constants", &found);
}

/// Every public item is used, tested or shown somewhere.
#[test]
fn no_public_item_is_dead() {
    let files = sources(&EVERYWHERE);
    let mut words = BTreeMap::<&str, usize>::new();
    for file in &files {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        for word in file.text.split(|c| !is_word(c)).filter(|word| !word.is_empty()) {
            *words.entry(word).or_default() += 1;
        }
    }
    let mut found = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.starts_with("src/")) {
        for name in public_names(file) {
            if words.get(name) == Some(&1) {
                found.insert(format!("{} {name}", file.path), 1);
            }
        }
    }
    assert_none("dead", &found);
}

#[test]
fn items_are_recognized() {
    let code = "use a::{\n    b,\n};\n\nconst A: u8 = 1;\n\n\
                pub(crate) async fn f<'a>(\n    x: u8,\n) {\n    g();\n}\n\n\
                trait T {\n    fn h(&self);\n    fn i(&self) {}\n}\n\nstatic LAST: u8 = 2;\n";
    let found: Vec<_> = functions(code).collect();
    assert_eq!(found, [("f", 5)]);
    let inside = "impl T {\n    pub(in crate::agent) async fn g() {\n        h();\n    }\n}\n";
    assert_eq!(functions(inside).collect::<Vec<_>>(), [("g", 3)]);
    assert_eq!(early_constants(code), 1);
    assert_eq!(early_constants("const A: u8 = 1;\npub(in crate::a) type B = u8;\n"), 1);
    assert_eq!(lines_of_items(code), 11);
    assert_eq!(lines_of_items("mod a;\n\npub(super) const ALL: &[A] = &[\n    a::A,\n];\n"), 0);
}

/// Names and lines of functions, from `fn` to the brace that ends them, as rustfmt sets it.
pub(crate) fn functions(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let lines: Vec<_> = text.lines().collect();
    let starts = (0..lines.len()).filter_map({
        let lines = lines.clone();
        move |at| Some((at, function_name(lines[at])?))
    });
    starts.filter_map(move |(start, name)| {
        let indent = lines[start].len() - lines[start].trim_start().len();
        let end = lines[start..].iter().position(|line| {
            let is_at_its_depth = line.len() - line.trim_start().len() == indent;
            is_at_its_depth && (line.ends_with('}') || line.ends_with(';'))
        })?;
        lines[start + end].ends_with('}').then_some((name, end + 1)).filter(|(_, n)| *n > 1)
    })
}

fn function_name(line: &str) -> Option<&str> {
    let mut rest = without_visibility(line.trim_start());
    for word in ["const ", "async ", "extern \"C\" "] {
        rest = rest.strip_prefix(word).unwrap_or(rest);
    }
    let rest = rest.strip_prefix("fn ")?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next()
}

/// Lines of code that neither declare a module nor import, nor list what the modules hold.
fn lines_of_items(code: &str) -> usize {
    let mut count = 0;
    let (mut in_import, mut in_list) = (false, false);
    for line in code.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let bare = without_visibility(line);
        let declares = bare.starts_with("use ") || bare.starts_with("mod ") && bare.ends_with(';');
        in_import |= bare.starts_with("use ");
        in_list |= bare.starts_with("const ") && line.ends_with("= &[");
        let in_either = in_import || in_list;
        count += usize::from(!in_either && !declares && !line.trim_start().starts_with('#'));
        in_import &= !line.ends_with(';');
        in_list &= line != "];";
    }
    count
}

/// Private constants at the top level with something other than constants and macros behind them.
fn early_constants(code: &str) -> usize {
    let (mut count, mut early) = (0, 0);
    for line in code.lines() {
        let bare = without_visibility(line);
        let is_function = bare.starts_with("const fn ");
        if !is_function && (line.starts_with("const ") || line.starts_with("static ")) {
            count += 1;
        } else if is_function
            || ["fn ", "async fn ", "impl", "struct ", "enum ", "trait ", "type "]
                .iter()
                .any(|word| bare.starts_with(word))
        {
            early = count;
        }
    }
    early
}

/// An item without its `pub` or `pub(…)`.
fn without_visibility(line: &str) -> &str {
    let within = line.strip_prefix("pub(").and_then(|rest| rest.split_once(") "));
    within.map_or_else(|| line.strip_prefix("pub ").unwrap_or(line), |(_, item)| item)
}

/// Names of what a file makes public.
pub(crate) fn public_names(file: &Source) -> impl Iterator<Item = &str> {
    file.before_tests().lines().filter_map(|line| {
        let mut rest = line.trim_start().strip_prefix("pub ")?;
        for word in ["const ", "async ", "static "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        for word in ["fn ", "struct ", "enum ", "trait ", "type "] {
            rest = rest.strip_prefix(word).unwrap_or(rest);
        }
        let is_import = ["use ", "mod "].iter().any(|word| rest.starts_with(word));
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (!is_import && end > 0).then_some(&rest[..end])
    })
}

pub(crate) const EVERYWHERE: [&str; 11] = [
    "src",
    "compat-tests/src",
    "compat-tests/tests",
    "examples",
    "compat-tests/benches",
    "compat-tests/fuzz/fuzz_targets",
    "compat-tests/newcomer",
    "compat-tests/playground/src",
    "compat-tests/public-api/src",
    "compat-tests/service/src",
    "compat-tests/wasm/src",
];
/// Before the tests.
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;
