//! Starts the services that tests share, prints what the environment of the tests is to say of them, a `NAME=value` a
//! line and then an empty one, and ends them when its standard input does: with whatever started it, however that ends.
//!
//! `tests/run` runs it.

use std::io::{Read, Write};

use tollgate_e2e::service::Shared;

fn main() -> std::io::Result<()> {
    let services = Shared::start();
    let lines = services.variables().map(|(name, value)| format!("{name}={value}\n")).concat();
    let mut output = std::io::stdout();
    output.write_all(format!("{lines}\n").as_bytes())?;
    output.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    drop(services);
    Ok(())
}
