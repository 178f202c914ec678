//! Loss, errors and speed of a run over its steps, as one SVG and one PNG.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use plotters::prelude::*;

use super::canvas::{self, Area, FONT, drawing, ending};
use crate::metrics::Metrics;
use crate::print;

const SIZE: (u32, u32) = (1200, 1280);
const RAW: RGBColor = RGBColor(158, 190, 221);
const SMOOTH: RGBColor = RGBColor(23, 92, 156);
const VALIDATION: RGBColor = RGBColor(208, 88, 22);
const VALIDATION_5: RGBColor = RGBColor(122, 122, 122);
const FAINT: RGBColor = RGBColor(228, 228, 228);
/// Most points of a raw curve.
const MOST_POINTS: usize = 4000;

type Points = Vec<(f64, f64)>;

/// Writes `out`.svg and `out`.png.
///
/// # Errors
/// If there is no step to draw, or a file can't be written.
pub(crate) fn draw(metrics: &Metrics, title: &str, out: &Path) -> Result<[PathBuf; 2]> {
    if metrics.steps.is_empty() {
        bail!("the run has no finished step yet, so there is nothing to draw");
    }
    let (svg, png) = (ending(out, "svg"), ending(out, "png"));
    canvas::svg(&svg, SIZE, |area| page(area, metrics, title))?;
    canvas::png(&png, SIZE, |area| page(area, metrics, title))?;
    Ok([svg, png])
}

fn page<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics, title: &str) -> Result<()>
where
    B::ErrorType: 'static,
{
    area.fill(&WHITE).map_err(drawing)?;
    let (head, body) = area.split_vertically(64);
    let heading = (FONT, 28, FontStyle::Bold).into_font().color(&BLACK);
    head.draw(&Text::new(title.to_owned(), (24, 22), heading)).map_err(drawing)?;
    let last = metrics.steps.last().map_or(0, |s| s.figures.step);
    let epochs = metrics.steps.last().map_or(0.0, |s| s.epoch);
    let summary = format!("{} steps, {epochs:.1} epochs", print::thousands(last));
    let small = (FONT, 18).into_font().color(&RGBColor(90, 90, 90));
    head.draw(&Text::new(summary, (SIZE.0 as i32 - 300, 30), small)).map_err(drawing)?;
    let panels = body.split_evenly((3, 1));
    loss(&panels[0], metrics)?;
    errors(&panels[1], metrics)?;
    speed(&panels[2], metrics)
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
    let mut panel = Panel::new(area, "loss", x_end(metrics), 0.0..top, |v| format!("{v:.1}"))?;
    panel.line(&raw, RAW, 1, "per minibatch")?;
    panel.line(&smooth, SMOOTH, 3, "smoothed")?;
    panel.dots(&evals, VALIDATION, "validation")?;
    panel.finish(false)
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
    let mut panel =
        Panel::new(area, "error, %", x_end(metrics), 0.0..100.0, |v| format!("{v:.0}"))?;
    panel.line(&raw, RAW, 1, "top-1, per minibatch")?;
    panel.line(&smoothed(&raw), SMOOTH, 3, "top-1, smoothed")?;
    panel.dots(&top1, VALIDATION, "top-1, validation")?;
    panel.dots(&top5, VALIDATION_5, "top-5, validation")?;
    panel.finish(false)
}

fn speed<B: DrawingBackend>(area: &Area<B>, metrics: &Metrics) -> Result<()>
where
    B::ErrorType: 'static,
{
    let raw = points(metrics, |s| s.images_per_s);
    let smooth = smoothed(&raw);
    let top = high(smooth.iter()) * 1.3;
    let mut panel = Panel::new(area, "images/s", x_end(metrics), 0.0..top, |v| format!("{v:.0}"))?;
    panel.line(&raw, RAW, 1, "per step")?;
    panel.line(&smooth, SMOOTH, 3, "smoothed")?;
    panel.finish(true)
}

/// One diagram over steps.
struct Panel<'a, B: DrawingBackend> {
    chart: ChartContext<
        'a,
        B,
        Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
    >,
}

impl<'a, B: DrawingBackend + 'a> Panel<'a, B>
where
    B::ErrorType: 'static,
{
    fn new(
        area: &'a Area<B>,
        what: &str,
        x_end: f64,
        y: std::ops::Range<f64>,
        label: impl Fn(&f64) -> String,
    ) -> Result<Self> {
        let text = |size| (FONT, size).into_font().color(&RGBColor(60, 60, 60));
        let mut chart = ChartBuilder::on(area)
            .margin(16)
            .margin_right(32)
            .x_label_area_size(52)
            .y_label_area_size(84)
            .build_cartesian_2d(0.0..x_end, y)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc(what)
            .axis_desc_style(text(20))
            .label_style(text(17))
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|v| print::thousands(*v as u64))
            .y_label_formatter(&label)
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(RGBColor(120, 120, 120))
            .draw()
            .map_err(drawing)?;
        Ok(Self { chart })
    }

    fn line(&mut self, points: &Points, color: RGBColor, width: u32, what: &str) -> Result<()> {
        let style = color.stroke_width(width);
        self.chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(drawing)?
            .label(what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], color.stroke_width(3)));
        Ok(())
    }

    fn dots(&mut self, points: &Points, color: RGBColor, what: &str) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        self.chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(1)))
            .map_err(drawing)?;
        self.chart
            .draw_series(points.iter().map(|&at| Circle::new(at, 5, color.filled())))
            .map_err(drawing)?
            .label(what)
            .legend(move |(x, y)| Circle::new((x + 13, y), 5, color.filled()));
        Ok(())
    }

    /// Draws the legend in the corner where curves that fall, or stay level, leave room.
    fn finish(mut self, below: bool) -> Result<()> {
        let corner =
            if below { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::UpperRight };
        self.chart
            .configure_series_labels()
            .position(corner)
            .margin(14)
            .legend_area_size(36)
            .label_font((FONT, 17).into_font().color(&RGBColor(40, 40, 40)))
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(drawing)
    }
}

fn x_end(metrics: &Metrics) -> f64 {
    metrics.steps.last().map_or(1, |s| s.figures.step.max(1)) as f64
}

/// A value over steps, without NaN (of a run that diverged).
fn points(metrics: &Metrics, value: impl Fn(&crate::metrics::Step) -> f64) -> Points {
    let every = metrics.steps.len().div_ceil(MOST_POINTS).max(1);
    let all = metrics.steps.iter().map(|s| (s.figures.step as f64, value(s)));
    all.filter(|(_, v)| v.is_finite()).step_by(every).collect()
}

/// The mean over a window around each point, a twentieth of the run wide: no lag, unlike a mean
/// over what came before.
fn smoothed(points: &Points) -> Points {
    let reach = points.len() / 40;
    let mean_at = |i: usize| {
        let reach = reach.min(i).min(points.len() - 1 - i);
        let window = &points[i - reach..=i + reach];
        window.iter().map(|p| p.1).sum::<f64>() / window.len() as f64
    };
    points.iter().enumerate().map(|(i, p)| (p.0, mean_at(i))).collect()
}

/// The largest value, and at least the smallest end of an axis.
fn high<'a>(points: impl Iterator<Item = &'a (f64, f64)>) -> f64 {
    points.map(|p| p.1).filter(|v| v.is_finite()).fold(1e-3, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Eval, Step};
    use proto::step::StepFigures;

    fn course(n: u64) -> Metrics {
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
            Step { epoch: 12.0 * t, images_per_s, figures, ..Step::default() }
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
        for word in ["caffe-flowers", "images/s", "validation", "smoothed"] {
            assert!(text.contains(word), "{word} is not in the drawing");
        }
        let picture = image::open(png).unwrap().to_rgb8();
        assert_eq!(picture.dimensions(), SIZE);
        assert!(picture.pixels().any(|p| p.0 == [SMOOTH.0, SMOOTH.1, SMOOTH.2]));
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

    #[test]
    fn smoothing_a_constant_changes_nothing() {
        let flat: Points = (0..100).map(|i| (f64::from(i), 3.0)).collect();
        assert!(smoothed(&flat).iter().all(|p| (p.1 - 3.0).abs() < 1e-12));
    }
}
