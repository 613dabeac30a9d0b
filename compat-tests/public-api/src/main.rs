//! Prints the public items of the crate whose rustdoc JSON is named, one a line. The JSON is to
//! list hidden items: what is public under another name is described by them.

use std::{collections::HashSet, error::Error, path::PathBuf};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: ruserf-public-api FILE")?.into();
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    hide(json["index"].as_object_mut().ok_or("no index")?);
    let visible = path.with_extension("visible.json");
    std::fs::write(&visible, serde_json::to_vec(&json)?)?;
    let api = public_api::Builder::from_rustdoc_json(visible)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    for item in api.to_string().lines() {
        // What a hidden trait gives to public types is hidden as well.
        if !HIDDEN.iter().any(|module| item.contains(&format!("ruserf::{module}::"))) {
            println!("{item}");
        }
    }
    Ok(())
}

/// Takes hidden items out of the lists of what is in modules, impls and types.
fn hide(index: &mut serde_json::Map<String, Value>) {
    let is_hidden = |item: &Value| item["attrs"].to_string().contains("doc(hidden)");
    let hidden: HashSet<_> =
        index.iter().filter(|(_, item)| is_hidden(item)).map(|(id, _)| id.clone()).collect();
    assert!(hidden.len() > 5, "the JSON says what is hidden: {} items", hidden.len());
    for item in index.values_mut() {
        for kind in ["module", "trait", "impl"] {
            let Some(inner) = item["inner"].get_mut(kind) else { continue };
            // What a trait asks for is said by the trait.
            let is_of_trait = inner.get("trait").is_some_and(|of| !of.is_null());
            if let Some(items) = inner["items"].as_array_mut() {
                items.retain(|id| !is_of_trait && !hidden.contains(&id.to_string()));
            }
        }
    }
}

const HIDDEN: [&str; 2] = ["msgpack", "rpc"];
