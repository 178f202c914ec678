//! Draws one picture from its number: background, clutter, the object, light, noise.

use std::f32::consts::TAU;

use model::random::{Purpose, Random, unit};

use super::shapes::{CLASSES, Class};
use super::{Spec, label};
use crate::Split;

/// Draws picture `index` of a split, `[side, side, 3]`.
pub(super) fn picture(spec: &Spec, split: Split, index: u64) -> Vec<u8> {
    let mut draws = Draws::new(spec.seed, split, index);
    let mut canvas = Canvas::background(spec.side, &mut draws);
    for _ in 0..2 {
        let size = draws.between(0.04, 0.13);
        canvas.clutter(size, &mut draws);
    }
    canvas.object(&CLASSES[label(index) as usize], &mut draws);
    let size = draws.between(0.02, 0.06);
    canvas.clutter(size, &mut draws);
    canvas.lit(&mut draws)
}

/// The random numbers of one picture, in the order in which the drawing takes them.
struct Draws {
    random: Random,
    stream: u32,
    base: u64,
    used: u64,
}

impl Draws {
    /// Number of draws that one picture may use.
    const ROOM: u64 = 1 << 20;

    fn new(seed: u64, split: Split, index: u64) -> Self {
        let random = Random::new(seed, Purpose::Synthetic);
        Self { random, stream: split as u32, base: index * Self::ROOM, used: 0 }
    }

    fn words(&mut self) -> [u32; 4] {
        self.used += 1;
        self.random.words(self.stream, self.base + self.used)
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * unit(self.words()[0])
    }

    fn color(&mut self) -> [f32; 3] {
        let [r, g, b, _] = self.words().map(|word| 255.0 * unit(word));
        [r, g, b]
    }
}

/// The position, size and rotation of an object.
struct Pose {
    x: f32,
    y: f32,
    radius: f32,
    cos: f32,
    sin: f32,
}

impl Pose {
    fn own(&self, x: f32, y: f32) -> (f32, f32) {
        let (x, y) = ((x - self.x) / self.radius, (y - self.y) / self.radius);
        (self.cos * x + self.sin * y, self.cos * y - self.sin * x)
    }
}

struct Canvas {
    side: usize,
    /// Pixels `[side, side, 3]`, 0..255.
    pixels: Vec<f32>,
    /// Mean color of the background, from which the object must differ.
    ground: [f32; 3],
}

impl Canvas {
    fn background(side: usize, draws: &mut Draws) -> Self {
        let ground = draws.color();
        let slope = draws.color().map(|v| (v - 127.5) * 0.55);
        let angle = draws.between(0.0, TAU);
        let (dx, dy) = (libm::cosf(angle) / side as f32, libm::sinf(angle) / side as f32);
        let middle = side as f32 / 2.0;
        let mut pixels = Vec::with_capacity(3 * side * side);
        for y in 0..side {
            for x in 0..side {
                let t = (x as f32 - middle) * dx + (y as f32 - middle) * dy;
                pixels.extend([0, 1, 2].map(|c| ground[c] + t * slope[c]));
            }
        }
        Self { side, pixels, ground }
    }

    /// Draws the object or texture that gives the picture its label.
    fn object(&mut self, class: &Class, draws: &mut Draws) {
        let side = self.side as f32;
        let (radius, reach) = if class.texture {
            (side * draws.between(0.38, 0.6), 0.14)
        } else {
            (side * draws.between(0.28, 0.44), 0.15)
        };
        let pose = self.pose(radius, reach, draws);
        let fineness = side * draws.between(0.13, 0.24) / radius;
        let color = self.standing_out(draws);
        let distance = class.distance;
        if class.texture {
            // A round patch of the texture.
            self.paint(&pose, color, |u, v| {
                distance(u, v, fineness).max((u * u + v * v).sqrt() - 1.0)
            });
        } else {
            self.paint(&pose, color, |u, v| distance(u, v, fineness));
        }
    }

    /// Draws a disc or a bar anywhere, in any color.
    fn clutter(&mut self, size: f32, draws: &mut Draws) {
        let side = self.side as f32;
        let long = draws.between(0.0, 1.0) < 0.5;
        let radius = side * size * if long { 3.0 } else { 1.0 };
        let pose = self.pose(radius, 0.5, draws);
        let color = draws.color();
        if long {
            self.paint(&pose, color, |u, v| (u.abs() - 1.0).max(v.abs() - 0.17));
        } else {
            self.paint(&pose, color, |u, v| (u * u + v * v).sqrt() - 1.0);
        }
    }

    /// A pose of any rotation, with its center up to `reach` sides from the picture's center.
    fn pose(&self, radius: f32, reach: f32, draws: &mut Draws) -> Pose {
        let angle = draws.between(0.0, TAU);
        let side = self.side as f32;
        let x = side * (0.5 + draws.between(-reach, reach));
        let y = side * (0.5 + draws.between(-reach, reach));
        Pose { x, y, radius, cos: libm::cosf(angle), sin: libm::sinf(angle) }
    }

    /// A color that differs from the background in brightness, darker as often as brighter.
    fn standing_out(&self, draws: &mut Draws) -> [f32; 3] {
        let brightness = |c: [f32; 3]| 0.3 * c[0] + 0.59 * c[1] + 0.11 * c[2];
        let ground = brightness(self.ground);
        let away = draws.between(80.0, 140.0);
        let up = draws.between(0.0, 1.0) < 0.5;
        // The other direction where this one would leave the range.
        let up = if up { ground + away < 245.0 } else { ground - away < 10.0 };
        let target = if up { ground + away } else { ground - away };
        let color = draws.color();
        let missing = target - brightness(color);
        color.map(|v| v + missing)
    }

    /// Paints the pixels inside `distance`, with an edge that is one pixel soft.
    fn paint(&mut self, pose: &Pose, color: [f32; 3], distance: impl Fn(f32, f32) -> f32) {
        // Nothing reaches farther than a square's corner.
        let reach = 1.5 * pose.radius + 1.0;
        let range = |middle: f32| {
            let clamp = |v: f32| v.max(0.0).min(self.side as f32) as usize;
            clamp(middle - reach)..clamp(middle + reach)
        };
        let (rows, columns, side) = (range(pose.y), range(pose.x), self.side);
        for y in rows {
            let row = &mut self.pixels[3 * side * y..][..3 * side];
            for x in columns.clone() {
                let (u, v) = pose.own(x as f32 + 0.5, y as f32 + 0.5);
                let cover = (0.5 - distance(u, v) * pose.radius).clamp(0.0, 1.0);
                if cover > 0.0 {
                    for (value, new) in row[3 * x..][..3].iter_mut().zip(color) {
                        *value += cover * (new - *value);
                    }
                }
            }
        }
    }

    /// The finished picture as bytes, lit from one side, with noise.
    fn lit(self, draws: &mut Draws) -> Vec<u8> {
        let angle = draws.between(0.0, TAU);
        let (level, fall) = (draws.between(0.65, 1.1), draws.between(0.0, 0.5));
        let side = self.side as f32;
        let (dx, dy) = (fall * libm::cosf(angle) / side, fall * libm::sinf(angle) / side);
        let start = level - 0.5 * side * (dx + dy);
        let amplitude = draws.between(3.0, 18.0) / 128.0;
        let mut noise = [0; 4];
        let mut bytes = Vec::with_capacity(self.pixels.len());
        for (y, row) in self.pixels.chunks_exact(3 * self.side).enumerate() {
            for (x, pixel) in row.as_chunks::<3>().0.iter().enumerate() {
                let i = y * self.side + x;
                if i.is_multiple_of(16) {
                    noise = draws.words();
                }
                let grain = f32::from(noise[i % 16 / 4].to_le_bytes()[i % 4]) - 127.5;
                let light = start + x as f32 * dx + y as f32 * dy;
                // `as` keeps the result in 0..=255.
                bytes.extend(
                    pixel.map(|v| (v.clamp(0.0, 255.0) * light + grain * amplitude + 0.5) as u8),
                );
            }
        }
        bytes
    }
}
