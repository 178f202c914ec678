//! One timed step of `trace.json` as SVG and PNG: one row per stream, arrows from send to receive.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;
use serde::Deserialize;

use super::canvas::{self, Area, FONT, drawing, ending};

const WIDTH: i32 = 1600;
/// Left edge of the diagram; names of rows stand left of it.
const LEFT: i32 = 190;
const RIGHT: i32 = WIDTH - 24;
const TOP: i32 = 92;
/// Height of a row and the room below it.
const ROW: i32 = 30;
const GAP: i32 = 6;
/// Room between processes.
const BETWEEN: i32 = 16;

/// Layers in order, each with its own color.
const LAYERS: [(&str, RGBColor); 14] = [
    ("input", RGBColor(150, 150, 150)),
    ("conv1", RGBColor(31, 119, 180)),
    ("conv2", RGBColor(91, 164, 207)),
    ("conv3", RGBColor(44, 140, 70)),
    ("conv4", RGBColor(116, 184, 98)),
    ("conv5", RGBColor(170, 207, 120)),
    ("conv6", RGBColor(206, 226, 160)),
    ("fc4", RGBColor(128, 70, 150)),
    ("fc6", RGBColor(148, 94, 168)),
    ("fc7", RGBColor(181, 137, 200)),
    ("fc8", RGBColor(211, 178, 224)),
    ("logits", RGBColor(120, 100, 80)),
    ("softmax", RGBColor(170, 150, 120)),
    ("minibatch", RGBColor(230, 180, 80)),
];
const WAIT: RGBColor = RGBColor(214, 39, 40);
const OTHER: RGBColor = RGBColor(200, 200, 200);
const ARROW: RGBColor = RGBColor(70, 70, 70);

/// An event of the trace, as far as it is drawn.
#[derive(Debug, Deserialize)]
struct Event {
    name: String,
    ph: String,
    pid: u64,
    tid: u64,
    #[serde(default)]
    ts: f64,
    #[serde(default)]
    dur: f64,
    #[serde(default)]
    cat: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    name: String,
    sort_index: u64,
    step: u64,
}

/// A process's stream and where it is drawn.
struct Row {
    of: (u64, u64),
    name: String,
    y: i32,
}

/// The drawing: events between two moments.
struct Window<'a> {
    events: &'a [Event],
    rows: Vec<Row>,
    from: f64,
    to: f64,
    /// Begin of the step.
    zero: f64,
    step: u64,
}

/// First and last millisecond of the step to draw, if not all of it.
pub(crate) type Between = (Option<f64>, Option<f64>);

/// Writes `out`.svg and `out`.png of a step, by default the last one in the trace.
///
/// # Errors
/// If the trace is missing, damaged, or has no such step.
pub(crate) fn draw(
    trace: &Path,
    step: Option<u64>,
    between: Between,
    out: &Path,
) -> Result<[PathBuf; 2]> {
    let text = std::fs::read_to_string(trace).with_context(|| {
        format!("{} can't be read; a run with timed steps writes it", trace.display())
    })?;
    let events: Vec<Event> =
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", trace.display()))?;
    let window = Window::new(&events, step, between)
        .with_context(|| format!("{} has nothing to draw", trace.display()))?;
    let height = window.rows.last().map_or(TOP, |row| row.y + ROW + 2 * GAP);
    let size = (WIDTH as u32, height as u32);
    let (svg, png) = (ending(out, "svg"), ending(out, "png"));
    canvas::svg(&svg, size, |area| window.page(area, height))?;
    canvas::png(&png, size, |area| window.page(area, height))?;
    Ok([svg, png])
}

impl<'a> Window<'a> {
    fn new(events: &'a [Event], step: Option<u64>, between: Between) -> Result<Self> {
        let whole: Vec<&Event> = events.iter().filter(|e| e.ph == "X" && e.cat == "step").collect();
        let last = whole.iter().map(|e| e.args.step).max();
        let step = step.or(last).ok_or_else(|| anyhow!("it has no timed step"))?;
        let these = || whole.iter().filter(|e| e.args.step == step);
        let from = these().map(|e| e.ts).fold(f64::INFINITY, f64::min);
        let to = these().map(|e| e.ts + e.dur).fold(f64::NEG_INFINITY, f64::max);
        if from >= to {
            let mut there: Vec<u64> = whole.iter().map(|e| e.args.step).collect();
            there.dedup();
            return Err(anyhow!("it has no step {step}; its steps are {there:?}"));
        }
        let moment = |ms: f64| (from + 1e3 * ms).clamp(from, to);
        let (zero, from, to) = (from, between.0.map_or(from, moment), between.1.map_or(to, moment));
        if from >= to {
            return Err(anyhow!(
                "step {step} has nothing between these milliseconds: change --from or --to"
            ));
        }
        let mut window = Self { events, rows: Vec::new(), from, to, zero, step };
        window.rows = window.rows();
        Ok(window)
    }

    /// Spans inside the window.
    fn spans(&self) -> impl Iterator<Item = &'a Event> {
        let (from, to) = (self.from, self.to);
        self.events
            .iter()
            .filter(move |e| e.ph == "X" && e.cat != "step" && e.ts < to && e.ts + e.dur > from)
    }

    /// Rows of the streams that have spans, in the order of the trace.
    fn rows(&self) -> Vec<Row> {
        let (mut names, mut order) = (BTreeMap::new(), BTreeMap::new());
        for event in self.events.iter().filter(|e| e.ph == "M") {
            let of = (event.pid, event.tid);
            if matches!(event.name.as_str(), "process_name" | "thread_name") {
                names.insert(of, &event.args.name);
            } else {
                order.insert(of, event.args.sort_index);
            }
        }
        let place = |of: (u64, u64)| order.get(&of).copied().unwrap_or(0);
        let mut seen: Vec<(u64, u64)> = self.spans().map(|e| (e.pid, e.tid)).collect();
        seen.sort_by_key(|of| (place((of.0, 0)), of.0, place(*of), of.1));
        seen.dedup();
        let (mut y, mut before) = (TOP, seen.first().map_or(0, |of| of.0));
        let mut rows = Vec::new();
        for of in seen {
            y += if of.0 == before { 0 } else { BETWEEN };
            before = of.0;
            let name = |of| names.get(&of).map_or("", |name| name.as_str());
            // A loader's address is long, and there is usually one loader.
            let process = name((of.0, 0)).split(' ').take_while(|word| !word.contains(':'));
            let process = process.collect::<Vec<_>>().join(" ");
            rows.push(Row { of, name: format!("{process} {}", name(of)), y });
            y += ROW + GAP;
        }
        rows
    }

    fn x(&self, ts: f64) -> i32 {
        let share = (ts.clamp(self.from, self.to) - self.from) / (self.to - self.from);
        LEFT + (share * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn row(&self, of: (u64, u64)) -> Option<&Row> {
        self.rows.iter().find(|row| row.of == of)
    }

    fn page<B: DrawingBackend>(&self, area: &Area<B>, height: i32) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        area.fill(&WHITE).map_err(drawing)?;
        let ms = |at: f64| (at - self.zero) / 1e3;
        let title = match ms(self.from) {
            0.0 => format!("step {}: {:.0} ms", self.step, ms(self.to)),
            from => format!("step {}: {from:.0} to {:.0} ms", self.step, ms(self.to)),
        };
        write(area, &title, (24, 16), 22, FontStyle::Bold, BLACK)?;
        self.legend(area)?;
        self.axis(area, height)?;
        for row in &self.rows {
            write(area, &row.name, (16, row.y + 7), 16, FontStyle::Normal, RGBColor(50, 50, 50))?;
        }
        self.spans().try_for_each(|event| self.span(area, event))?;
        self.arrows(area)
    }

    fn legend<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let mut x = LEFT + 160;
        let used: BTreeSet<&str> = self.spans().map(layer).collect();
        let layers = LAYERS.iter().copied().filter(|(name, _)| used.contains(name));
        let entries = layers.chain([("waits", WAIT)]);
        for (name, color) in entries {
            let mark = Rectangle::new([(x, 20), (x + 14, 34)], color.filled());
            area.draw(&mark).map_err(drawing)?;
            write(area, name, (x + 19, 18), 15, FontStyle::Normal, RGBColor(50, 50, 50))?;
            x += 36 + 8 * name.len() as i32;
        }
        Ok(())
    }

    fn axis<B: DrawingBackend>(&self, area: &Area<B>, height: i32) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let whole_ms = (self.to - self.from) / 1e3;
        let rough = whole_ms / 10.0;
        let decade = 10f64.powf(rough.log10().floor());
        let each = [1.0, 2.0, 5.0, 10.0].map(|m| m * decade).into_iter().find(|m| *m >= rough);
        let each = each.unwrap_or(rough);
        let first = ((self.from - self.zero) / 1e3 / each).ceil();
        for i in 0..=(whole_ms / each) as usize {
            let ms = each * (first + i as f64);
            let x = self.x(self.zero + 1e3 * ms);
            if self.zero + 1e3 * ms > self.to {
                break;
            }
            let line = [(x, TOP - 12), (x, height - GAP)];
            let faint = RGBColor(232, 232, 232).stroke_width(1);
            area.draw(&PathElement::new(line, faint)).map_err(drawing)?;
            let digits = usize::from(each < 1.0);
            let label = format!("{ms:.digits$} ms");
            write(area, &label, (x - 14, TOP - 32), 14, FontStyle::Normal, RGBColor(90, 90, 90))?;
        }
        Ok(())
    }

    fn span<B: DrawingBackend>(&self, area: &Area<B>, event: &Event) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let Some(row) = self.row((event.pid, event.tid)) else { return Ok(()) };
        let (left, right) = (self.x(event.ts), self.x(event.ts + event.dur));
        let color = color(event);
        let right = right.max(left + 1);
        let area_of = Rectangle::new([(left, row.y), (right, row.y + ROW)], color.filled());
        area.draw(&area_of).map_err(drawing)?;
        if right - left > 4 {
            let edge = Rectangle::new([(left, row.y), (right, row.y + ROW)], WHITE.stroke_width(1));
            area.draw(&edge).map_err(drawing)?;
        }
        let name = short(&event.name);
        if right - left > 7 * name.chars().count() as i32 + 4 {
            write(area, &name, (left + 3, row.y + 9), 12, FontStyle::Normal, BLACK)?;
        }
        Ok(())
    }

    fn arrows<B: DrawingBackend>(&self, area: &Area<B>) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        let begins = self.events.iter().filter(|e| e.ph == "s");
        let begins: BTreeMap<&str, &Event> = begins.map(|e| (e.id.as_str(), e)).collect();
        for end in self.events.iter().filter(|e| e.ph == "f") {
            let Some(begin) = begins.get(end.id.as_str()) else { continue };
            if begin.ts < self.from || end.ts > self.to {
                continue;
            }
            let rows = (self.row((begin.pid, begin.tid)), self.row((end.pid, end.tid)));
            let (Some(from), Some(to)) = rows else { continue };
            let downward = to.y > from.y;
            let (y0, y1) = if downward { (from.y + ROW, to.y) } else { (from.y, to.y + ROW) };
            let (x0, x1) = (self.x(begin.ts), self.x(end.ts));
            let style = ARROW.mix(0.6).stroke_width(1);
            area.draw(&PathElement::new([(x0, y0), (x1, y1)], style)).map_err(drawing)?;
            let back = if downward { -6 } else { 6 };
            let head = vec![(x1, y1), (x1 - 3, y1 + back), (x1 + 3, y1 + back)];
            area.draw(&Polygon::new(head, ARROW.filled())).map_err(drawing)?;
        }
        Ok(())
    }
}

fn color(event: &Event) -> RGBColor {
    if event.cat == "wait" {
        return WAIT;
    }
    let of = layer(event);
    LAYERS.iter().find(|(name, _)| *name == of).map_or(OTHER, |(_, color)| *color)
}

/// The layer that an event belongs to: the first word of its name.
fn layer(event: &Event) -> &str {
    event.name.split(' ').next().unwrap_or_default()
}

/// Short name of an event, to fit into its span.
fn short(name: &str) -> String {
    name.replace(" forward", "")
        .replace(" backward_inputs", " ∇x")
        .replace(" backward_weights", " ∇w")
}

fn write<B: DrawingBackend>(
    area: &Area<B>,
    text: &str,
    at: (i32, i32),
    size: i32,
    weight: FontStyle,
    color: RGBColor,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    let style = (FONT, size, weight).into_font().color(&color);
    area.draw(&Text::new(text.to_owned(), at, style)).map_err(drawing)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = r#"[
{"name":"process_name","ph":"M","ts":0,"pid":1,"tid":0,"args":{"name":"half A"}},
{"name":"thread_name","ph":"M","ts":0,"pid":1,"tid":1,"args":{"name":"compute"}},
{"name":"thread_name","ph":"M","ts":0,"pid":1,"tid":2,"args":{"name":"send"}},
{"name":"process_name","ph":"M","ts":0,"pid":2,"tid":0,"args":{"name":"loader 127.0.0.1:4"}},
{"name":"thread_name","ph":"M","ts":0,"pid":2,"tid":1,"args":{"name":"make"}},
{"name":"step 3","cat":"step","ph":"X","ts":0,"dur":10000,"pid":1,"tid":3,"args":{"step":3}},
{"name":"conv1 forward","cat":"compute","ph":"X","ts":0,"dur":6000,"pid":1,"tid":1,"args":{"step":3}},
{"name":"wait conv3 activations","cat":"wait","ph":"X","ts":6000,"dur":4000,"pid":1,"tid":1,"args":{"step":3}},
{"name":"conv3 activations 0","cat":"send","ph":"X","ts":2000,"dur":1000,"pid":1,"tid":2,"args":{"step":3}},
{"name":"minibatch 4","cat":"make","ph":"X","ts":9000,"dur":5000,"pid":2,"tid":1,"args":{"step":4}},
{"name":"x","cat":"exchange","ph":"s","id":"a","ts":2000,"pid":1,"tid":2},
{"name":"x","cat":"exchange","ph":"f","bp":"e","id":"a","ts":9500,"pid":2,"tid":1}
]"#;

    #[test]
    fn a_step_becomes_an_svg_and_a_png_with_its_rows_waits_and_arrows() {
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace.json");
        std::fs::write(&trace, TRACE).unwrap();
        let [svg, png] = draw(&trace, None, (None, None), &dir.path().join("step.png")).unwrap();
        let text = std::fs::read_to_string(svg).unwrap();
        for word in ["step 3: 10 ms", "half A compute", "loader make", "conv1", "<polygon"] {
            assert!(text.contains(word), "{word} is not in the drawing");
        }
        let picture = image::open(png).unwrap().to_rgb8();
        // The wait fills the last four tenths of the first row.
        let red = picture.pixels().filter(|p| p.0 == [WAIT.0, WAIT.1, WAIT.2]).count() as i32;
        let most = (RIGHT - LEFT) * 4 / 10 * ROW;
        assert!((most * 8 / 10..most * 11 / 10).contains(&red), "{red} of {most}");
        let [svg, _] =
            draw(&trace, None, (Some(7.0), Some(9.0)), &dir.path().join("part")).unwrap();
        let part = std::fs::read_to_string(svg).unwrap();
        assert!(part.contains("7 to 9 ms") && part.contains("8.0 ms"), "{part}");
        let refused = draw(&trace, Some(9), (None, None), &dir.path().join("x")).unwrap_err();
        assert!(format!("{refused:#}").contains("it has no step 9; its steps are [3]"));
    }
}
