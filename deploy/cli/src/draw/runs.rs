//! Errors and loss of several runs over their epochs, as one SVG and one PNG.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use plotters::prelude::*;

use super::canvas::{self, Area, GRAY, INK, Write, drawing, ending};
use super::panel::{Axes, Numbers, Panel};
use super::series::{self, Points, height, high, smoothed};
use crate::metrics::{Eval, Metrics, Step};
use crate::print;

const SIZE: (u32, u32) = (1600, 1300);
const HEAD: i32 = 76;
/// Room for the names of the runs, right of the diagrams.
const NAMES: u32 = 360;
/// Room for the name of a diagram, above it.
const ABOVE: i32 = 52;
/// Least distance of two names.
const LINE: i32 = 30;

/// Colors that people tell apart, however they see colors (Okabe and Ito).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(60, 60, 60),
];

/// A run to be drawn.
#[derive(Debug)]
pub(crate) struct Run {
    /// Name of the run.
    pub name: String,
    /// Steps and evaluations.
    pub metrics: Metrics,
}

/// One diagram: what it shows of a step and of an evaluation, and how numbers are written.
struct Shown<'a> {
    title: &'a str,
    of_step: fn(&Step) -> f64,
    of_eval: fn(&Eval) -> f64,
    /// The end of the y axis may not be beyond this.
    most: f64,
    on_axis: Numbers<'a>,
    at_end: &'a dyn Fn(f64) -> String,
}

/// A run's curves in one diagram.
struct Curves {
    color: RGBColor,
    name: String,
    training: Points,
    validation: Points,
    /// Epochs at which the rate drops.
    drops: Vec<f64>,
}

impl Curves {
    fn new(run: &Run, color: RGBColor, shown: &Shown<'_>) -> Self {
        let evals = run.metrics.evals.iter().map(|e| (e.epoch, (shown.of_eval)(e)));
        Self {
            color,
            name: run.name.clone(),
            training: smoothed(&series::points(&run.metrics, |s| (s.epoch, (shown.of_step)(s)))),
            validation: evals.filter(|(_, v)| v.is_finite()).collect(),
            drops: run.metrics.rate_drops().map(|s| s.epoch).collect(),
        }
    }

    /// The curve that stands for the run: validation, if there was any.
    fn main(&self) -> &Points {
        if self.validation.is_empty() { &self.training } else { &self.validation }
    }
}

/// Writes `out`.svg and `out`.png.
///
/// # Errors
/// If a run has no step, there are too many runs, or a file can't be written.
pub(crate) fn draw(runs: &[Run], out: &Path) -> Result<[PathBuf; 2]> {
    if runs.len() > COLORS.len() {
        bail!("{} runs: at most {} can be told apart in one drawing", runs.len(), COLORS.len());
    }
    if let Some(run) = runs.iter().find(|run| run.metrics.steps.is_empty()) {
        bail!("{} has no finished step yet, so there is nothing to draw", run.name);
    }
    let (svg, png) = (ending(out, "svg"), ending(out, "png"));
    canvas::svg(&svg, SIZE, |area| page(area, runs))?;
    canvas::png(&png, SIZE, |area| page(area, runs))?;
    Ok([svg, png])
}

fn page<B: DrawingBackend>(area: &Area<B>, runs: &[Run]) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE).map_err(drawing)?;
    legend(area)?;
    let (_, body) = area.split_vertically(HEAD);
    let (above, below) = body.split_vertically((SIZE.1 as i32 - HEAD) * 55 / 100);
    let errors = Shown {
        title: "top-1 error, %",
        of_step: |s| 100.0 * s.figures.top1_error,
        of_eval: |e| 100.0 * e.top1_error,
        most: 100.0,
        on_axis: &|v| format!("{v:.0}"),
        at_end: &|v| format!("{v:.1} %"),
    };
    let loss = Shown {
        title: "loss",
        of_step: |s| s.figures.loss,
        of_eval: |e| e.loss,
        most: f64::INFINITY,
        on_axis: &|v| format!("{v:.1}"),
        at_end: &|v| format!("{v:.2}"),
    };
    diagram(area, &above, runs, &errors, "")?;
    diagram(area, &below, runs, &loss, "epoch")
}

/// Meaning of the kinds of curves, at the top.
fn legend<B: DrawingBackend>(area: &Area<B>) -> Result<()>
where
    B::ErrorType: 'static,
{
    let (mut x, y) = (90, 40);
    let text = Write::new(22).color(INK);
    let line = |x, color: RGBColor, width| {
        PathElement::new([(x, y), (x + 44, y)], color.stroke_width(width))
    };
    area.draw(&line(x, GRAY, 4)).map_err(drawing)?;
    area.draw(&Circle::new((x + 22, y), 6, GRAY.filled())).map_err(drawing)?;
    x += 98 + text.at(area, "validation", (x + 56, y - 9))?;
    area.draw(&line(x, pale(GRAY), 3)).map_err(drawing)?;
    x += 98 + text.at(area, "training, smoothed", (x + 56, y - 9))?;
    area.draw(&triangle((x + 10, y + 8), GRAY)).map_err(drawing)?;
    text.at(area, "the learning rate drops", (x + 32, y - 9))?;
    Ok(())
}

fn diagram<B: DrawingBackend>(
    page: &Area<B>,
    area: &Area<B>,
    runs: &[Run],
    shown: &Shown<'_>,
    x_name: &str,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let curves: Vec<Curves> =
        runs.iter().zip(COLORS).map(|(run, color)| Curves::new(run, color, shown)).collect();
    let all = || curves.iter().flat_map(|c| [&c.training, &c.validation]);
    let top = (1.08 * high(all().flatten())).min(shown.most);
    let last = |points: &&Points| points.last().map_or(0.0, |p| p.0);
    let end = all().map(|points| last(&points)).fold(0.0, f64::max).max(1e-3);
    let (title, area) = area.split_vertically(ABOVE);
    Write::new(26).bold().at(&title, shown.title, (28, 14))?;
    let epochs = |v: &f64| match end {
        ..4.0 => format!("{v:.1}"),
        _ => format!("{v:.0}"),
    };
    let axes = Axes { x: (x_name, end, &epochs), y: ("", 0.0..top, shown.on_axis), right: NAMES };
    let mut panel = Panel::new(&area, axes)?;
    for curve in &curves {
        panel.plain(&curve.training, pale(curve.color), 3)?;
    }
    for curve in &curves {
        panel.dots(&curve.validation, curve.color, 4, None)?;
    }
    for curve in &curves {
        let at = |x: &f64| Some((*x, height(curve.main(), *x)?));
        for point in curve.drops.iter().filter_map(at) {
            let (x, y) = panel.chart.backend_coord(&point);
            page.draw(&triangle((x, y - 9), curve.color)).map_err(drawing)?;
        }
    }
    names(page, &panel, &curves, shown)
}

/// Writes each run's name and last value where its curve ends.
fn names<B: DrawingBackend>(
    page: &Area<B>,
    panel: &Panel<'_, B>,
    curves: &[Curves],
    shown: &Shown<'_>,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let right = SIZE.0 as i32 - NAMES as i32;
    let mut ends: Vec<(i32, &Curves, f64)> = Vec::new();
    for curve in curves {
        if let Some(last) = curve.main().last() {
            ends.push((panel.chart.backend_coord(last).1, curve, last.1));
        }
    }
    ends.sort_by_key(|(y, ..)| *y);
    let bottom = panel.chart.backend_coord(&(0.0, 0.0)).1;
    let places = apart(&ends.iter().map(|(y, ..)| *y).collect::<Vec<_>>(), bottom);
    for (y, (_, curve, value)) in places.into_iter().zip(ends) {
        let text = Write::new(24).bold().color(curve.color);
        let value = (shown.at_end)(value);
        let room = NAMES as i32 - 40 - text.width(page, &value)?;
        let used = text.within(room).at(page, &curve.name, (right + 14, y - 8))?;
        text.at(page, &value, (right + 26 + used, y - 8))?;
    }
    Ok(())
}

/// Moves heights, which are in order, so far apart that a line of text fits between each two, and
/// the last one is not below `bottom`.
fn apart(heights: &[i32], bottom: i32) -> Vec<i32> {
    let mut places = heights.to_vec();
    for i in 1..places.len() {
        places[i] = places[i].max(places[i - 1] + LINE);
    }
    let mut most = bottom;
    for place in places.iter_mut().rev() {
        *place = (*place).min(most);
        most = *place - LINE;
    }
    places
}

/// A triangle that points down to `at`.
fn triangle((x, y): (i32, i32), color: RGBColor) -> Polygon<(i32, i32)> {
    Polygon::new(vec![(x, y), (x - 10, y - 18), (x + 10, y - 18)], color.filled())
}

/// A color mixed with white.
fn pale(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let mix = |part: u8| (0.42 * f64::from(part) + 0.58 * 255.0).round() as u8;
    RGBColor(mix(r), mix(g), mix(b))
}

/// Names of runs for one drawing: the last part of each path, or the whole path if two runs share
/// it.
pub(crate) fn names_of(runs: &[PathBuf]) -> Vec<String> {
    let last: Vec<String> = runs.iter().map(|run| print::last_part(run)).collect();
    let name = |(i, run): (usize, &PathBuf)| {
        let shared = last.iter().filter(|name| **name == last[i]).count() > 1;
        if shared { print::path(run) } else { last[i].clone() }
    };
    runs.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::curves::tests::course;

    fn runs(n: usize) -> Vec<Run> {
        let run = |i| Run { name: format!("run {i}"), metrics: course(300 + 100 * i as u64) };
        (0..n).map(run).collect()
    }

    #[test]
    fn each_run_has_its_color_its_name_and_a_mark_where_its_rate_drops() {
        let dir = tempfile::tempdir().unwrap();
        let [svg, png] = draw(&runs(3), &dir.path().join("all.png")).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        for word in ["run 0", "run 1", "run 2", "top-1 error", "epoch", "validation"] {
            assert!(text.contains(word), "{word} is not in the drawing");
        }
        assert_eq!(text.matches("<polygon").count(), 1 + 2 * 3, "one drop per run and diagram");
        let picture = image::open(png).unwrap().to_rgb8();
        for RGBColor(r, g, b) in &COLORS[..3] {
            assert!(picture.pixels().any(|p| p.0 == [*r, *g, *b]));
        }
    }

    #[test]
    fn too_many_runs_and_a_run_without_steps_are_refused() {
        let refused = draw(&runs(8), Path::new("x")).unwrap_err().to_string();
        assert!(refused.contains("at most 7"), "{refused}");
        let empty = Run { name: "new".into(), metrics: Metrics::default() };
        let refused = draw(&[empty], Path::new("x")).unwrap_err().to_string();
        assert!(refused.contains("new has no finished step"), "{refused}");
    }

    #[test]
    fn a_run_that_was_never_evaluated_and_one_that_diverged_can_be_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let mut runs = runs(2);
        runs[0].metrics.evals.clear();
        runs[1].metrics.steps.iter_mut().for_each(|s| s.figures.loss = f64::NAN);
        runs[1].metrics.evals.iter_mut().for_each(|e| e.loss = f64::NAN);
        draw(&runs, &dir.path().join("odd")).unwrap();
    }

    #[test]
    fn names_stay_in_order_and_apart_and_inside() {
        assert_eq!(apart(&[100, 105, 300], 400), [100, 130, 300]);
        assert_eq!(apart(&[380, 390, 399], 400), [340, 370, 400]);
    }

    #[test]
    fn runs_that_share_a_name_are_told_apart_by_their_paths() {
        let names = names_of(&["a/run".into(), "b/run".into(), "runs/c/".into()]);
        assert_eq!(names, ["a/run", "b/run", "c"]);
    }
}
