//! Writes the seeds of all targets: `seeds DIRECTORY` fills `DIRECTORY/TARGET/`.
//!
//! They are made by code, where they can be read. Called by `run`; what a fuzzer has found already
//! stays where it is.

use std::path::Path;
use std::{env, fs};

use roomwire_fuzz::{client, target};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = env::args_os().nth(1).ok_or("usage: seeds DIRECTORY")?;
    let own = target::ALL.iter().map(|it| (it.name, (it.seeds)()));
    for (name, seeds) in own.chain([("client", client::seeds())]) {
        let place = Path::new(&directory).join(name);
        fs::create_dir_all(&place)?;
        for (seed, number) in seeds.iter().zip(1..) {
            fs::write(place.join(format!("seed-{number:02}")), seed)?;
        }
    }
    Ok(())
}
