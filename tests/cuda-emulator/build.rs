//! Gives the library the name that programs look for, so that one loaded early is found by it. Its
//! file is called otherwise: cargo puts the folder it lies in on the library path of what it runs,
//! and `cargo run -- up` must not take it for a GPU.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
    println!("cargo:rerun-if-changed=build.rs");
}
