//! Changes of the recipe, and the course of a run: shared by `up` and `coordinator`.

use clap::Args;

/// The seed if none is given: the year of the paper.
pub(crate) const DEFAULT_SEED: u64 = 2012;

/// Changes of the recipe, the length of a run, its checkpoints and its timed steps.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrainingArgs {
    /// Change one value of the recipe, such as --set dropout=0 --set lrn=none
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,

    /// Encoding of tensors between the halves: f32, or f16 for half the bytes; short for --set
    /// wire=…
    #[arg(long, value_name = "f32|f16")]
    wire: Option<String>,

    /// Start a new run from the weights of another run, or of a file that `export` wrote, instead
    /// of initial values
    ///
    /// Layers of another size, such as fc8 with another number of classes, begin anew, and so does
    /// the last layer if its classes have other names. The run directory keeps the weights.
    #[arg(long, value_name = "RUN|FILE")]
    pub(crate) from: Option<String>,

    /// Begin the run anew, from step 0, if it had checkpoints and none of them can be used
    ///
    /// Existing files are set aside: checkpoints.before, metrics.jsonl.before and so on. A run that
    /// has a whole checkpoint is resumed all the same.
    #[arg(long)]
    from_start: bool,

    /// Stop after this many epochs [default: the recipe's]
    #[arg(long, conflicts_with = "steps")]
    epochs: Option<u64>,

    /// Stop after this many steps
    #[arg(long)]
    steps: Option<u64>,

    /// Steps between two checkpoints; a new best evaluation and the end write one too
    /// [default: 200]
    #[arg(long, value_name = "STEPS")]
    checkpoint_every: Option<u64>,

    /// Steps between two that are timed layer by layer; steps 2 to 4 are timed too; 0 times none
    /// [default: 50]
    #[arg(long, value_name = "STEPS")]
    timing_every: Option<u64>,

    /// Checkpoints to keep besides the best one [default: 3]
    #[arg(long, value_name = "N")]
    keep: Option<usize>,
}

impl TrainingArgs {
    /// All changes of the recipe as `key=value`; `--wire` comes last, so that it wins.
    pub(crate) fn changes(&self) -> Vec<String> {
        let wire = self.wire.as_ref().map(|wire| format!("wire={wire}"));
        self.sets.iter().cloned().chain(wire).collect()
    }

    /// Writes what was typed into the coordinator's configuration.
    pub(crate) fn set(&self, config: &mut coordinator::Config) {
        let steps = self.steps.map(coordinator::Until::Steps);
        config.from_start = self.from_start;
        config.until = steps.or(self.epochs.map(coordinator::Until::Epochs));
        config.checkpoint_every = self.checkpoint_every.unwrap_or(config.checkpoint_every);
        config.timing_every = self.timing_every.unwrap_or(config.timing_every);
        config.keep = self.keep.unwrap_or(config.keep);
    }
}
