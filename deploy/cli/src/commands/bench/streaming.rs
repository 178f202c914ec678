//! A loader by itself: images per second, and images per second of CPU time.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use model::recipe::Recipe;
use net::Trust;
use proto::MESSAGE_LIMIT;
use proto::wire::loader_client::LoaderClient;
use proto::wire::{BatchRequest, DescribeRequest, Split};
use tonic::transport::Channel;

use crate::options::DEFAULT_SEED;
use crate::up::{ChildCommand, logs};

/// A mean image of side 2,048.
const DESCRIPTION_LIMIT: usize = 64 << 20;
/// `/proc` counts CPU time in hundredths of a second, on every Linux there is.
const TICKS_PER_SECOND: f64 = 100.0;

/// Speed of a loader, in images per second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// By the clock.
    pub rate: f64,
    /// Per second of CPU time that the loader used.
    pub per_core: f64,
}

/// Starts a loader with one thread, takes minibatches for some seconds, ends it.
pub(super) async fn measure(
    data: &str,
    recipe: &Recipe,
    measured: Duration,
    folder: &Path,
) -> Result<Rate> {
    let logs = logs(folder)?;
    let args = ["loader", "--with-parent", "--data", data, "--threads", "1"];
    let command = ChildCommand::new("loader-alone", &logs, args.map(Into::into).into());
    let loader = command.start().await?;
    let mut client =
        LoaderClient::new(Trust::default().dial(net::Role::Loader, &loader.address).await?)
            .max_decoding_message_size(DESCRIPTION_LIMIT.max(MESSAGE_LIMIT));
    let about = client.describe(DescribeRequest {}).await?.into_inner();
    let mut request = BatchRequest {
        data_set: about.digest,
        split: Split::Train.into(),
        step: 0,
        n_images: recipe.batch as u32,
        seed: DEFAULT_SEED,
        crop: recipe.crop as u32,
        crop_offsets: recipe.crop_offsets as u32,
        flip: recipe.flip,
        color_noise: recipe.color_noise,
        view: 0,
        traced: false,
        next_step: None,
    };
    take(&mut client, &mut request).await?; // the first one fills caches
    let pid = loader.pid().context("the loader ended during the measurement")?;
    let (started, busy, mut images) = (Instant::now(), cpu_seconds(pid)?, 0.0);
    while images == 0.0 || started.elapsed() < measured {
        take(&mut client, &mut request).await?;
        images += recipe.batch as f64;
    }
    let (rate, per_core) = (images / started.elapsed().as_secs_f64(), images / since(pid, busy)?);
    loader.finish(Duration::ZERO).await;
    Ok(Rate { rate, per_core })
}

async fn take(client: &mut LoaderClient<Channel>, request: &mut BatchRequest) -> Result<()> {
    let mut parts = client.batch(request.clone()).await?.into_inner();
    while parts.message().await?.is_some() {}
    request.step += 1;
    request.next_step = Some(request.step + 1);
    Ok(())
}

/// CPU time of a process since it had used `before`; at least the shortest that is counted.
pub(super) fn since(pid: u32, before: f64) -> Result<f64> {
    Ok((cpu_seconds(pid)? - before).max(1.0 / TICKS_PER_SECOND))
}

/// Seconds of CPU time that a process has used.
pub(super) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    busy(&stat).context("/proc/PID/stat has an unknown format")
}

/// User and system time in `/proc/PID/stat`, fields 14 and 15; the name before them may hold
/// anything, but ends at the last parenthesis.
fn busy(stat: &str) -> Option<f64> {
    let after_name = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let ticks = |i: usize| fields.get(i)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read_whatever_the_program_is_called() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0 1 1 1";
        assert_eq!(busy(stat), Some(2.0));
        assert_eq!(busy("7 (x"), None);
    }
}
