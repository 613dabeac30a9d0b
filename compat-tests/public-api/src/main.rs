//! Prints the public items of the crate whose rustdoc JSON is named, in the form that the head of
//! the listing describes. The JSON is to list hidden items: what is public under another name is
//! described by them.

mod known;
mod listing;

use std::{collections::HashSet, error::Error, path::PathBuf};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: ruserf-public-api FILE")?.into();
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let hidden = hide(json["index"].as_object_mut().ok_or("no index")?);
    let visible = path.with_extension("visible.json");
    std::fs::write(&visible, serde_json::to_vec(&json)?)?;
    let api = public_api::Builder::from_rustdoc_json(visible).omit_blanket_impls(true).build()?;
    let lines = listing::listing(&json["index"], &hidden, api.items());
    let leaks: Vec<_> = lines.iter().filter(|line| names_hidden(line, &hidden)).collect();
    for leak in &leaks {
        eprintln!("names what is hidden: {leak}");
    }
    print!("{RULES}");
    for line in &lines {
        println!("{}", line.replace("ruserf::", ""));
    }
    if leaks.is_empty() { Ok(()) } else { Err("a public item names hidden ones".into()) }
}

fn names_hidden(item: &str, hidden: &[String]) -> bool {
    hidden.iter().any(|module| item.contains(&format!("{module}::")))
}

/// Takes hidden items out of the lists of what is in modules, impls and types. Gives the paths of
/// hidden modules.
fn hide(index: &mut serde_json::Map<String, Value>) -> Vec<String> {
    let is_hidden = |item: &Value| item["attrs"].to_string().contains("doc(hidden)");
    let hidden: HashSet<_> =
        index.iter().filter(|(_, item)| is_hidden(item)).map(|(id, _)| id.clone()).collect();
    assert!(hidden.len() > 5, "the JSON says what is hidden: {} items", hidden.len());
    let is_module = |id: &&String| index[*id]["inner"].get("module").is_some();
    let names = hidden.iter().filter(is_module).filter_map(|id| index[id]["name"].as_str());
    let modules = names.map(|name| format!("ruserf::{name}")).collect();
    for item in index.values_mut() {
        for kind in ["module", "trait", "impl", "enum", "struct"] {
            let Some(inner) = item["inner"].get_mut(kind) else { continue };
            for list in ["items", "variants"] {
                if let Some(items) = inner.get_mut(list).and_then(Value::as_array_mut) {
                    items.retain(|id| !hidden.contains(&id.to_string()));
                }
            }
            let Some(fields) = inner.pointer_mut("/kind/plain/fields") else { continue };
            if let Some(fields) = fields.as_array_mut() {
                fields.retain(|id| !hidden.contains(&id.to_string()));
            }
        }
    }
    modules
}

const RULES: &str = "\
# Public items of every feature (`agent` adds none); scripts/public-api makes this list.
# A line has a type with its traits, or one of its methods; fields and variants share lines. A
# method of a trait ends with { … } where the trait provides it. Left out: what is #[doc(hidden)];
# traits that the compiler gives by itself (but !Send and !Sync); what a trait's impl has, which
# the trait shows. Known paths are shortened. An item that names a hidden type is an error.
";
