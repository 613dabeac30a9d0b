//! Prints the public items of the crate whose rustdoc JSON is named, one a line.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let json: PathBuf = std::env::args_os().nth(1).ok_or("usage: ruserf-public-api FILE")?.into();
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()?;
    print!("{api}");
    Ok(())
}
