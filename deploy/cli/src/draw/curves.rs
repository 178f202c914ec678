//! Loss, errors and speed of a run over its steps, as one SVG and one PNG.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use plotters::prelude::*;

use super::canvas::{self, Area, GRAY, Write, drawing, ending};
use super::panel::{self, Axes, Corner, Numbers, Panel};
use super::series::{self, Points, high, smoothed};
use crate::metrics::{Eval, Metrics, Step};
use crate::print;

const WIDTH: u32 = 1400;
const HEAD: i32 = 72;
/// Height of one diagram.
const DIAGRAM: u32 = 476;
/// Colors of layers, from conv1 on.
const LAYERS: [RGBColor; 9] = [
    RGBColor(0, 114, 178),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(148, 196, 60),
    RGBColor(230, 159, 0),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(120, 70, 160),
    RGBColor(60, 60, 60),
];
const RAW: RGBColor = RGBColor(170, 200, 228);
const SMOOTH: RGBColor = RGBColor(23, 92, 156);
const VALIDATION: RGBColor = RGBColor(208, 88, 22);
const VALIDATION_5: RGBColor = RGBColor(122, 122, 122);

/// Writes `out`.svg and `out`.png.
///
/// # Errors
/// If there is no step to draw, or a file can't be written.
pub(crate) fn draw(metrics: &Metrics, title: &str, out: &Path) -> Result<[PathBuf; 2]> {
    if metrics.steps.is_empty() {
        bail!("the run has no finished step yet, so there is nothing to draw");
    }
    let (svg, png) = (ending(out, "svg"), ending(out, "png"));
    let size = (WIDTH, HEAD as u32 + DIAGRAM * if has_updates(metrics) { 4 } else { 3 });
    canvas::svg(&svg, size, |area| page(area, metrics, title))?;
    canvas::png(&png, size, |area| page(area, metrics, title))?;
    Ok([svg, png])
}

fn page<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics, title: &str) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE).map_err(drawing)?;
    let (_, body) = area.split_vertically(HEAD);
    let end = WIDTH as i32 - 32;
    let (last, epochs) = metrics.steps.last().map_or((0, 0.0), |s| (s.figures.step, s.epoch));
    let summary = format!("{} steps, {epochs:.1} epochs", print::thousands(last));
    let width = Write::new(23).color(GRAY).right().at(area, &summary, (end, 28))?;
    Write::new(32).bold().within(end - width - 60).at(area, title, (28, 22))?;
    let panels = body.split_evenly((if has_updates(metrics) { 4 } else { 3 }, 1));
    loss(&panels[0], metrics)?;
    errors(&panels[1], metrics)?;
    if has_updates(metrics) {
        updates(&panels[2], metrics)?;
    }
    speed(area, &panels[panels.len() - 1], metrics)
}

/// Returns true if evaluations have recorded how large weights and their changes are.
fn has_updates(metrics: &Metrics) -> bool {
    metrics.evals.iter().any(|eval| !eval.magnitudes.is_empty())
}

/// The size of the last change of each layer's weights, in relation to the weights.
fn updates<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics) -> Result<()>
where
    B::ErrorType: 'static,
{
    let layers: BTreeSet<&String> =
        metrics.evals.iter().flat_map(|eval| eval.magnitudes.keys()).collect();
    let of = |layer: &String| -> Points {
        let ratio = |eval: &Eval| {
            let means = eval.magnitudes.get(layer)?;
            let power = (means.updates / means.weights).log10();
            power.is_finite().then_some((eval.step as f64, power))
        };
        metrics.evals.iter().filter_map(ratio).collect()
    };
    let curves: Vec<(&String, Points)> =
        layers.into_iter().map(|layer| (layer, of(layer))).collect();
    let powers = || curves.iter().flat_map(|(_, points)| points.iter().map(|point| point.1));
    // Frozen layers have no change, and no curve.
    let (low, high) = match powers().next() {
        None => (-4.0, -2.0),
        Some(_) => (powers().fold(0.0, f64::min), powers().fold(-9.0, f64::max)),
    };
    let range = (low - 0.2)..(high + 0.8);
    let power = |v: &f64| format!("{:.1e}", 10_f64.powf(*v));
    let mut panel = panel(area, metrics, ("", "|change| / |weight|"), range, &power)?;
    for ((layer, points), color) in curves.iter().zip(LAYERS.iter().cycle()) {
        panel.dots(points, *color, 2, Some(layer))?;
    }
    panel.legend(Corner::Upper)
}

fn loss<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics) -> Result<()>
where
    B::ErrorType: 'static,
{
    let raw = points(metrics, |s| s.figures.loss);
    let smooth = smoothed(&raw);
    let evals: Points = metrics.evals.iter().map(|e| (e.step as f64, e.loss)).collect();
    // The axis fits the smoothed curve, not a single spike of the raw one.
    let top = high(smooth.iter().chain(&evals)) * 1.15;
    let mut panel = panel(area, metrics, ("", "loss"), 0.0..top, &|v| format!("{v:.1}"))?;
    panel.line(&raw, RAW, 1, "per minibatch")?;
    panel.line(&smooth, SMOOTH, 4, "smoothed")?;
    panel.dots(&evals, VALIDATION, 2, Some("validation"))?;
    panel.legend(Corner::Upper)
}

fn errors<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics) -> Result<()>
where
    B::ErrorType: 'static,
{
    let raw = points(metrics, |s| 100.0 * s.figures.top1_error);
    let top1: Points =
        metrics.evals.iter().map(|e| (e.step as f64, 100.0 * e.top1_error)).collect();
    let top5: Points =
        metrics.evals.iter().map(|e| (e.step as f64, 100.0 * e.top5_error)).collect();
    let mut panel = panel(area, metrics, ("", "error, %"), 0.0..100.0, &|v| format!("{v:.0}"))?;
    panel.line(&raw, RAW, 1, "top-1, per minibatch")?;
    panel.line(&smoothed(&raw), SMOOTH, 4, "top-1, smoothed")?;
    panel.dots(&top1, VALIDATION, 2, Some("top-1, validation"))?;
    panel.dots(&top5, VALIDATION_5, 2, Some("top-5, validation"))?;
    panel.legend(Corner::Upper)
}

fn speed<B: DrawingBackend>(page: &Area<B>, area: &Area<B>, metrics: &Metrics) -> Result<()>
where
    B::ErrorType: 'static,
{
    let raw = points(metrics, |s| s.images_per_s);
    let smooth = smoothed(&raw);
    let top = high(smooth.iter()) * 1.3;
    let mut panel = panel(area, metrics, ("step", "images/s"), 0.0..top, &|v| format!("{v:.0}"))?;
    panel.line(&raw, RAW, 1, "per step")?;
    panel.line(&smooth, SMOOTH, 4, "smoothed")?;
    let mut free_from = 0;
    for drop in metrics.rate_drops() {
        let (x, y) = panel.chart.backend_coord(&(drop.figures.step as f64, top));
        // Text that would cover the text before it is left out.
        if x >= free_from {
            let text = Write::new(20).color(GRAY);
            free_from = x + 20 + text.at(page, &panel::rate(drop.rate), (x + 8, y + 6))?;
        }
    }
    panel.legend(Corner::Lower)
}

/// A diagram over the run's steps, with its drops of the rate.
fn panel<'a, B: DrawingBackend>(
    area: &'a Area<B>,
    metrics: &Metrics,
    (x, what): (&str, &str),
    y: std::ops::Range<f64>,
    label: Numbers<'_>,
) -> Result<Panel<'a, B>>
where
    B::ErrorType: 'static,
{
    let end = metrics.steps.last().map_or(1, |s| s.figures.step.max(1)) as f64;
    let steps = |v: &f64| print::thousands(*v as u64);
    let axes = Axes { x: (x, end, &steps), y: (what, y.clone(), label), right: 36 };
    let mut panel = Panel::new(area, axes)?;
    let drops: Vec<f64> = metrics.rate_drops().map(|s| s.figures.step as f64).collect();
    panel.drops(&drops, y)?;
    Ok(panel)
}

/// A value over steps.
fn points(metrics: &Metrics, value: impl Fn(&Step) -> f64) -> Points {
    series::points(metrics, |s| (s.figures.step as f64, value(s)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use coordinator::metrics::Means;
    use proto::step::StepFigures;

    pub(crate) fn course(n: u64) -> Metrics {
        let noise = |i: u64| ((i * 2_654_435_761) % 1000) as f64 / 1000.0 - 0.5;
        let steps = (1..=n).map(|i| {
            let t = i as f64 / n as f64;
            let figures = StepFigures {
                step: i,
                loss: 0.4 + 1.9 * (-4.0 * t).exp() + 0.3 * noise(i),
                top1_error: 0.12 + 0.75 * (-4.0 * t).exp() + 0.06 * noise(i + 7),
                ..StepFigures::default()
            };
            let images_per_s = 240.0 + 20.0 * noise(i + 3);
            let rate = if t < 0.6 { 0.01 } else { 0.001 };
            Step { epoch: 12.0 * t, rate, images_per_s, figures, sent: None }
        });
        let evals = (1..=6).map(|i| {
            let t = i as f64 / 6.0;
            Eval {
                step: i * n / 6,
                loss: 0.5 + 1.7 * (-4.0 * t).exp(),
                top1_error: 0.15 + 0.7 * (-4.0 * t).exp(),
                top5_error: 0.02 + 0.4 * (-5.0 * t).exp(),
                ..Eval::default()
            }
        });
        Metrics { steps: steps.collect(), evals: evals.collect() }
    }

    #[test]
    fn a_run_becomes_an_svg_and_a_png() {
        let dir = tempfile::tempdir().unwrap();
        let [svg, png] = draw(&course(600), "caffe-flowers", &dir.path().join("plot")).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        for word in ["caffe-flowers", "images/s", "validation", "smoothed", "rate 0.001"] {
            assert!(text.contains(word), "{word} is not in the drawing");
        }
        let picture = image::open(png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), (WIDTH, 72 + 3 * DIAGRAM));
        assert!(picture.pixels().any(|p| p.0 == [SMOOTH.0, SMOOTH.1, SMOOTH.2]));
    }

    #[test]
    fn recorded_changes_of_the_weights_have_a_diagram_and_frozen_layers_no_curve() {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = course(600);
        for eval in &mut metrics.evals {
            let mean = |updates| Means { weights: 0.01, updates };
            let layers = [("conv1", mean(0.0)), ("conv2", mean(2e-5)), ("fc8", mean(1e-6))];
            eval.magnitudes = layers.map(|(layer, means)| (layer.to_owned(), means)).into();
        }
        let [svg, png] = draw(&metrics, "", &dir.path().join("plot")).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        assert!(text.contains("conv2") && text.contains("fc8") && !text.contains("conv1"));
        let picture = image::open(png).unwrap().to_rgb8();
        assert_eq!(picture.height(), 72 + 4 * DIAGRAM);
        let [r, g, b] = [LAYERS[1].0, LAYERS[1].1, LAYERS[1].2];
        assert!(picture.pixels().any(|p| p.0 == [r, g, b]));
    }

    #[test]
    fn one_step_and_a_loss_that_diverged_can_be_drawn() {
        let dir = tempfile::tempdir().unwrap();
        let mut metrics = course(1);
        draw(&metrics, "", &dir.path().join("one.png")).unwrap();
        metrics.steps[0].figures.loss = f64::NAN;
        draw(&metrics, "", &dir.path().join("nan.svg")).unwrap();
        assert!(dir.path().join("nan.png").exists());
    }

    #[test]
    fn a_run_without_steps_says_so() {
        let error = draw(&Metrics::default(), "", Path::new("x")).unwrap_err();
        assert!(error.to_string().contains("no finished step"));
    }
}
