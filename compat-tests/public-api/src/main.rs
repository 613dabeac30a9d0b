//! Prints the public items of the crate whose rustdoc JSON is named, one a line, after the rules
//! that they are listed by. The JSON is to list hidden items: what is public under another name is
//! described by them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    error::Error,
    path::PathBuf,
};

use serde_json::Value;

fn main() -> Result<(), Box<dyn Error>> {
    let path: PathBuf = std::env::args_os().nth(1).ok_or("usage: ruserf-public-api FILE")?.into();
    let mut json: Value = serde_json::from_slice(&std::fs::read(&path)?)?;
    let modules = hide(json["index"].as_object_mut().ok_or("no index")?);
    let visible = path.with_extension("visible.json");
    std::fs::write(&visible, serde_json::to_vec(&json)?)?;
    let api = public_api::Builder::from_rustdoc_json(visible)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    let (items, impls) = sorted(api.to_string().lines(), &modules);
    let leaks: Vec<_> = items.iter().filter(|item| names_hidden(item, &modules)).collect();
    for leak in &leaks {
        eprintln!("names what is hidden: {leak}");
    }
    print!("{RULES}");
    for item in &items {
        println!("{item}");
        let name = item.rsplit(' ').next().unwrap_or_default();
        let name = name.split(['<', '(']).next().unwrap_or_default();
        if let Some(traits) = impls.get(name).filter(|_| is_type(item)) {
            let traits: Vec<_> = traits.iter().map(String::as_str).collect();
            println!("impl for {name}: {}", traits.join(", "));
        }
    }
    if leaks.is_empty() { Ok(()) } else { Err("a public item names hidden ones".into()) }
}

type Impls = BTreeMap<String, BTreeSet<String>>;

/// The items in their order, and the traits of each type.
fn sorted<'a>(lines: impl Iterator<Item = &'a str>, hidden: &[String]) -> (Vec<String>, Impls) {
    let (mut items, mut impls) = (Vec::new(), Impls::new());
    for line in lines.map(short) {
        if !line.starts_with("impl") {
            items.push(line);
            continue;
        }
        // Without a trait it only says that methods follow.
        let Some((of, to)) = line.rsplit_once(" for ") else { continue };
        if names_hidden(of, hidden) {
            continue;
        }
        let to = to.trim_start_matches('&').trim_start_matches("'a ");
        let to = to.split(['<', ' ']).next().unwrap_or_default();
        let of = match of.strip_prefix("impl ") {
            Some(of) => of.to_owned(),
            None => of.trim_start_matches("impl").to_owned(),
        };
        // Conversions are listed where they lead to, or where they lead from if that is not ours.
        let from = of.strip_prefix("From<").and_then(|of| of.strip_suffix('>'));
        match from.filter(|_| !to.contains("ruserf::")) {
            Some(from) => {
                let from = from.trim_start_matches('&').to_owned();
                impls.entry(from).or_default().insert(format!("Into<{to}>"));
            }
            None => drop(impls.entry(to.to_owned()).or_default().insert(of)),
        }
    }
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
    (items, impls)
}

/// Without the paths of what everybody knows.
fn short(line: &str) -> String {
    let mut out = line.to_owned();
    for (path, name) in KNOWN {
        out = out.replace(path, name);
    }
    out
}

fn is_type(item: &str) -> bool {
    ["struct ", "enum "].iter().any(|kind| item.contains(&format!("pub {kind}")))
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
            // What a trait asks for is said by the trait.
            let is_of_trait = inner.get("trait").is_some_and(|of| !of.is_null());
            for list in ["items", "variants"] {
                if let Some(items) = inner.get_mut(list).and_then(Value::as_array_mut) {
                    items.retain(|id| !is_of_trait && !hidden.contains(&id.to_string()));
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
# Public items of every feature but `agent`, one a line; scripts/public-api makes this list.
# Left out: what is #[doc(hidden)]; what the compiler derives or gives by itself (Clone, Debug, Eq,
# Send, …); headings of inherent impls; the items of a trait's impl, which are those of the trait.
# Other trait impls are one line a type. Paths of std are shortened. An item that names a hidden type
# makes the script fail.
";

const KNOWN: [(&str, &str); 34] = [
    ("alloc::string::String", "String"),
    ("alloc::vec::Vec", "Vec"),
    ("alloc::sync::Arc", "Arc"),
    ("alloc::boxed::Box", "Box"),
    ("alloc::collections::btree::map::BTreeMap", "BTreeMap"),
    ("core::option::Option", "Option"),
    ("core::result::Result", "Result"),
    ("core::time::Duration", "Duration"),
    ("core::net::socket_addr::SocketAddr", "SocketAddr"),
    ("core::net::ip_addr::IpAddr", "IpAddr"),
    ("core::convert::", ""),
    ("core::marker::", ""),
    ("core::clone::", ""),
    ("core::cmp::", ""),
    ("core::default::", ""),
    ("core::error::", "std::error::"),
    ("core::fmt::", ""),
    ("core::future::future::", ""),
    ("core::iter::traits::iterator::", ""),
    ("core::iter::traits::collect::", ""),
    ("core::ops::function::", ""),
    ("core::ops::arith::", ""),
    ("core::ops::deref::", ""),
    ("core::ops::drop::", ""),
    ("core::ops::index::", ""),
    ("core::pin::", ""),
    ("core::str::traits::", ""),
    ("std::io::error::", "io::"),
    ("std::path::", ""),
    ("bytes::bytes::Bytes", "Bytes"),
    ("futures_core::stream::Stream", "Stream"),
    ("serde_core::ser::Serialize", "Serialize"),
    ("tokio::io::async_read::AsyncRead", "AsyncRead"),
    ("tokio::io::async_write::AsyncWrite", "AsyncWrite"),
];
