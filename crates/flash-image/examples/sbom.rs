//! The bill of materials of a program of this workspace, for `cargo xtask dist`: `sbom PACKAGE TRIPLE < MESSAGES > FILE`.
//!
//! MESSAGES are those of the build of the program (`--message-format json`): they tell which crates are in it.
use std::{
    collections::HashSet,
    error::Error,
    io::{self, Write as _},
};

use cargo_metadata::{CargoOpt, Message, MetadataCommand};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(package), Some(triple)) = (arguments.next(), arguments.next()) else {
        return Err("usage: sbom PACKAGE TRIPLE < MESSAGES".into());
    };
    let mut compiled = HashSet::new();
    for message in Message::parse_stream(io::stdin().lock()) {
        if let Message::CompilerArtifact(artifact) = message? {
            compiled.insert(artifact.package_id);
        }
    }
    let metadata = MetadataCommand::new()
        .features(CargoOpt::SomeFeatures(Vec::new()))
        .other_options(["--locked".to_owned(), "--filter-platform".to_owned(), triple])
        .exec()?;
    io::stdout().write_all(&flash_image::sbom(&metadata, &package, Some(&compiled))?)?;
    Ok(())
}
