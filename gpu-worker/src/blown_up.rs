//! Where in the network a number went bad: looked for only once the loss has told that one did.

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::half::{Half, download};

/// What a tensor's numbers come to.
enum Found {
    /// The first that isn't finite.
    Bad(f32),
    /// The largest, without its sign.
    Largest(f32),
}

impl<B: Backend> Half<B> {
    /// Why the loss is what it is: names the first layer, from the pictures on, in which this half
    /// has a number that isn't finite; `n` images went through it last.
    pub(crate) fn blown_up(&mut self, dev: &mut B, step: u64, loss: f64, n: usize) -> Error {
        match self.first_not_finite(dev, n) {
            Ok(first) => Error::NotFinite { step, loss, first },
            Err(error) => error,
        }
    }

    fn first_not_finite(&mut self, dev: &mut B, n: usize) -> Result<String> {
        let mut largest = (0.0, String::new());
        let mut look = |dev: &mut B, of: &B::Floats, len: usize, what: String| -> Result<_> {
            Ok(match worst(&download(dev, of, 0..len)?) {
                Found::Bad(value) => {
                    Some(format!("{what} are the first with a number that isn't finite ({value})"))
                }
                Found::Largest(value) => {
                    if value > largest.0 {
                        largest = (value, what);
                    }
                    None
                }
            })
        };
        let pictures = n * self.plan.input.len();
        if let Some(first) = look(dev, &self.input.x, pictures, "the pictures".into())? {
            return Ok(first);
        }
        for layer in &self.layers {
            let name = layer.name;
            if let Some(peer) = &layer.peer
                && let Some(first) = look(
                    dev,
                    &peer.value,
                    n * peer.len,
                    format!("{name}'s inputs from the other half"),
                )?
            {
                return Ok(first);
            }
            for (tensor, what) in [(&layer.weight, "weights"), (&layer.bias, "biases")] {
                let len = tensor.param.len();
                if let Some(first) = look(dev, &tensor.value, len, format!("{name}'s {what}"))? {
                    return Ok(first);
                }
            }
            for link in &layer.links {
                let (len, what) = (n * link.shape.len(), format!("{name}'s activations"));
                if let Some(first) = look(dev, &link.value, len, what)? {
                    return Ok(first);
                }
            }
        }
        if let Some(peer) = &self.output.peer {
            let others = self.plan.classes - self.output.classes.own.len();
            let what = "the other half's logits".to_string();
            if let Some(first) = look(dev, peer, n * others, what)? {
                return Ok(first);
            }
        }
        let (value, what) = largest;
        Ok(format!("every number is finite here; the largest are {what} ({value:e})"))
    }
}

fn worst(values: &[f32]) -> Found {
    match values.iter().find(|value| !value.is_finite()) {
        Some(value) => Found::Bad(*value),
        None => {
            let sizes = values.iter().map(|value| value.abs());
            Found::Largest(sizes.max_by(f32::total_cmp).unwrap_or(0.0))
        }
    }
}
