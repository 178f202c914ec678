//! Numbers over steps or epochs, made ready to be drawn.

use crate::metrics::{Metrics, Step};

/// Most points of a raw curve.
const MOST_POINTS: usize = 4000;

/// Points of a curve.
pub(super) type Points = Vec<(f64, f64)>;

/// A value of each step, without NaN (of a run that diverged).
pub(super) fn points(metrics: &Metrics, at: impl Fn(&Step) -> (f64, f64)) -> Points {
    let every = metrics.steps.len().div_ceil(MOST_POINTS).max(1);
    let all = metrics.steps.iter().map(at);
    all.filter(|(_, v)| v.is_finite()).step_by(every).collect()
}

/// The mean over a window around each point, a twentieth of the run wide: no lag, unlike a mean
/// over what came before. At both ends the window lacks a side.
pub(super) fn smoothed(points: &Points) -> Points {
    let reach = points.len() / 40;
    let mean_at = |i: usize| {
        let window = &points[i.saturating_sub(reach)..points.len().min(i + reach + 1)];
        window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64
    };
    points.iter().enumerate().map(|(i, p)| (p.0, mean_at(i))).collect()
}

/// The largest value, and at least the smallest end of an axis.
pub(super) fn high<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> f64 {
    points.map(|p| p.1).filter(|v| v.is_finite()).fold(1e-3, f64::max)
}

/// Height of a curve at `x`, between its neighboring points.
pub(super) fn height(points: &Points, x: f64) -> Option<f64> {
    let after = points.partition_point(|p| p.0 <= x);
    let before = points.get(after.checked_sub(1)?)?;
    let slope = |next: &(f64, f64)| (next.1 - before.1) / (next.0 - before.0);
    Some(before.1 + points.get(after).map_or(0.0, slope) * (x - before.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_a_constant_changes_nothing() {
        let flat: Points = (0..100).map(|i| (f64::from(i), 3.0)).collect();
        assert!(smoothed(&flat).iter().all(|p| (p.1 - 3.0).abs() < 1e-12));
    }

    #[test]
    fn a_height_lies_between_its_neighbors_and_a_curve_has_none_before_it_begins() {
        let curve: Points = vec![(1.0, 10.0), (3.0, 20.0)];
        let heights = [0.5, 1.0, 2.0, 3.0, 9.0].map(|x| height(&curve, x));
        assert_eq!(heights, [None, Some(10.0), Some(15.0), Some(20.0), Some(20.0)]);
        assert_eq!(height(&Points::new(), 1.0), None);
    }
}
