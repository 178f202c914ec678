//! stub
use crate::args::*;
use anyhow::Result;
pub(crate) fn run(_a: &BenchArgs) -> Result<()> {
    Ok(())
}
pub(crate) fn product_rate(_a: &ProductRateArgs) -> Result<()> {
    Ok(())
}
