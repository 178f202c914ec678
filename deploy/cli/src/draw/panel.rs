//! One diagram: axes, lines, dots, the drops of the learning rate, a legend.

use std::ops::Range;

use anyhow::Result;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::canvas::{Area, FONT, INK, drawing};
use super::series::Points;

const FAINT: RGBColor = RGBColor(228, 228, 228);
const AXIS: RGBColor = RGBColor(120, 120, 120);
const DROP: RGBColor = RGBColor(150, 150, 150);

/// One diagram.
pub(super) struct Panel<'a, B: DrawingBackend> {
    pub(super) chart: ChartContext<'a, B, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
}

/// A way to write the numbers of an axis.
pub(super) type Numbers<'a> = &'a dyn Fn(&f64) -> String;

/// The axes of a diagram; x begins at 0.
pub(super) struct Axes<'a> {
    /// Name of the x axis, its end, and how its numbers are written.
    pub(super) x: (&'a str, f64, Numbers<'a>),
    /// Name, range and numbers of the y axis.
    pub(super) y: (&'a str, Range<f64>, Numbers<'a>),
    /// Room right of the diagram, in pixels.
    pub(super) right: u32,
}

/// A corner for the legend.
pub(super) enum Corner {
    /// The upper right, where curves that fall leave room.
    Upper,
    /// The lower right, where curves that stay level leave room.
    Lower,
}

impl<'a, B: DrawingBackend + 'a> Panel<'a, B>
where
    B::ErrorType: 'static,
{
    pub(super) fn new(area: &'a Area<B>, axes: Axes<'_>) -> Result<Self> {
        let text = |size| (FONT, size).into_font().color(&INK);
        let (x, y) = (axes.x, axes.y);
        let mut chart = ChartBuilder::on(area)
            .margin(14)
            .margin_right(axes.right)
            .x_label_area_size(if x.0.is_empty() { 44 } else { 72 })
            .y_label_area_size(if y.0.is_empty() { 76 } else { 112 })
            .build_cartesian_2d(0.0..x.1, y.1)
            .map_err(drawing)?;
        chart
            .configure_mesh()
            .x_desc(x.0)
            .y_desc(y.0)
            .axis_desc_style(text(24))
            .label_style(text(22))
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(x.2)
            .y_label_formatter(y.2)
            .light_line_style(TRANSPARENT)
            .bold_line_style(FAINT)
            .axis_style(AXIS)
            .draw()
            .map_err(drawing)?;
        Ok(Self { chart })
    }

    /// A line without a place in the legend.
    pub(super) fn plain(&mut self, points: &Points, color: RGBColor, width: u32) -> Result<()> {
        let line = LineSeries::new(points.iter().copied(), color.stroke_width(width));
        self.chart.draw_series(line).map_err(drawing).map(|_| ())
    }

    pub(super) fn line(
        &mut self,
        points: &Points,
        color: RGBColor,
        width: u32,
        what: &str,
    ) -> Result<()> {
        self.chart
            .draw_series(LineSeries::new(points.iter().copied(), color.stroke_width(width)))
            .map_err(drawing)?
            .label(what)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], color.stroke_width(4)));
        Ok(())
    }

    /// Dots, joined by a line of this width.
    pub(super) fn dots(
        &mut self,
        points: &Points,
        color: RGBColor,
        width: u32,
        what: Option<&str>,
    ) -> Result<()> {
        if points.is_empty() {
            return Ok(());
        }
        self.plain(points, color, width)?;
        let dots = points.iter().map(|&at| Circle::new(at, 5, color.filled()));
        let drawn = self.chart.draw_series(dots).map_err(drawing)?;
        if let Some(what) = what {
            drawn.label(what).legend(move |(x, y)| Circle::new((x + 13, y), 6, color.filled()));
        }
        Ok(())
    }

    /// Dashed vertical lines at these places.
    pub(super) fn drops(&mut self, at: &[f64], y: Range<f64>) -> Result<()> {
        for x in at {
            let ends = [(*x, y.start), (*x, y.end)].into_iter();
            let dashes = DashedLineSeries::new(ends, 6, 6, DROP.stroke_width(2));
            self.chart.draw_series(dashes).map_err(drawing)?;
        }
        Ok(())
    }

    /// Draws the legend.
    pub(super) fn legend(mut self, corner: Corner) -> Result<()> {
        let corner = match corner {
            Corner::Upper => SeriesLabelPosition::UpperRight,
            Corner::Lower => SeriesLabelPosition::LowerRight,
        };
        self.chart
            .configure_series_labels()
            .position(corner)
            .margin(14)
            .legend_area_size(40)
            .label_font((FONT, 21).into_font().color(&INK))
            .background_style(WHITE.mix(0.85))
            .border_style(RGBColor(200, 200, 200))
            .draw()
            .map_err(drawing)
    }
}

/// A learning rate in words: `rate 0.001`.
pub(super) fn rate(rate: f64) -> String {
    let text = format!("{rate:.7}");
    format!("rate {}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_without_its_rounding() {
        assert_eq!(
            [0.01, 0.01 * 0.1, 0.0005000000000000001].map(rate),
            ["rate 0.01", "rate 0.001", "rate 0.0005"]
        );
        assert_eq!(rate(1.0), "rate 1");
    }
}
