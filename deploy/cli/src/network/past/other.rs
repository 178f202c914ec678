//! The first tensor of a step that a half sent with other bits than are computed here. It names the
//! half to blame, since all that follows from a wrong tensor is wrong in the other half, too.

use coordinator::metrics::Sent;
use coordinator::run_dir::Seated;
use gpu_worker::exchange::Direction;
use gpu_worker::step::Done;
use model::halves::{Half, Partition};
use proto::step::{first_difference, packed};

/// The reason why other bits alone prove nothing.
pub(super) const PROMISE: &str = "The same bits are promised for the same kind of device and the \
     same build of the program only (docs/repeatability.md); if these are the same, one of the two \
     computed wrongly";

/// A tensor that has other bits on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Other {
    /// The halves that sent one; both if neither did so before the other.
    halves: Vec<Half>,
    at: &'static str,
    direction: Direction,
    /// True for the first tensor that a half sends in a step.
    is_first: bool,
}

/// Compares what both halves sent with what each receives here from the other, in the order of the
/// step.
pub(super) fn first(sent: &[Sent; 2], [a, b]: [&Done; 2]) -> Option<Other> {
    let directions = [Direction::Forward, Direction::Backward];
    directions.into_iter().find_map(|direction| {
        let of = |sent: &Sent| match direction {
            Direction::Forward => sent.forward,
            Direction::Backward => sent.backward,
        };
        // What half A sent is what half B received.
        let other = |sent: &Sent, receiver: &Done| {
            let here = receiver.checksums(direction);
            first_difference(of(sent), packed(&here), here.len())
        };
        let differ = [(Half::A, other(&sent[0], b)), (Half::B, other(&sent[1], a))];
        let first = differ.iter().filter_map(|(_, point)| *point).min()?;
        let halves = differ.into_iter().filter(|(_, point)| *point == Some(first));
        Some(Other {
            halves: halves.map(|(half, _)| half).collect(),
            at: points(a, direction).nth(first)?,
            direction,
            is_first: first == 0 && direction == Direction::Forward,
        })
    })
}

/// The exchange points of a step in one direction, in order.
fn points(done: &Done, direction: Direction) -> impl Iterator<Item = &'static str> {
    done.exchange.iter().filter(move |point| point.direction == direction).map(|point| point.at)
}

impl Other {
    /// A sentence that names the tensor, the half, and the device on which that half was last.
    pub(super) fn in_words(&self, step: u64, seats: &[Seated]) -> String {
        let halves: Vec<_> = self.halves.iter().map(|half| Partition::Half(*half)).collect();
        let tensor = match (self.at, self.direction) {
            ("logits", _) => "other logits".to_owned(),
            (at, Direction::Forward) => format!("other activations to {at}"),
            (at, Direction::Backward) => format!("other gradients of {at}'s inputs"),
        };
        let before = match self.is_first {
            true => format!("The error is in these layers or in the update of step {}", step - 1),
            false => "All that was sent before has the bits on record".to_owned(),
        };
        format!(
            "step {step}: {} sent {tensor} than are computed here. {before}. {PROMISE}",
            with_devices(&halves, seats)
        )
    }
}

/// A sentence about a checkpoint with other weights or momentum than are computed here, while all
/// that was sent in its step has the bits on record.
pub(super) fn weights_in_words(differ: &[Partition], step: u64, seats: &[Seated]) -> String {
    format!(
        "step {step}: {} left other weights or momentum in the checkpoint than are computed here. \
         The loss and all that was sent have the bits on record, so the error is in the gradients \
         or in the update of this step. {PROMISE}",
        with_devices(differ, seats)
    )
}

/// `half A on DEVICE and half B on DEVICE`.
fn with_devices(partitions: &[Partition], seats: &[Seated]) -> String {
    let on = |partition: &Partition| {
        let seat = seats.iter().find(|seat| seat.partition == partition.label());
        format!("{partition} on {}", seat.map_or("an unknown device", |seat| &seat.device))
    };
    partitions.iter().map(on).collect::<Vec<_>>().join(" and ")
}
