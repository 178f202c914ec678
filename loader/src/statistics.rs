//! Mean image and color components of a set of pictures. Sums are integers, so that neither the
//! order of pictures nor the number of threads changes a bit.

/// Sums over the pixels of pictures of one size.
#[derive(Debug, Clone)]
pub struct PixelSums {
    n_images: u64,
    /// Sum of each pixel, `[3, side, side]`.
    pixels: Vec<u64>,
    /// Sums of the products of two colors: rr, rg, rb, gg, gb, bb.
    products: [u64; 6],
}

impl PixelSums {
    /// Sums over no picture yet.
    pub fn new(side: usize) -> Self {
        Self { n_images: 0, pixels: vec![0; 3 * side * side], products: [0; 6] }
    }

    /// Adds a picture `[side, side, 3]`.
    pub fn add(&mut self, picture: &[u8]) {
        let n = self.pixels.len() / 3;
        let (red, rest) = self.pixels.split_at_mut(n);
        let (green, blue) = rest.split_at_mut(n);
        self.n_images += 1;
        let planes = red.iter_mut().zip(green).zip(blue);
        for (((red, green), blue), rgb) in planes.zip(picture.as_chunks::<3>().0) {
            let [r, g, b] = rgb.map(u32::from);
            *red += u64::from(r);
            *green += u64::from(g);
            *blue += u64::from(b);
            for (sum, product) in
                self.products.iter_mut().zip([r * r, r * g, r * b, g * g, g * b, b * b])
            {
                *sum += u64::from(product);
            }
        }
    }

    /// Adds the sums over other pictures.
    pub fn merge(&mut self, other: &Self) {
        self.n_images += other.n_images;
        for (sum, more) in self.pixels.iter_mut().zip(&other.pixels) {
            *sum += more;
        }
        for (sum, more) in self.products.iter_mut().zip(other.products) {
            *sum += more;
        }
    }

    /// Takes away the sums over pictures that are among these.
    pub fn subtract(&mut self, other: &Self) {
        self.n_images -= other.n_images;
        for (sum, less) in self.pixels.iter_mut().zip(&other.pixels) {
            *sum -= less;
        }
        for (sum, less) in self.products.iter_mut().zip(other.products) {
            *sum -= less;
        }
    }

    /// All sums as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let all = [self.n_images].into_iter().chain(self.products);
        all.chain(self.pixels.iter().copied()).flat_map(u64::to_le_bytes).collect()
    }

    /// The sums of [`PixelSums::to_bytes`] for pictures of one side; `None` if they aren't.
    pub(crate) fn from_bytes(bytes: &[u8], side: usize) -> Option<Self> {
        let (numbers, rest) = bytes.as_chunks::<8>();
        let mut numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let n_images = numbers.next()?;
        let mut products = [0; 6];
        for product in &mut products {
            *product = numbers.next()?;
        }
        let pixels: Vec<_> = numbers.collect();
        let whole = rest.is_empty() && pixels.len() == 3 * side * side;
        whole.then_some(Self { n_images, pixels, products })
    }

    /// The mean image, `[3, side, side]`; all zeros if there was no picture.
    pub fn mean(&self) -> Vec<f32> {
        let n = self.n_images.max(1) as f64;
        self.pixels.iter().map(|&sum| (sum as f64 / n) as f32).collect()
    }

    /// The principal components of all pixels' colors, largest first, each times its standard
    /// deviation; a component's largest number is positive.
    pub fn colors(&self) -> [[f32; 3]; 3] {
        let (values, vectors) = eigen(self.covariance());
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        order.map(|i| {
            let column: [f64; 3] = std::array::from_fn(|c| vectors[c][i]);
            let largest =
                column.into_iter().fold(0.0, |m: f64, v| if v.abs() > m.abs() { v } else { m });
            let scale = values[i].max(0.0).sqrt() * if largest < 0.0 { -1.0 } else { 1.0 };
            column.map(|v| (v * scale) as f32)
        })
    }

    fn covariance(&self) -> [[f64; 3]; 3] {
        let side2 = self.pixels.len() / 3;
        let n = i128::from(self.n_images) * side2 as i128;
        if n == 0 {
            return [[0.0; 3]; 3];
        }
        let sum: [i128; 3] = std::array::from_fn(|c| {
            self.pixels[c * side2..][..side2].iter().map(|&s| i128::from(s)).sum()
        });
        let product = |a: usize, b: usize| {
            let (a, b) = (a.min(b), a.max(b));
            i128::from(self.products[[0, 3, 5][a] + b - a])
        };
        std::array::from_fn(|a| {
            std::array::from_fn(|b| {
                (n * product(a, b) - sum[a] * sum[b]) as f64 / (n as f64 * n as f64)
            })
        })
    }
}

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut m: [[f64; 3]; 3]) -> ([f64; 3], [[f64; 3]; 3]) {
    let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    // Convergence is quadratic: a handful of sweeps reaches the last bit.
    for (p, q) in [(0, 1), (0, 2), (1, 2)].into_iter().cycle().take(3 * 20) {
        if m[p][q] == 0.0 {
            continue;
        }
        let theta = (m[q][q] - m[p][p]) / (2.0 * m[p][q]);
        let t = 1.0_f64.copysign(theta) / (theta.abs() + (theta * theta + 1.0).sqrt());
        let cos = 1.0 / (t * t + 1.0).sqrt();
        let sin = t * cos;
        for row in &mut m {
            (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
        }
        let (row_p, row_q) = (m[p], m[q]);
        m[p] = std::array::from_fn(|k| cos * row_p[k] - sin * row_q[k]);
        m[q] = std::array::from_fn(|k| sin * row_p[k] + cos * row_q[k]);
        for row in &mut vectors {
            (row[p], row[q]) = (cos * row[p] - sin * row[q], sin * row[p] + cos * row[q]);
        }
    }
    ([m[0][0], m[1][1], m[2][2]], vectors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures() -> Vec<Vec<u8>> {
        let noise = |k: u32| (k.wrapping_mul(2_654_435_761) >> 24) as u8;
        (0..5).map(|p| (0..48).map(|i| noise(p * 48 + i) / (1 + (i % 3) as u8)).collect()).collect()
    }

    #[test]
    fn components_rebuild_the_covariance_of_all_pixels() {
        let mut sums = PixelSums::new(4);
        pictures().iter().for_each(|p| sums.add(p));
        let pixels: Vec<[f64; 3]> = pictures()
            .iter()
            .flat_map(|p| p.as_chunks::<3>().0.to_vec())
            .map(|rgb| rgb.map(f64::from))
            .collect();
        let n = pixels.len() as f64;
        let mean: [f64; 3] = std::array::from_fn(|c| pixels.iter().map(|p| p[c]).sum::<f64>() / n);
        let colors = sums.colors();
        for a in 0..3 {
            for b in 0..3 {
                let want =
                    pixels.iter().map(|p| (p[a] - mean[a]) * (p[b] - mean[b])).sum::<f64>() / n;
                let got: f64 = colors.iter().map(|p| f64::from(p[a]) * f64::from(p[b])).sum();
                assert!((got - want).abs() < 1e-3 * want.abs().max(1.0), "{a}{b}: {got} {want}");
            }
        }
        let power = |p: &[f32; 3]| p.iter().map(|v| v * v).sum::<f32>();
        assert!(power(&colors[0]) >= power(&colors[1]) && power(&colors[1]) >= power(&colors[2]));
    }

    #[test]
    fn sums_of_parts_are_the_sum_of_the_whole_and_planes_are_apart() {
        let (mut whole, mut left, mut right) =
            (PixelSums::new(4), PixelSums::new(4), PixelSums::new(4));
        for (i, p) in pictures().iter().enumerate() {
            whole.add(p);
            if i % 2 == 0 { left.add(p) } else { right.add(p) }
        }
        right.merge(&left);
        assert_eq!(whole.mean(), right.mean());
        assert_eq!(whole.colors(), right.colors());
        assert_eq!(PixelSums::from_bytes(&whole.to_bytes(), 4).unwrap().mean(), whole.mean());
        assert!(PixelSums::from_bytes(&whole.to_bytes(), 5).is_none());
        right.subtract(&left);
        right.merge(&left);
        assert_eq!(whole.to_bytes(), right.to_bytes());
        let green = pictures().iter().map(|p| f32::from(p[3 * 7 + 1])).sum::<f32>() / 5.0;
        assert!((whole.mean()[16 + 7] - green).abs() < 1e-4);
    }
}
