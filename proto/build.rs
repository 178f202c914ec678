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
    let mut build = tonic_prost_build::configure().bytes(".");
    // A line of `timing.jsonl` is made of these; zeros are left out.
    const LAYER_TIME: &str = ".alexnet.v1.LayerTime";
    let serde = "#[derive(serde::Serialize, serde::Deserialize)] #[serde(default)]";
    build = build.type_attribute(LAYER_TIME, serde);
    for field in
        ["compute_ms", "transfer_ms", "wait_ms", "peer_late_ms", "bytes", "gb_per_s", "gflop_per_s"]
    {
        let skip = r#"#[serde(skip_serializing_if = "crate::step::is_zero")]"#;
        build = build.field_attribute(format!("{LAYER_TIME}.{field}"), skip);
    }
    build.compile_fds(files)?;
    Ok(())
}
