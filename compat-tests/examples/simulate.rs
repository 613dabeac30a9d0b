//! `serf simulate` as a program of its own.

use std::io::{self, Write};

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let code = ruserf::sim::command::run(&args, &mut io::stdout(), &mut io::stderr())?;
    io::stdout().flush()?;
    std::process::exit(code);
}
