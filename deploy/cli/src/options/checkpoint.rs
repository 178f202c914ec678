//! Choice of a checkpoint and of the views: shared by all commands that use a trained network.

use clap::Args;

/// A checkpoint of a run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct CheckpointArgs {
    /// Checkpoint to use: best, last or a step number
    #[arg(long = "checkpoint", default_value = "best", value_name = "WHICH")]
    pub which: WhichCheckpoint,
}

/// A checkpoint of a run, and its views of a picture.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct TrainedArgs {
    /// Views of each picture: 1 (the center) or 10 (center and corners, also mirrored, averaged as
    /// in the paper)
    #[arg(long, default_value_t = 1, value_parser = views)]
    pub views: u32,

    /// Choice of the checkpoint.
    #[command(flatten)]
    pub checkpoint: CheckpointArgs,
}

/// The choice of one checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhichCheckpoint {
    /// Lowest validation error.
    Best,
    /// The newest.
    Last,
    /// After this many steps.
    Step(u64),
}

impl std::str::FromStr for WhichCheckpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "last" => Ok(Self::Last),
            number => number
                .parse()
                .map(Self::Step)
                .map_err(|_| "expected best, last or a step number such as 450".into()),
        }
    }
}

fn views(text: &str) -> Result<u32, String> {
    match text {
        "1" => Ok(1),
        "10" => Ok(10),
        _ => Err("expected 1 (the center) or 10 (the paper's views)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_best_last_or_a_step() {
        assert_eq!("best".parse(), Ok(WhichCheckpoint::Best));
        assert_eq!("last".parse(), Ok(WhichCheckpoint::Last));
        assert_eq!("450".parse(), Ok(WhichCheckpoint::Step(450)));
        let refused = "newest".parse::<WhichCheckpoint>().unwrap_err();
        assert!(refused.contains("best"), "{refused}");
    }

    #[test]
    fn views_are_one_or_ten() {
        assert_eq!((views("1"), views("10")), (Ok(1), Ok(10)));
        let refused = views("5").unwrap_err();
        assert!(refused.contains("the paper's"), "{refused}");
    }
}
