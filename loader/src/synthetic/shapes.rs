//! The ten classes of synthetic pictures, each as the distance to an edge.
//!
//! In an object's own coordinates it has radius 1; a distance is negative inside. Only sums,
//! products, roots and `libm`: every machine draws the same bits.

use std::f32::consts::TAU;

/// A class of pictures.
#[derive(Debug)]
pub(super) struct Class {
    pub(super) name: &'static str,
    /// Whether the class is a texture that fills a large patch instead of one object.
    pub(super) texture: bool,
    /// Distance to the edge at `(u, v)`; `fineness` is the period of a texture.
    pub(super) distance: fn(u: f32, v: f32, fineness: f32) -> f32,
}

/// All classes, in label order.
#[rustfmt::skip]
pub(super) const CLASSES: [Class; 10] = [
    Class { name: "stripes",  texture: true,  distance: stripes },
    Class { name: "checks",   texture: true,  distance: checks },
    Class { name: "dots",     texture: true,  distance: dots },
    Class { name: "waves",    texture: true,  distance: waves },
    Class { name: "ring",     texture: false, distance: ring },
    Class { name: "triangle", texture: false, distance: triangle },
    Class { name: "square",   texture: false, distance: square },
    Class { name: "star",     texture: false, distance: star },
    Class { name: "cross",    texture: false, distance: cross },
    Class { name: "spiral",   texture: false, distance: spiral },
];

/// Distance to the middle of the nearest period, −½..½ of it.
fn fold(x: f32, period: f32) -> f32 {
    let t = x / period;
    (t - t.floor() - 0.5) * period
}

fn stripes(u: f32, _: f32, fineness: f32) -> f32 {
    fold(u, fineness).abs() - fineness / 4.0
}

fn checks(u: f32, v: f32, fineness: f32) -> f32 {
    let (a, b) = (stripes(u, 0.0, 1.5 * fineness), stripes(v, 0.0, 1.5 * fineness));
    a.min(b).max(-a.max(b)) // inside where exactly one of the two is
}

fn dots(u: f32, v: f32, fineness: f32) -> f32 {
    let (a, b) = (fold(u, 1.3 * fineness), fold(v, 1.3 * fineness));
    (a * a + b * b).sqrt() - 0.32 * fineness
}

fn waves(u: f32, v: f32, fineness: f32) -> f32 {
    let bend = 0.45 * fineness * libm::sinf(v * TAU / (2.2 * fineness));
    stripes(u + bend, 0.0, fineness) * 0.75
}

fn ring(u: f32, v: f32, _: f32) -> f32 {
    ((u * u + v * v).sqrt() - 0.78).abs() - 0.2
}

fn triangle(u: f32, v: f32, _: f32) -> f32 {
    const HALF_ROOT_3: f32 = 0.866_025_4;
    (HALF_ROOT_3 * u.abs() + 0.5 * v).max(-v) - 0.5
}

fn square(u: f32, v: f32, _: f32) -> f32 {
    u.abs().max(v.abs()) - 0.74
}

fn star(u: f32, v: f32, _: f32) -> f32 {
    // Mirrored at the two axes of a tenth of the circle, the star is one edge of one point (the
    // point's tip at (0, 1), the notch after it at radius 0.36).
    const AXIS_1: [f32; 2] = [0.809_017, -0.587_785_24];
    const AXIS_2: [f32; 2] = [-0.809_017, -0.587_785_24];
    let (mut x, mut y) = (u.abs(), v);
    for [a, b] in [AXIS_1, AXIS_2] {
        let beyond = 2.0 * (x * a + y * b).max(0.0);
        (x, y) = (x - beyond * a, y - beyond * b);
    }
    let (x, y) = (x.abs(), y);
    // The edge from (0, 1) to the notch at 36°.
    const NOTCH: [f32; 2] = [0.36 * 0.587_785_24, 0.36 * 0.809_017];
    let (dx, dy) = (NOTCH[0], NOTCH[1] - 1.0);
    ((y - 1.0) * dx - x * dy) / (dx * dx + dy * dy).sqrt()
}

fn cross(u: f32, v: f32, _: f32) -> f32 {
    let (a, b) = (u.abs(), v.abs());
    (a.max(b) - 1.0).max(a.min(b) - 0.26)
}

fn spiral(u: f32, v: f32, _: f32) -> f32 {
    const PITCH: f32 = 0.5;
    let r = (u * u + v * v).sqrt();
    let arm = fold(r - PITCH * libm::atan2f(v, u) / TAU, PITCH).abs() - 0.25 * PITCH;
    arm.max(r - 1.0)
}
