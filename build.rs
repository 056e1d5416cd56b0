//! Compiles the interface with a compiler that is a crate, so that a build needs nothing but Rust.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["streamgate/v1/event_store.proto", "streamgate/v1/migration.proto"];
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(files, ["proto"])?;

    // Reflection serves the same descriptors that the code was made from.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;

    tonic_prost_build::configure()
        .bytes(".streamgate.v1")
        // Maps move into and out of our own values without being rebuilt.
        .btree_map(".streamgate.v1")
        .extern_path(".google.rpc.Status", "::tonic_types::Status")
        .compile_fds(descriptors)?;
    Ok(())
}
