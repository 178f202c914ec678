//! The words around the code are true.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every crate has a configuration and errors; a map that lists them says nothing.
const EVERYWHERE: [&str; 3] = ["config", "error", "tests"];

#[test]
fn the_map_names_every_module() {
    let map = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    assert!(map.lines().count() <= 150, "a map is short");
    for home in ["proto", "proto/model", "loader", "gpu-worker", "coordinator", "deploy/cli"] {
        let contents = std::fs::read_to_string(root().join(home).join("src/lib.rs")).unwrap();
        let modules = contents.lines().filter_map(|line| {
            let name = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            name.strip_prefix("mod ")?.split_once(';').map(|(module, _)| module)
        });
        let mut some = false;
        for module in modules.filter(|module| !EVERYWHERE.contains(module)) {
            some = true;
            assert!(map.contains(&format!("`{module}`")), "ARCHITECTURE.md: {home}/{module}?");
        }
        assert!(some, "{home} has modules");
    }
}

#[test]
fn the_readme_names_every_recipe_and_its_commands_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    for recipe in model::recipe::Recipe::builtin_names() {
        assert!(readme.contains(&format!("`{recipe}`")), "README.md: recipe {recipe}?");
    }
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_alexnet-under-test"))
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for command in readme.lines().filter_map(|line| line.strip_prefix("alexnet ")) {
        let command = command.split_whitespace().next().unwrap();
        assert!(help.contains(&format!("  {command} ")), "README.md: alexnet {command}?");
    }
}

/// `unsafe` is allowed where its argument stands, and nowhere else.
#[test]
fn unsafe_is_only_where_the_product_library_is_called() {
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
    assert_eq!(found, [Path::new("gpu-worker/src/backend/cpu/product.rs")]);
}
