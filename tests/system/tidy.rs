//! The words around the code are true.

mod circles; // modules depend in one direction
mod words; // one spelling, comments that stand alone, pages of a readable size

use std::path::{Path, PathBuf};

use crate::program;

fn root() -> PathBuf {
    cuda_emulator::root().canonicalize().unwrap()
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_page_on_recipes_names_every_recipe_and_every_key() {
    let recipes = page("docs/recipes.md");
    for recipe in model::recipe::Recipe::builtin_names() {
        assert!(recipes.contains(&format!("`{recipe}`")), "docs/recipes.md: recipe {recipe}?");
    }
    let paper: toml::Table = model::recipe::Recipe::default().to_toml().parse().unwrap();
    let mut some = 0;
    for key in paper.keys().filter(|key| *key != "name") {
        some += 1;
        assert!(recipes.contains(&format!("`{key}`")), "docs/recipes.md: key {key}?");
    }
    assert!(some > 30, "{some} keys");
}

#[test]
fn every_command_that_a_page_shows_exists() {
    let help = std::process::Command::new(program()).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let pages = ["README.md", "docs/pictures.md", "docs/recipes.md", "docs/gpus.md"];
    let pages = pages.into_iter().chain(["docs/machines.md", "docs/timing.md", "docs/watching.md"]);
    let pages = pages.chain(["docs/after-training.md", "docs/exchange-formats.md"]);
    let mut some = 0;
    for name in pages {
        for command in page(name).lines().filter_map(|line| line.strip_prefix("alexnet ")) {
            some += 1;
            let command = command.split_whitespace().next().unwrap();
            assert!(help.contains(&format!("  {command} ")), "{name}: alexnet {command}?");
        }
    }
    assert!(some > 10, "{some} commands");
}

/// `unsafe` is allowed where its argument stands, and nowhere else.
#[test]
fn unsafe_is_only_where_the_product_library_and_the_gpu_are_called() {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "runs" {
                folders.push(path);
            } else if name.ends_with(".rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let block = concat!("unsafe", " {");
                if text.contains(block) {
                    found.push(path.strip_prefix(root()).unwrap().to_path_buf());
                }
            }
        }
    }
    let allowed = [
        "gpu-worker/src/backend/cpu/gemm.rs",
        "gpu-worker/src/backend/cuda",
        "tests/cuda-emulator",
        "tests/fuzz/memory.rs",
        "tests/harness/freeze.rs",
    ];
    found.retain(|path| !allowed.iter().any(|allowed| path.starts_with(allowed)));
    // Not the whole folder of the GPU only by chance: its root file has a block too.
    assert_eq!(found, [Path::new("gpu-worker/src/backend/cuda.rs")]);
}

fn kernel_files() -> Vec<(String, String)> {
    let folder = root().join("gpu-worker/kernels");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|e| e == "cu"));
    let name = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
    files.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

#[test]
fn every_kernel_file_opens_with_the_five_words() {
    for (name, text) in kernel_files() {
        assert!(text.starts_with(&format!("// {name}.cu — ")), "{name}.cu: its first line");
        let comment: Vec<&str> = text.lines().take_while(|line| line.starts_with("//")).collect();
        for word in ["Math", "Shapes", "Launch", "Result", "Twin"] {
            let begins = format!("// {word:<8}");
            assert!(comment.iter().any(|line| line.starts_with(&begins)), "{name}.cu: no {word}");
        }
    }
}

/// Every `src/…rs` that a kernel file names as its twin is there, and is the CPU's or the model's.
#[test]
fn every_kernel_has_a_cpu_twin() {
    for (name, text) in kernel_files() {
        let twin = text.lines().find_map(|line| line.strip_prefix("// Twin    ")).unwrap();
        let path = twin.split([',', ';', ' ']).next().unwrap().trim_end_matches('.');
        let path = format!("{}.rs", path.trim_end_matches(".rs"));
        let there = [root().join("gpu-worker").join(&path), root().join(&path)];
        assert!(there.iter().any(|path| path.is_file()), "{name}.cu: {path} is not there");
    }
}

#[test]
fn every_kernel_is_listed_with_its_program() {
    let files = kernel_files();
    let mut preludes = Vec::new();
    for program in gpu_worker::backend::cuda::program::PROGRAMS {
        preludes.extend(program.prelude.iter().map(|(name, _)| *name));
        let (_, text) = files.iter().find(|(name, _)| name == program.name).unwrap();
        let defined = text.matches("__global__").count();
        assert_eq!(defined, program.kernels.len(), "{}.cu", program.name);
        for kernel in program.kernels {
            assert!(text.contains(&format!(" {kernel}(")), "{}.cu has no {kernel}", program.name);
        }
    }
    for (name, _) in &files {
        let listed = gpu_worker::backend::cuda::program::PROGRAMS.iter().any(|p| p.name == name);
        assert!(listed || preludes.contains(&name.as_str()), "{name}.cu is never compiled");
    }
}

/// Every crate that the program is built from has a license that `deny.toml` allows, and comes from
/// the one registry. (`cargo deny check` reads the same file and says
/// more.)
#[test]
fn every_dependency_has_an_allowed_license_and_comes_from_the_registry() {
    let deny: toml::Value =
        toml::from_str(&std::fs::read_to_string(root().join("deny.toml")).unwrap()).unwrap();
    let allowed: Vec<&str> = deny["licenses"]["allow"]
        .as_array()
        .unwrap()
        .iter()
        .map(|license| license.as_str().unwrap())
        .collect();
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let (mut used, mut others) = (std::collections::BTreeSet::new(), 0);
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some(source) = package["source"].as_str() else { continue }; // our own
        others += 1;
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
        let license = package["license"].as_str().unwrap_or_default();
        let mode = spdx::ParseMode::LAX;
        let terms = spdx::Expression::parse_mode(license, mode)
            .unwrap_or_else(|e| panic!("{name}: {license:?}: {e}"));
        let fits = terms.evaluate(|term| {
            let term = term.to_string();
            let fits = allowed.contains(&term.as_str());
            used.extend(fits.then_some(term));
            fits
        });
        assert!(fits, "{name} is under {license}, deny.toml allows {allowed:?}");
    }
    assert!(others > 100, "{others} crates");
    let unused: Vec<_> = allowed.iter().filter(|license| !used.contains(**license)).collect();
    assert!(unused.is_empty(), "no crate needs {unused:?}");
}
