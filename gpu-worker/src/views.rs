//! The average over test views: the center crop, or the ten crops (paper §4.1).

use crate::step::Output;

/// Probabilities averaged over test views, after softmax (paper §4.1).
#[derive(Debug, Default)]
pub struct Average {
    labels: Vec<u32>,
    sums: Vec<f64>,
    losses: Vec<f32>,
    views: usize,
}

impl Average {
    /// Adds another view of the same images.
    pub fn add(&mut self, output: Output, labels: &[u32]) {
        if self.views == 0 {
            self.labels = labels.to_vec();
            self.sums = vec![0.0; output.probabilities.len()];
        }
        for (sum, p) in self.sums.iter_mut().zip(&output.probabilities) {
            *sum += f64::from(*p);
        }
        self.losses = output.losses;
        self.views += 1;
    }

    /// Number of images.
    pub fn n_images(&self) -> usize {
        self.labels.len()
    }

    /// Labels of the images.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// The averages as one output; the output of a single view is unchanged.
    pub fn output(&self) -> Output {
        let n = self.views.max(1) as f64;
        let probabilities: Vec<f32> = self.sums.iter().map(|sum| (sum / n) as f32).collect();
        let losses = if self.views <= 1 {
            self.losses.clone()
        } else {
            let classes = (probabilities.len() / self.labels.len().max(1)).max(1);
            let loss = |(p, label): (&[f32], &u32)| -libm::logf(p[*label as usize]);
            probabilities.chunks(classes).zip(&self.labels).map(loss).collect()
        };
        Output { probabilities, losses }
    }

    /// Mean loss, top-1 and top-5 error of the averages.
    pub fn score(&self) -> (f64, f64, f64) {
        self.output().score(&self.labels)
    }
}
