//! The state of a run as one JSON object, for scripts.

use proto::status::{LoaderStatus, Standing, WorkerStatus};
use proto::wire::RunStatus;
use serde_json::{Value, json};

/// Prints the object; `phase` is one word.
pub(super) fn print(status: &RunStatus, phase: &str, best_error: Option<f64>) {
    crate::print::line(object(status, phase, best_error));
}

/// Numbers that are not known yet are null. A number that is not finite is null as well, since JSON
/// has none.
fn object(status: &RunStatus, phase: &str, best_error: Option<f64>) -> Value {
    let latest = status.latest.as_ref().filter(|_| status.step > 0);
    let workers = status.workers.iter().cloned().map(WorkerStatus::from);
    let loaders = status.loaders.iter().cloned().map(LoaderStatus::from);
    json!({
        "run_id": status.run_id,
        "run_dir": status.run_dir,
        "phase": phase,
        "incarnation": status.incarnation,
        "step": status.step,
        "steps": (status.steps > 0).then_some(status.steps),
        "epoch": status.epoch,
        "loss": latest.map(|step| step.loss),
        "top1_error": latest.map(|step| step.top1_error),
        "validation_top1_error": status.evaluated.then_some(status.eval_top1_error),
        "best_top1_error": best_error,
        "images_per_s": latest.map(|_| status.images_per_s),
        "rate": status.rate,
        "checkpoint_step": status.checkpoint_step,
        "workers": workers.map(worker).collect::<Vec<_>>(),
        "loaders": loaders.map(loader).collect::<Vec<_>>(),
        "notices": status.notices,
    })
}

/// `seat` is the partition, such as `half A`, or `standby`.
fn worker(worker: WorkerStatus) -> Value {
    let seat = worker.partition.map_or("standby".into(), |partition| partition.to_string());
    json!({ "seat": seat, "device": worker.device, "address": worker.address })
}

fn loader(loader: LoaderStatus) -> Value {
    let standing = match loader.standing {
        Standing::Slow => "slow",
        Standing::Refused => "refused",
        Standing::Good | Standing::Unspecified => "good",
    };
    json!({ "address": loader.address, "standing": standing, "why": loader.why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_without_a_step_has_no_numbers_of_one_and_no_number_is_nan() {
        let status = RunStatus { run_id: "r".into(), steps: 7, ..RunStatus::default() };
        let fresh = object(&status, "waiting", None);
        assert_eq!((&fresh["phase"], &fresh["steps"]), (&"waiting".into(), &7.into()));
        for absent in ["loss", "top1_error", "images_per_s", "validation_top1_error"] {
            assert_eq!(fresh[absent], Value::Null, "{absent}");
        }
        let latest =
            proto::wire::StepDone { loss: f64::NAN, top1_error: 0.5, ..Default::default() };
        let status = RunStatus { step: 3, latest: Some(latest), ..status };
        let diverged = object(&status, "training", None);
        assert_eq!((&diverged["loss"], &diverged["top1_error"]), (&Value::Null, &0.5.into()));
    }
}
