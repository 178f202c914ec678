//! Reads the newest checkpoint of a run directory and prints what its tensors hold.
//!
//! `cargo run --release --example read_checkpoint -- runs/demo-synthetic`

#![expect(clippy::print_stdout, reason = "an example shows its results")]

use coordinator::run_dir::RunDir;
use safetensors::SafeTensors;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path =
        std::env::args().nth(1).ok_or("name a run directory, such as runs/demo-synthetic")?;
    let dir = RunDir::open(path.as_ref())?;
    let (manifest, damaged) = dir.newest()?;
    damaged.iter().for_each(|why| eprintln!("passed over: {why}"));
    println!("{}, step {}", dir.recipe.name, manifest.step);
    for i in 0..manifest.shards.len() {
        let Some(file) = manifest.shard_path(&dir.path, i) else { continue };
        let bytes = std::fs::read(&file)?;
        println!("{}", file.display());
        for (name, tensor) in SafeTensors::deserialize(&bytes)?.tensors() {
            let floats = proto::chunk::bytes_to_floats(tensor.data()).ok_or("whole floats")?;
            let squares: f64 = floats.iter().map(|v| f64::from(*v).powi(2)).sum();
            println!("  {name:24} {:?}  norm {:.4}", tensor.shape(), squares.sqrt());
        }
    }
    Ok(())
}
