//! A folder as model hubs want it: weights, configuration, model card, and a module that loads
//! them with PyTorch alone.

mod card; // README.md: what the network is, and how good
mod config; // config.json: the layers, for the module

use std::path::Path;

use anyhow::{Context, Result};

use super::tensors;
use super::weights::Weights;
use crate::files::{is_there, write_whole};
use crate::print;

const MODULE: &str = include_str!("hub/modeling_alexnet.py");
const CARD: &str = "README.md";

/// Writes the folder. Files of an earlier export are replaced, except the model card, which people
/// edit.
pub(super) fn write(weights: &Weights, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("the folder {} can't be made", folder.display()))?;
    tensors::write(weights, &folder.join("model.safetensors"))?;
    let config = serde_json::to_vec_pretty(&config::config(weights))?;
    write_whole(&folder.join("config.json"), &config)?;
    write_whole(&folder.join("modeling_alexnet.py"), MODULE.as_bytes())?;
    let card = folder.join(CARD);
    if is_there(&card)? {
        print::note(format_args!(
            "{} is there already and stays as it is: remove it first to get a new one",
            print::path(&card)
        ));
        return Ok(());
    }
    write_whole(&card, card::card(weights)?.as_bytes())
}
