//! Schema to Rust by protox: no protoc needed.

const SCHEMA: [&str; 6] = [
    "tensor.proto",
    "timing.proto",
    "exchange.proto",
    "loader.proto",
    "worker.proto",
    "coordinator.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=schema");
    let files = protox::compile(SCHEMA, ["schema"])?;
    // `bytes`: a received tensor is a view of the receive buffer, not a copy.
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
